"""Open a stranger's video file: read what can be read of it, and name what cannot.

The module also tells whether a file ends where it should, by its outermost structure. A file of a
program that crashed, was copied in part or ran out of space ends within a box (mp4), an element
(mkv), a tag (flv) or a frame's packets (ts). A file cut just between two of them looks whole.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from nitrogen_train.data.schema import ShardError

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_CLUSTER = b"\x1f\x43\xb6\x75"
_TS_PACKET, _TS_SYNC = 188, 0x47
_TS_TAIL = 4096 * _TS_PACKET


@dataclass(frozen=True, kw_only=True)
class Mp4Box:
    """An outermost part of an mp4."""

    kind: bytes
    start: int
    stop: int
    """Place where it ends by its own word."""


def list_boxes(path: Path) -> list[Mp4Box]:
    """List the outermost boxes of an mp4; none if the file is something else."""
    boxes: list[Mp4Box] = []
    position, num_bytes = 0, path.stat().st_size
    with path.open("rb") as file:
        while position < num_bytes:
            if position + 8 > num_bytes and all(box.kind != b"moof" for box in boxes):
                # A few bytes behind a file that was finished; of fragments the next may begin so.
                break
            file.seek(position)
            header = file.read(16).ljust(16, b"\0")
            size, kind = struct.unpack_from(">I4s", header)
            if size == 1:
                (size,) = struct.unpack_from(">Q", header, 8)
            # 0: up to the end of the file. Of a header that is cut off nothing is known.
            stop = position + max(size, 8) if size else max(num_bytes, position + 8)
            if not boxes and kind != b"ftyp":
                break
            boxes.append(Mp4Box(kind=kind, start=position, stop=stop))
            position = stop
    return boxes


def is_cut_off(path: Path, *, container: str, stream_id: int) -> bool:
    """Tell whether a file ends in the middle of something.

    Args:
        path: The file.
        container: FFmpeg's names of its format.
        stream_id: The video's number in the file.
    """
    names = container.split(",")
    if "mp4" in names:
        boxes = list_boxes(path)
        return bool(boxes) and boxes[-1].stop > path.stat().st_size
    if "matroska" in names:
        return _is_cut_matroska(path)
    if "flv" in names:
        return _is_cut_flv(path)
    return "mpegts" in names and _is_cut_ts(path, stream_id)


def is_unfinished(path: Path) -> bool:
    """Tell whether a Matroska file does not say how long it is.

    So are those that a crash cut short, and all that were written to a pipe or by a browser.
    """
    with path.open("rb") as file:
        _, _, stop = _read_element(file, 0)
        kind, _, end = _read_element(file, stop or 0)
    return kind == _SEGMENT and end is None


def _is_cut_matroska(path: Path) -> bool:
    """Tell whether the segment is longer than the file, or its last part if it is unfinished."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        _, _, stop = _read_element(file, 0)
        kind, position, stop = _read_element(file, stop or 0)
        if kind != _SEGMENT or stop is not None:
            return kind == _SEGMENT and stop is not None and stop > num_bytes
        while position < num_bytes:
            kind, start, stop = _read_element(file, position)
            if stop is None and kind != _CLUSTER:
                return True
            # A cluster that does not say how long it is ends where its last part does.
            position = start if stop is None else stop
    return position > num_bytes


def _read_element(file: BinaryIO, position: int) -> tuple[bytes, int, int | None]:
    """Read which element begins at a place, where its content does, and where that ends.

    The end is None if the element does not say it, or its header is not one or is cut off.
    """
    file.seek(position)
    header = file.read(12)
    id_length = 9 - header[0].bit_length() if header else 9
    if not id_length < len(header) or id_length > 4 or not header[id_length]:
        return b"", position, None
    size, length = _read_size(header[id_length:])
    start = position + id_length + length
    is_unknown = size == 2 ** (7 * length) - 1 or id_length + length > len(header)
    return header[:id_length], start, None if is_unknown else start + size


def _read_size(data: bytes) -> tuple[int, int]:
    """Read a number whose first bits say how long it is, and its length in bytes."""
    length = 9 - data[0].bit_length()
    return int.from_bytes(data[:length]) & (2 ** (7 * length) - 1), length


