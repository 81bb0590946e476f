"""Decode videos in memory to exact frames, by one of three libraries behind one protocol.

    bytes ─► opened, found whole ─► frames listed in the order in which they are shown
      ─► PyAV | torchcodec | decord ─► exactly the frames asked for, or an error

A frame's index is its place in the order in which frames are shown. An mp4's own table gives that
order in the time of decoding one frame; where the table does not tell all, every packet is read, in
the time of about six frames. All libraries go by this list.

Each call opens the video, decodes on one thread (a loader has a process per core) and closes it: a
decoder holds nothing, and one object serves every worker.

* PyAV, the default, is the fastest of those that are exact on every kind of file.
* torchcodec works where it and the shared libraries of FFmpeg are installed.
* decord 0.6, last released in 2021, returns wrong frames where decoding starts at what is no IDR
  (open groups, HEVC, intra refresh) and where an edit list hides frames, and crashes on files that
  are cut short: these are refused. A reader that is alive when its process forks hangs the child;
  here none outlives its call.
"""

import contextlib
import importlib.util
import io
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.index import IndexEntry
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64, UInt8

from nitrogen_train.data.schema import ShardError

MAX_DECODED_BYTES = 4 * 1024**3
"""A video that claims to unpack to more is refused: twenty seconds of 512x512 are 0.9 GB."""

# FFmpeg also takes lists of files for videos, and would open what a stranger names in them.
_FORMATS = {"format_whitelist": "mp4,mov,matroska,webm,mpegts,avi,jpeg_pipe"}

# With one of these in it, an mp4's header does not list all frames at the times when they are
# shown: they come in another order, from fragments, or the header is compressed.
_BOXES_THAT_HIDE = (b"ctts", b"mvex", b"cmov")

_CODEC_FACTS = (
    "extradata", "codec_tag", "width", "height", "color_range", "color_primaries", "color_trc",
    "colorspace",
)  # fmt: skip
"""What a container tells the codec about a video; colours are in the header alone, at times."""

_Columns = tuple[
    Int64[np.ndarray, " p"], Int64[np.ndarray, " p"], Bool[np.ndarray, " p"], Bool[np.ndarray, " p"]
]
"""Facts of each stored frame: pts, time to seek for, is it a key frame, is it shown."""

# In an H.264 unit's first byte: its type, and the type that later frames look back to at most.
_UNIT_TYPE, _IDR = 0x1F, 5

_FASTEST = "pyav"
"""The fastest that is exact on every video, as measured in `docs/video.md`."""


class DecodeError(ShardError):
    """A video cannot be decoded."""

    def __init__(self, message: str) -> None:
        """Say what was expected and what came."""
        super().__init__(message, cause="video")


class _OtherSizeError(DecodeError):
    """A frame is not as large as the video's header says."""


