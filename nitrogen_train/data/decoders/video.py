"""A video in memory: opened, found whole, its frames listed in the order in which they are shown.

Every backend goes by this list. An mp4's own table gives it in the time of decoding one frame;
where that does not tell all, every packet is read, in the time of about six.
"""

import io
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.index import IndexEntry
from av.video.stream import VideoStream
from jaxtyping import Bool, Int64

from nitrogen_train.data.schema import ShardError

MAX_DECODED_BYTES = 4 * 1024**3
"""A video that claims to unpack to more is refused: twenty seconds of 512x512 are 0.9 GB."""

# FFmpeg also takes lists of files for videos, and would open what a stranger names in them.
_FORMATS = {"format_whitelist": "mp4,mov,matroska,webm,mpegts,avi,jpeg_pipe"}

# With one of these in it, an mp4's header does not list all frames at the times when they are
# shown: they come in another order, from fragments, or the header is compressed.
_BOXES_THAT_HIDE = (b"ctts", b"mvex", b"cmov")


class DecodeError(ShardError):
    """A video cannot be decoded."""

    def __init__(self, message: str) -> None:
        """Say what was expected and what came."""
        super().__init__(message, cause="video")


class UnsupportedVideoError(DecodeError):
    """A backend cannot return exactly the frames of a video; another one may."""


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """The frames of a video."""

    pts: Int64[np.ndarray, " frames"]
    """When each is shown, in ticks, increasing: an index of a frame is a place in this list."""
    key_pts: Int64[np.ndarray, " keys"]
    """When those are shown at which decoding can start, increasing; an edit list may hide them."""
    key_seeks: Int64[np.ndarray, " keys"]
    """What to seek for to land on each of these, in ticks."""
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
    try:
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
    # PyAV maps FFmpeg's codes to many built-in types; this is the base of them all.
    except FFmpegError as error:
        raise DecodeError(f"PyAV cannot decode the video: {first_line(error)}") from error


def is_mp4(container: InputContainer) -> bool:
    """Whether a file has a table of all its frames: mp4, mov and their kin."""
    return "mp4" in container.format.name.split(",")


def first_line(error: Exception) -> str:
    """Shorten a library's message: decord's begin with times and paths, and go on with a stack."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return re.split(r"\.cc:\d+: (?:Check failed: |Error: )?", line)[-1][:200]


def _read_table(video: bytes, container: InputContainer, stream: VideoStream) -> FrameTable:
    if len(stream.index_entries) > len(video):
        raise DecodeError(
            f"the video's table lists {len(stream.index_entries)} frames in {len(video)} bytes"
        )
    entries = stream.index_entries[:]
    if (
        is_mp4(container)
        and len(entries) == stream.frames
        and not any(entry.is_discard for entry in entries)
        and not _hides_frames(video)
    ):
        pts, seeks, is_key, is_shown = _read_index(video, entries)
    else:
        pts, seeks, is_key, is_shown = _read_packets(container, stream)
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


_Columns = tuple[
    Int64[np.ndarray, " p"], Int64[np.ndarray, " p"], Bool[np.ndarray, " p"], Bool[np.ndarray, " p"]
]
"""Of each frame as it is stored: pts, what to seek for, is it a key frame, is it shown."""


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


def _hides_frames(video: bytes) -> bool:
    """Whether an mp4's header is not found, or tells less than all of its frames."""
    position = 0
    while position + 16 <= len(video):
        size, kind = struct.unpack_from(">I4s", video, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", video, position + 8)
        if size < 8:
            return True
        if kind == b"moov":
            header = video[position : position + size]
            return any(box in header for box in _BOXES_THAT_HIDE)
        position += size
    return True


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