def _is_cut_flv(path: Path) -> bool:
    """Tell whether the last tag is not followed by its length."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, num_bytes - 4))
        length = int.from_bytes(file.read(4))
        start = num_bytes - 4 - length
        if start < 0:
            return True
        file.seek(start + 1)
        return int.from_bytes(file.read(3)) + 11 != length


def _is_cut_ts(path: Path, stream_id: int) -> bool:
    """Tell whether the last packet of the video is not filled up, as a frame's last one is."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = max(0, num_bytes - _TS_TAIL) // _TS_PACKET * _TS_PACKET
        file.seek(start)
        tail = file.read()
    places = range(0, len(tail), _TS_PACKET)
    if any(tail[place] != _TS_SYNC for place in places):
        # Of packets of another size, as on Blu-ray, nothing is known.
        return False
    if num_bytes % _TS_PACKET:
        return True
    mine = [
        tail[place : place + _TS_PACKET]
        for place in places
        if int.from_bytes(tail[place + 1 : place + 3]) & 0x1FFF == stream_id
    ]
    return bool(mine) and not _is_filled_up(mine[-1])


def _is_filled_up(packet: bytes) -> bool:
    has_adaptation = len(packet) == _TS_PACKET and bool(packet[3] & 0x20)
    if not has_adaptation:
        return False
    length = packet[4]
    # A clock takes six bytes after the flags; all else is rare, and counts as filling.
    used = 0 if length == 0 else 7 if packet[5] & 0x10 else 1
    return length == 0 or length > used


@dataclass(frozen=True, kw_only=True)
class VideoContainer:
    """An open file and its first video."""

    container: InputContainer
    stream: VideoStream

    def iter_packets(self) -> Iterator[Packet]:
        """List the packets of the video as they are stored, up to where the file can be read."""
        try:
            yield from (packet for packet in self.container.demux(self.stream) if packet.size)
        except FFmpegError:
            # Beyond this place there is no packet; who misses a frame says so.
            return


@contextmanager
def open_container(path: Path) -> Iterator[VideoContainer]:
    """Open a file's video, to be decoded on one thread.

    Raises:
        ShardError: If it is no video, lacks its index, or nothing here can decode it.
    """
    # FFmpeg takes `12:30.mp4` for a protocol of that name.
    path = path.absolute()
    with _open(path) as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            _check_index(path)
        if not container.streams.video:
            raise ShardError(f"{path} holds no video that can be read", cause="video")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ShardError(
                f"{path} holds a video that FFmpeg has no decoder for; re-encode it", cause="video"
            )
        stream.thread_count = 1
        yield VideoContainer(container=container, stream=stream)


def _open(path: Path) -> InputContainer:
    try:
        return av.open(str(path))
    except FFmpegError as error:
        readable = _find_readable(path)
        if readable is None:
            raise _describe(path, error) from error
    try:
        return av.open(readable)
    except FFmpegError as error:
        raise _describe(path, error) from error


def _find_readable(path: Path) -> str | None:
    """Name the part of a file before a fragment's index that is cut off, as FFmpeg understands it.

    FFmpeg opens no file that ends there.

    Raises:
        ShardError: If the file is an mp4 without its index.
    """
    _check_index(path)
    boxes = list_boxes(path)
    is_cut = bool(boxes) and boxes[-1].kind != b"mdat" and boxes[-1].stop > path.stat().st_size
    return f"subfile,,start,0,end,{boxes[-1].start},,:{path}" if is_cut else None


def _check_index(path: Path) -> None:
    """Refuse an mp4 whose index is not in the file, or not all of it.

    Raises:
        ShardError: If it is one.
    """
    boxes, num_bytes = list_boxes(path), path.stat().st_size
    if boxes and not any(box.kind == b"moov" and box.stop <= num_bytes for box in boxes):
        raise ShardError(
            f"{path} is an mp4 without its index (moov): its recording or its copy ended early; "
            "copy it again, or rebuild the index with untrunc and a whole file of the same "
            "recorder; recorded as mkv or hybrid mp4, what was written is kept",
            cause="video",
        )


def _describe(path: Path, error: FFmpegError) -> ShardError:
    return ShardError(f"{path} is not readable as a video: {error.strerror}", cause="video")