class UnsupportedVideoError(DecodeError):
    """A backend cannot return exactly the frames of a video; PyAV usually can."""


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """The frames of a video."""

    pts: Int64[np.ndarray, " frames"]
    """Times of the frames, in ticks, increasing: an index of a frame is a place in this list."""
    key_pts: Int64[np.ndarray, " keys"]
    """Times of the frames at which decoding can start, increasing; an edit list may hide them."""
    key_seeks: Int64[np.ndarray, " keys"]
    """Times to seek for to land on each of these, in ticks."""
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.pts)

    def select(self, indices: Sequence[int] | None) -> Int64[np.ndarray, " f"]:
        """List the frames to decode, all of them if None.

        Raises:
            DecodeError: If there is no such frame, or they would fill too much memory.
        """
        wanted = np.array(range(len(self)) if indices is None else indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise DecodeError(
                f"the video has {len(self)} frames, got index {wanted.min()} to {wanted.max()}"
            )
        num_bytes = len(wanted) * self.width * self.height * 3
        if not 0 < num_bytes <= MAX_DECODED_BYTES:
            raise DecodeError(
                f"{len(wanted)} frames of {self.width}x{self.height} are {num_bytes} bytes, "
                f"expected 1 to {MAX_DECODED_BYTES}"
            )
        return wanted


@dataclass(frozen=True, kw_only=True)
class OpenVideo:
    """A video that is whole, as far as can be told without decoding it."""

    container: InputContainer
    stream: VideoStream
    table: FrameTable


@contextmanager
def open_video(video: bytes) -> Iterator[OpenVideo]:
    """Open a video for decoding on one thread, list its frames, and name what goes wrong with it.

    Raises:
        DecodeError: If FFmpeg fails on it, it is cut short, or holds no video.
        UnsupportedVideoError: If its frames cannot be told apart, or PyAV has no decoder for them.
    """
    with _naming_faults():
        file = io.BytesIO(video)
        with av.open(file, "r", options=_FORMATS, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise DecodeError("the file holds no video stream")
            if stream.codec_context is None:
                raise UnsupportedVideoError("PyAV knows no decoder for the video")
            stream.thread_count = 1
            table = _read_table(video, container, stream)
            yield OpenVideo(container=container, stream=stream, table=table)


@contextmanager
def _naming_faults() -> Iterator[None]:
    try:
        yield
    # PyAV maps FFmpeg's codes to many built-in types; this is the base of them all.
    except FFmpegError as error:
        raise DecodeError(f"PyAV cannot decode the video: {first_line(error)}") from error


def is_mp4(container: InputContainer) -> bool:
    """Tell whether a file has a table of all its frames: mp4, mov and their kin."""
    return "mp4" in container.format.name.split(",")


def first_line(error: Exception) -> str:
    """Shorten a library's message: decord's begin with times and paths, and go on with a stack."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return re.split(r"\.cc:\d+: (?:Check failed: |Error: )?", line)[-1][:200]


def _read_table(video: bytes, container: InputContainer, stream: VideoStream) -> FrameTable:
    entries = _list_entries(video, stream)
    if _tells_all(container, stream, entries) and not _hides_frames(_find_header(video)):
        return _order_frames(stream, _read_index(video, entries))
    return _order_frames(stream, _read_packets(container, stream))


def _list_entries(video: bytes, stream: VideoStream) -> Sequence[IndexEntry]:
    if len(stream.index_entries) > len(video):
        raise DecodeError(
            f"the video's table lists {len(stream.index_entries)} frames in {len(video)} bytes"
        )
    return stream.index_entries[:]


def _tells_all(
    container: InputContainer, stream: VideoStream, entries: Sequence[IndexEntry]
) -> bool:
    """Tell whether a file's table lists every frame, and each of them is shown."""
    is_whole = is_mp4(container) and len(entries) == stream.frames
    return is_whole and not any(entry.is_discard for entry in entries)


def _order_frames(stream: VideoStream, columns: _Columns) -> FrameTable:
    pts, seeks, is_key, is_shown = columns
    order = np.argsort(pts, kind="stable")
    keys = order[is_key[order]]
    table = FrameTable(
        pts=pts[order[is_shown[order]]],
        key_pts=pts[keys],
        key_seeks=seeks[keys],
        width=stream.width,
        height=stream.height,
    )
    if not len(table) or not len(keys):
        raise DecodeError("the video holds no frame that can be decoded")
    if (np.diff(table.pts) == 0).any():
        raise UnsupportedVideoError("the video shows two frames at the same time")
    return table


def _read_index(video: bytes, entries: Sequence[IndexEntry]) -> _Columns:
    """List the frames by the table of an mp4 that stores them as they are shown.

    Raises:
        DecodeError: If it lists frames that the file does not hold.
    """
    pts = np.array([entry.timestamp for entry in entries], dtype=np.int64)
    starts = np.array([entry.pos for entry in entries], dtype=np.int64)
    sizes = np.array([entry.size for entry in entries], dtype=np.int64)
    is_outside = (starts < 0) | (sizes <= 0) | (starts + sizes > len(video))
    if is_outside.any():
        index = int(np.argmax(is_outside))
        raise DecodeError(
            f"the video has {len(video)} bytes, its table puts frame {index} at "
            f"{starts[index]} to {starts[index] + sizes[index]}"
        )
    is_key = np.array([entry.is_keyframe for entry in entries], dtype=np.bool_)
    return pts, pts, is_key, np.ones_like(is_key)


def _hides_frames(header: bytes | None) -> bool:
    """Tell whether an mp4's header is not found, or tells less than all of its frames."""
    return header is None or any(box in header for box in _BOXES_THAT_HIDE)


def _has_one_description(header: bytes) -> bool:
    """Tell whether all frames of an mp4 are coded with the parameters that its header gives."""
    _, _, rest = header.partition(b"stsd")
    # Behind the box's name: version and flags, then the count.
    return rest[4:8] == b"\0\0\0\1" and b"stsd" not in rest


def _find_header(video: bytes) -> bytes | None:
    """Find the box of an mp4 that lists its frames; None if there is none."""
    position = 0
    while position + 16 <= len(video):
        size, kind = struct.unpack_from(">I4s", video, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", video, position + 8)
        if size < 8:
            return None
        if kind == b"moov":
            return video[position : position + size]
        position += size
    return None


def _read_packets(container: InputContainer, stream: VideoStream) -> _Columns:
    """List the frames by reading the whole file.

    Raises:
        DecodeError: If it is cut short.
        UnsupportedVideoError: If it does not say when a frame is shown.
    """
    rows: list[tuple[int, int, bool, bool]] = []
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if packet.is_corrupt:
            raise DecodeError(f"the video is cut short within frame {len(rows)}")
        if packet.pts is None:
            raise UnsupportedVideoError("the video does not say when its frames are shown")
        seek = packet.pts if packet.dts is None else packet.dts
        rows.append((packet.pts, seek, packet.is_keyframe, not packet.is_discard))
    # What an edit list cuts off is in the header's count, and not in the index.
    listed = len(stream.index_entries) if is_mp4(container) else len(rows)
    if listed != len(rows):
        raise DecodeError(f"the video's table lists {listed} frames, its data hold {len(rows)}")
    pts, seeks, is_key, is_shown = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return pts, seeks, is_key.astype(bool), is_shown.astype(bool)


@runtime_checkable
class EncodedVideo(Protocol):
    """A video of which some frames are decoded now, and others later."""

    def decode(
        self,
        indices: Sequence[int] | None = None,
        *,
        out: UInt8[np.ndarray, "_ _ _ 3"] | None = None,
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB.

        Args:
            indices: As for `VideoDecoder`.
            out: Memory to decode into, where the frames are in order and of its size.

        Returns:
            The frames, in `out` or in memory of their own.

        Raises:
            DecodeError: As for `VideoDecoder`.
        """
        ...


class _ReopenedVideo:
    """A video that a library opens anew each time."""

    def __init__(self, decoder: "VideoDecoder", video: bytes) -> None:
        self._decoder = decoder
        self._video = video

    def decode(
        self,
        indices: Sequence[int] | None = None,
        *,
        out: UInt8[np.ndarray, "_ _ _ 3"] | None = None,
    ) -> UInt8[np.ndarray, "f h w 3"]:
        del out
        return self._decoder.decode(self._video, indices=indices)


@dataclass(frozen=True, kw_only=True)
class _Packets:
    """Where a plain H.264 mp4 holds its frames, and what a decoder must know to begin."""

    video: bytes
    table: FrameTable
    starts: list[int]
    """First byte of each frame's packet, in the order in which frames are stored and shown."""
    sizes: list[int]
    keys: list[int]
    """Frames at which decoding can start."""
    facts: dict[str, Any]
    """Attributes of the codec's context, as the container sets them."""

    def decode_from(self, key: int) -> Iterator[VideoFrame]:
        """Decode from a key frame on, by its place among the key frames.

        Raises:
            FFmpegError: If a packet is damaged.
        """
        # A new one each time: what a damaged picture or parameters within the stream leave in a
        # decoder, no flush removes.
        codec = CodecContext.create("h264", "r")
        for name, value in self.facts.items():
            setattr(codec, name, value)
        codec.thread_count = 1
        pts = self.table.pts.tolist()
        for index in range(self.keys[key], len(pts)):
            start = self.starts[index]
            packet = Packet(self.video[start : start + self.sizes[index]])
            packet.pts = packet.dts = pts[index]
            yield from codec.decode(packet)
        yield from codec.decode(None)


def _list_packets(video: bytes) -> _Packets | None:
    """Find the packets of a video that needs no demuxer beside its header; None if it does.

    Raises:
        DecodeError: If the header lists frames that cannot be.
    """
    header = _find_header(video)
    if header is None or _hides_frames(header) or not _has_one_description(header):
        return None
    # With frames behind it, FFmpeg would decode the first ones to know more.
    file = io.BytesIO(video[: int.from_bytes(video[:4])] + header)
    with (
        contextlib.suppress(FFmpegError),
        av.open(file, "r", options=_FORMATS, metadata_errors="replace") as container,
    ):
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            return None
        codec, entries = stream.codec_context, _list_entries(video, stream)
        is_h264 = codec.name == "h264" and codec.extradata is not None
        if not is_h264 or not _tells_all(container, stream, entries) or not stream.width:
            return None
        table = _order_frames(stream, _read_index(video, entries))
        return _Packets(
            video=video,
            table=table,
            starts=[entry.pos for entry in entries],
            sizes=[entry.size for entry in entries],
            keys=np.searchsorted(table.pts, table.key_pts).tolist(),
            facts={name: getattr(codec, name) for name in _CODEC_FACTS},
        )
    return None


class PyAVDecoder:
    """PyAV: the fastest of the backends, and exact on every kind of file."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
        """
        return self.open(video).decode(indices)

    def open(self, video: bytes) -> "EncodedVideo":
        """Remember a video, as `VideoDecoder` says."""
        return _PyAVVideo(video)


class _PyAVVideo:
    """A video whose table is read once: what is decoded later needs no demuxer."""

    def __init__(self, video: bytes) -> None:
        self._video = video
        self._packets: _Packets | None = None
        self._is_listed = False

    def decode(
        self,
        indices: Sequence[int] | None = None,
        *,
        out: UInt8[np.ndarray, "_ _ _ 3"] | None = None,
    ) -> UInt8[np.ndarray, "f h w 3"]:
        if not self._is_listed:
            self._packets, self._is_listed = _list_packets(self._video), True
        if self._packets is not None:
            table, decode_from = self._packets.table, self._packets.decode_from
            try:
                with _naming_faults():
                    return _read_frames(table, decode_from, indices, out)
            except _OtherSizeError:
                # With frames behind the header, FFmpeg goes by these.
                self._packets = None
        with open_video(self._video) as opened:
            decode_from = partial(_decode_container, opened)
            return _read_frames(opened.table, decode_from, indices, out)


def _decode_container(opened: OpenVideo, key: int) -> Iterator[VideoFrame]:
    opened.container.seek(int(opened.table.key_seeks[key]), stream=opened.stream)
    return opened.container.decode(opened.stream)


def _read_frames(
    table: FrameTable,
    decode_from: Callable[[int], Iterator[VideoFrame]],
    indices: Sequence[int] | None,
    out: UInt8[np.ndarray, "_ _ _ 3"] | None,
) -> UInt8[np.ndarray, "f h w 3"]:
    """Decode frames, into `out` if they are as large.

    Raises:
        DecodeError: If one is damaged or missing.
        _OtherSizeError: If one is not of the table's size.
    """
    asked = table.select(indices)
    is_in_order = bool((np.diff(asked) > 0).all())
    wanted, places = (asked, asked) if is_in_order else np.unique(asked, return_inverse=True)
    shape = len(wanted), table.height, table.width, 3
    if out is None or out.shape != shape or not is_in_order:
        out = np.empty(shape, np.uint8)
    cursor = _Cursor(table, decode_from)
    # One for all frames: setting it up costs as much as converting a frame.
    converter = VideoReformatter()
    for index, picture in zip(wanted.tolist(), out, strict=True):
        frame = cursor.read(index)
        if frame.height != table.height or frame.width != table.width:
            raise _OtherSizeError(
                f"frame {index} of the video is {frame.width}x{frame.height}, "
                f"expected {table.width}x{table.height}"
            )
        plane = converter.reformat(frame, format="rgb24", threads=1).planes[0]
        data = memoryview(plane)  # pyright: ignore[reportArgumentType] - it is a buffer
        lines = np.frombuffer(data, np.uint8).reshape(table.height, plane.line_size)
        # Lines may be padded.
        picture[:] = lines[:, : 3 * table.width].reshape(shape[1:])
    return out if is_in_order else out[places]


class _Cursor:
    """Finds frames that are asked for in the order in which they are shown."""

    def __init__(
        self, table: FrameTable, decode_from: Callable[[int], Iterator[VideoFrame]]
    ) -> None:
        self._decode_from = decode_from
        self._pts, self._key_pts = table.pts.tolist(), table.key_pts.tolist()
        # The first frame that is shown from each key frame on.
        self._keys = np.searchsorted(table.pts, table.key_pts).tolist()
        self._frames: Iterator[VideoFrame] = iter(())
        self._start_pts = 0
        self._next_index = -1

    def read(self, index: int) -> VideoFrame:
        """Decode a frame.

        Raises:
            DecodeError: If it is damaged or missing.
        """
        key = max(0, bisect_right(self._keys, index) - 1)
        # What lies behind a key frame ahead is reached sooner by a seek.
        if self._next_index < 0 or self._keys[key] > self._next_index:
            self._seek(key)
        frame = self._advance(index)
        if frame is None:
            # Pictures that build up over many frames: only the first key frame is one.
            self._keys = self._keys[:1]
            self._seek(0)
            frame = self._advance(index)
        if frame is None:
            raise DecodeError(f"frame {index} is missing from the video")
        self._next_index = index + 1
        return frame

    def _seek(self, key: int) -> None:
        self._frames = self._decode_from(key)
        self._start_pts = self._key_pts[key]

    def _advance(self, index: int) -> VideoFrame | None:
        """Decode up to a frame, None if it does not come.

        Raises:
            DecodeError: If a frame on the way is damaged.
        """
        wanted = self._pts[index]
        for frame in self._frames:
            pts = frame.pts
            # Frames shown before the key frame and stored after it lack what they build on.
            if pts is None or pts < self._start_pts:
                continue
            if frame.is_corrupt:
                raise DecodeError(f"the video is damaged at frame {index} or shortly before it")
            if pts >= wanted:
                return frame if pts == wanted else None
        return None


class DecordDecoder:
    """decord: exact for H.264 in mp4 with closed groups, and refuses everything else."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If decord could return other frames than these.
        """
        import decord

        with open_video(video) as opened:
            wanted = opened.table.select(indices)
            _check_exact(video, opened)
        try:
            reader = decord.VideoReader(io.BytesIO(video), ctx=decord.cpu(0), num_threads=1)
            if len(reader) != len(opened.table):
                raise UnsupportedVideoError(
                    f"decord finds {len(reader)} frames in the video, expected {len(opened.table)}"
                )
            return reader.get_batch(wanted).asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise DecodeError(f"decord cannot decode the video: {first_line(error)}") from error

    def open(self, video: bytes) -> EncodedVideo:
        """Remember a video, as `VideoDecoder` says."""
        return _ReopenedVideo(self, video)


def _check_exact(video: bytes, opened: OpenVideo) -> None:
    """Check that decord is known to count the frames of a video as its table does.

    Raises:
        UnsupportedVideoError: If it is not.
    """
    codec = opened.stream.codec_context.codec.canonical_name
    entries = opened.stream.index_entries[:]
    if codec != "h264" or not is_mp4(opened.container):
        kind = f"{codec} in {opened.container.format.name}"
        raise UnsupportedVideoError(f"decord is exact for h264 in mp4, the video is {kind}")
    if any(entry.is_discard for entry in entries):
        raise UnsupportedVideoError("decord shows frames that the video's edit list hides")
    for entry in entries:
        if entry.is_keyframe and not _holds_idr(video[entry.pos : entry.pos + entry.size]):
            raise UnsupportedVideoError(
                "decord miscounts frames after seeks in open groups, as the video has them"
            )


def _holds_idr(packet: bytes) -> bool:
    # Units of an mp4, each behind its length in four bytes; with shorter ones none is found.
    position = 0
    while position + 4 < len(packet):
        if packet[position + 4] & _UNIT_TYPE == _IDR:
            return True
        position += 4 + int.from_bytes(packet[position : position + 4])
    return False


class TorchcodecDecoder:
    """torchcodec: exact where it says that the frames were shown when they should be."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If torchcodec does not load, fails on the video, or returns other
                frames.
        """
        try:
            from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
        except (ImportError, OSError, RuntimeError) as error:
            # It finds the libraries of FFmpeg and torch when it is imported, or does not.
            raise UnsupportedVideoError(
                f"torchcodec does not load here: {first_line(error)}"
            ) from error
        with open_video(video) as opened:
            table, tick_s = opened.table, float(opened.stream.time_base or 0)
        wanted = table.select(indices)
        try:
            decoder = VideoDecoder(video, dimension_order="NHWC", num_ffmpeg_threads=1)
            batch = decoder.get_frames_at(wanted.tolist())
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnsupportedVideoError(
                f"torchcodec cannot decode the video: {first_line(error)}"
            ) from error
        late_s = np.abs(batch.pts_seconds.numpy() - table.pts[wanted] * tick_s)
        if len(decoder) != len(table) or (late_s > tick_s / 2).any():
            raise UnsupportedVideoError("torchcodec returns other frames of the video")
        return batch.data.numpy()

    def open(self, video: bytes) -> EncodedVideo:
        """Remember a video, as `VideoDecoder` says."""
        return _ReopenedVideo(self, video)


@runtime_checkable
class VideoDecoder(Protocol):
    """Decodes videos exactly to the frame."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB.

        The cheapest calls ask for many neighbouring frames: what a call costs before its first
        frame is up to a millisecond, and the frames from the key frame before.

        Args:
            video: A whole file, of constant frame rate or not.
            indices: Which frames, in any order, repeated or not; all of them if None.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If this backend cannot decode the video exactly.
        """
        ...

    def open(self, video: bytes) -> EncodedVideo:
        """Remember a whole file of which frames will be decoded several times; opens nothing."""
        ...


_BACKENDS: dict[str, tuple[str, type[VideoDecoder]]] = {
    "pyav": ("av", PyAVDecoder),
    "torchcodec": ("torchcodec", TorchcodecDecoder),
    "decord": ("decord", DecordDecoder),
}
"""By name: what must be installed, and the class; `docs/video.md` compares them."""


def choose_decoder(name: str = "auto") -> VideoDecoder:
    """Build a decoder by name; `auto` is the fastest of those that are exact on every video.

    Raises:
        ValueError: If the name is unknown, or the library is not installed.
    """
    name = _FASTEST if name == "auto" else name
    if name not in _BACKENDS:
        raise ValueError(f"unknown decoder {name!r}; use auto, {', '.join(_BACKENDS)}")
    installed = build_decoders()
    if name not in installed:
        raise ValueError(f"{name} is not installed here; pip install {name}, or use decoder=auto")
    return installed[name]


def build_decoders() -> dict[str, VideoDecoder]:
    """Build a decoder of each library that is installed, by name."""
    return {
        name: build()
        for name, (package, build) in _BACKENDS.items()
        if importlib.util.find_spec(package) is not None
    }
