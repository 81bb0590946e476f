"""Tells whether a video file ends where it should, by its outermost structure.

What crashed, was copied in part or ran out of space ends within a box (mp4), an element (mkv), a
tag (flv) or a frame's packets (ts). A file cut just between two of them looks whole.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_TS_PACKET, _TS_SYNC = 188, 0x47
_TS_TAIL = 4096 * _TS_PACKET


@dataclass(frozen=True, kw_only=True)
class Mp4Box:
    """An outermost part of an mp4."""

    kind: bytes
    start: int
    stop: int
    """Where it ends by its own word."""


def list_boxes(path: Path) -> list[Mp4Box]:
    """List the outermost boxes of an mp4; none if the file is something else."""
    boxes: list[Mp4Box] = []
    position, num_bytes = 0, path.stat().st_size
    with path.open("rb") as file:
        while position < num_bytes:
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


def _is_cut_matroska(path: Path) -> bool:
    """Tell whether the segment was never finished, or is longer than the file."""
    with path.open("rb") as file:
        head = file.read(4096)
    header_size, position = _read_size(head, len(_EBML))
    position += header_size
    if not head.startswith(_EBML) or head[position : position + 4] != _SEGMENT:
        return False
    size, start = _read_size(head, position + 4)
    is_unknown = size == 2 ** (7 * (start - position - 4)) - 1
    return is_unknown or start + size > path.stat().st_size


def _read_size(data: bytes, position: int) -> tuple[int, int]:
    """Read a number whose first bits say how long it is, and where it ends."""
    length = 9 - data[position].bit_length()
    value = int.from_bytes(data[position : position + length])
    return value & (2 ** (7 * length) - 1), position + length


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
