"""Read the pieces of a tarball of labels in one pass, without writing anything to disk.

    .../VIDEO_ID/VIDEO_ID_chunk_NNNN/{actions_raw.parquet, actions_processed.parquet, metadata.json}

The members of a piece are neighbours. `metadata.json` says which frames of which video the rows
belong to, and what to mask. A tarball comes from a stranger: names are only ever compared, never
used as paths, and a member, a header or a piece is read into memory only up to a bound.
"""

import gzip
import math
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from data_tools.ingest.tar_records import Reads
from data_tools.ingest.video_list import VIDEO_ID
from data_tools.shards.drop_report import Dropped
from nitrogen_train.data.clip_record import MAX_ACTIONS_BYTES
from nitrogen_train.data.schema import MAX_METADATA_BYTES, ShardError, parse_json_object
from nitrogen_train.data.values import as_number, as_whole_number

_LARGEST = 1e6
_MAX_BOXES = 32
_PIECE_S = 20
_PLAUSIBLE_FPS = (10.0, 150.0)
# 29.97 and 59.94 count as 30 and 60.
_NOMINAL_FPS = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 75.0, 90.0, 100.0, 120.0, 144.0)
_NOMINAL_TOLERANCE = 0.02

Corners = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

_MAX_BYTES = {
    "metadata.json": MAX_METADATA_BYTES,
    "actions_raw.parquet": MAX_ACTIONS_BYTES,
    "actions_processed.parquet": MAX_ACTIONS_BYTES,
}
_BUFFER_BYTES = 2**16
_MAX_HEADER_BYTES = 2**20
_MAX_PASSED_BYTES = 2**28
_CHUNK = re.compile(r"[0-9]{1,9}")


class MetadataError(ShardError):
    """A field of `metadata.json` is not what the card says; the cause is `metadata`."""

    def __init__(self, name: str, expected: str, value: object) -> None:
        super().__init__(
            f"metadata.json: {name} must be {expected}, got {str(value)[:60]!r}", cause="metadata"
        )


@dataclass(frozen=True, kw_only=True)
class LabelBox:
    """A part of the picture as the labels give it."""

    corners: Corners
    is_normalized: bool
    """True if the corners are shares of the picture, False if pixels of the labelled size."""


@dataclass(frozen=True, kw_only=True)
class PieceMetadata:
    """The metadata of a piece, checked."""

    video_id: str
    chunk: int
    num_rows: int
    """Number of rows that the piece claims to have."""
    game: str
    controller: str
    source: str
    """The site."""
    url: str
    start_frame: int
    end_frame: int
    start_s: float
    end_s: float
    fps: float
    """Rows per second: a usual rate if within 2 % of one."""
    exact_fps: float
    """`fps`, or `fps` / 1.001 where the labels' times say so."""
    resolution: tuple[int, int]
    """Height and width, as the card has it; some say width and height."""
    overlay: LabelBox | None
    """Box in which the pad is drawn."""
    game_area: LabelBox | None
    others: tuple[LabelBox, ...]
    """More that does not belong to the game."""


def parse_piece_metadata(data: bytes) -> PieceMetadata:
    """Read a stranger's `metadata.json`.

    Raises:
        MetadataError: If a field is missing, of another type or out of range.
        ShardError: If it is not JSON (cause `metadata`), or no plausible frame rate follows from it
            (cause `fps`).
    """
    try:
        values = parse_json_object(data, "metadata.json")
    except ShardError as error:
        raise ShardError(str(error), cause="metadata") from error
    video = values.get("original_video")
    if not isinstance(video, dict):
        raise MetadataError("original_video", "an object", video)
    facts = cast("dict[str, object]", video)
    start_frame, end_frame = _whole(facts, "start_frame"), _whole(facts, "end_frame")
    resolution = facts.get("resolution")
    height, width = _numbers(resolution, "resolution", 2)
    num_rows = _whole(values, "chunk_size")
    start_s, end_s = _number(facts, "start_time"), _number(facts, "end_time")
    duration_s = _number(facts, "duration") if "duration" in facts else end_s - start_s
    fps = _derive_fps(duration_s, num_rows)
    return PieceMetadata(
        video_id=_text(facts, "video_id"),
        chunk=_chunk(values.get("chunk_id")),
        num_rows=num_rows,
        game=_text(values, "game", default="other"),
        controller=_text(values, "controller_type", default="unknown"),
        source=_text(facts, "source", default="unknown"),
        url=_text(facts, "url", default=""),
        start_frame=start_frame,
        end_frame=end_frame,
        start_s=start_s,
        end_s=end_s,
        fps=fps,
        exact_fps=fps / 1.001 if _is_broken_rate(fps, duration_s, num_rows) else fps,
        resolution=(round(height), round(width)),
        overlay=_box(values.get("bbox_controller_overlay"), "bbox_controller_overlay"),
        game_area=_box(values.get("bbox_game_area"), "bbox_game_area"),
        others=_boxes(values.get("bbox_others")),
    )


def _derive_fps(duration_s: float, num_rows: int) -> float:
    """Count rows and not frames per second: `end_frame` may be the last frame, or one more.

    Raises:
        ShardError: If no plausible rate comes of it (cause `fps`).
    """
    lowest, highest = _PLAUSIBLE_FPS
    fps = num_rows / duration_s if duration_s > 0 else math.nan
    if not lowest <= fps <= highest:
        fps = num_rows / _PIECE_S
    if not lowest <= fps <= highest:
        raise ShardError(
            f"{num_rows} rows in {duration_s:g} s, or in {_PIECE_S} s, give no frame rate from "
            f"{lowest:g} to {highest:g}",
            cause="fps",
        )
    nominal = min(_NOMINAL_FPS, key=lambda rate: abs(fps / rate - 1))
    return nominal if abs(fps / nominal - 1) <= _NOMINAL_TOLERANCE else round(fps, 3)


def _is_broken_rate(fps: float, duration_s: float, num_rows: int) -> bool:
    """Say whether rows take 1.0005 of their nominal time or more, but no more than 2 % more."""
    return 1.0005 <= duration_s * fps / num_rows <= 1 + _NOMINAL_TOLERANCE


def _whole(values: dict[str, object], name: str) -> int:
    value = as_whole_number(values.get(name))
    if value is None or not 0 <= value <= 10**9:
        raise MetadataError(name, "a whole number from 0", values.get(name))
    return value


def _number(values: dict[str, object], name: str) -> float:
    return _numbers([values.get(name)], name, 1)[0]


def _numbers(value: object, name: str, count: int) -> list[float]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    found = [number for item in items if (number := as_number(item)) is not None]
    if not len(found) == len(items) == count or max(map(abs, found)) > _LARGEST:
        raise MetadataError(name, "up to a million" if count == 1 else f"{count} numbers", value)
    return found


def _text(values: dict[str, object], name: str, *, default: str | None = None) -> str:
    value = values.get(name)
    if value in (None, "") and default is not None:
        return default
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 500:
        raise MetadataError(name, "1 to 500 printable characters", value)
    return value


def _chunk(value: object) -> int:
    number = as_whole_number(value)
    if number is None or not 0 <= number < 10**9:
        raise MetadataError("chunk_id", "a whole number from 0", value)
    return number


def _box(value: object, name: str) -> LabelBox | None:
    """Read a box as `[x, y, width, height]` in pixels, or as an object of normalized corners.

    Raises:
        MetadataError: If it is neither, or has no area.
    """
    if value is None or value in ([], {}):
        return None
    if isinstance(value, dict):
        names = ("xtl", "ytl", "xbr", "ybr")
        corners = [cast("dict[str, object]", value).get(key) for key in names]
        left, top, right, bottom = _numbers(corners, name, 4)
    else:
        left, top, width, height = _numbers(value, name, 4)
        right, bottom = left + width, top + height
    if not (left < right and top < bottom):
        raise MetadataError(name, "a box with some area", value)
    return LabelBox(corners=(left, top, right, bottom), is_normalized=isinstance(value, dict))


def _boxes(value: object) -> tuple[LabelBox, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    if (value is not None and not isinstance(value, list)) or len(items) > _MAX_BOXES:
        raise MetadataError("bbox_others", f"a list of up to {_MAX_BOXES} boxes", value)
    return tuple(box for item in items if (box := _box(item, "bbox_others")) is not None)


@dataclass(frozen=True, kw_only=True)
class RawPiece:
    """The files of one piece, unread."""

    video_id: str
    chunk: int
    files: dict[str, bytes] = field(repr=False)
    """Files by name in the piece's folder."""

    @property
    def name(self) -> str:
        """Return the name that the tarball gives to the piece."""
        return f"{self.video_id}_chunk_{self.chunk:04d}"


def iter_pieces(path: Path) -> Iterator[RawPiece | Dropped]:
    """Read a tarball from its start to its end, or to where it is damaged.

    Args:
        path: A tar, compressed with gzip or not.

    Raises:
        OSError: If the file cannot be read.
    """
    seen: set[tuple[str, int]] = set()
    current: tuple[str, int] | None = None
    piece: RawPiece | None = None
    for member in _iter_members(path):
        if isinstance(member, Dropped):
            yield member
            continue
        (video_id, chunk, file_name), data = member
        if current != (video_id, chunk):
            if piece is not None:
                yield piece
            current, piece = (video_id, chunk), None
            fresh = RawPiece(video_id=video_id, chunk=chunk, files={})
            if current in seen:
                yield _twice(fresh.name)
            else:
                seen.add(current)
                piece = fresh
        if piece is None:
            continue
        if file_name in piece.files:
            yield _twice(f"{piece.name}/{file_name}")
        else:
            piece.files[file_name] = data
    if piece is not None:
        yield piece


def _twice(name: str) -> Dropped:
    return Dropped(name=name, reason="it comes twice", detail="the first of two is used")


def _iter_members(path: Path) -> Iterator[tuple[tuple[str, int, str], bytes] | Dropped]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_gzip else file
        bounded = _Bounded(cast("Reads", stream))
        try:
            with tarfile.open(
                fileobj=cast("IO[bytes]", bounded), mode="r|", bufsize=_BUFFER_BYTES
            ) as archive:
                while (entry := archive.next()) is not None:
                    # Python's own list of all members would only grow.
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                    bounded.allow(entry.size)
                    if not entry.isdir():
                        yield _read_member(archive, entry)
                bounded.allow(0)
                # Tarfile stops at a damaged header as if that were the end.
                if any(cast("Reads", archive.fileobj).read(_BUFFER_BYTES)):
                    yield _tarball_fault(path, "a header makes no sense")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, _TooLargeError) as error:
            yield _tarball_fault(path, str(error))
        # What tarfile itself trips over in headers made to hurt.
        except (ValueError, OverflowError, RecursionError) as error:
            yield _tarball_fault(path, f"a header makes no sense: {error}")


def _tarball_fault(path: Path, detail: str) -> Dropped:
    return Dropped(
        name=path.name,
        reason="the tarball is damaged or cut short",
        detail=f"{path.name} ends where it is damaged, get it again: {detail}"[:300],
    )


def _read_member(
    archive: tarfile.TarFile, entry: tarfile.TarInfo
) -> tuple[tuple[str, int, str], bytes] | Dropped:
    name = printable(entry.name)
    parts = entry.name.removeprefix("./").split("/")
    if not entry.isreg() or entry.issparse():
        return Dropped(
            name=name, reason="not a plain file", detail="links and devices are not read"
        )
    if entry.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return Dropped(
            name=name,
            reason="hostile path",
            detail="a member's name leads out of the tarball; it is not read",
        )
    found = _parse_name(parts)
    if found is None:
        return Dropped(
            name=name,
            reason="not in the card's layout",
            detail="expected VIDEO_ID/VIDEO_ID_chunk_NNNN/{actions_raw.parquet, "
            "actions_processed.parquet, metadata.json}",
        )
    if entry.size > (limit := _MAX_BYTES[found[2]]):
        return Dropped(
            name=name,
            reason="the file is too large",
            detail=f"it has {entry.size} bytes, expected up to {limit}",
        )
    file = archive.extractfile(entry)
    return found, file.read() if file is not None else b""


def _parse_name(parts: list[str]) -> tuple[str, int, str] | None:
    if len(parts) < 3 or parts[-1] not in _MAX_BYTES:
        return None
    video_id, folder, file_name = parts[-3:]
    head, _, number = folder.rpartition("_chunk_")
    if head != video_id or not (VIDEO_ID.fullmatch(video_id) and _CHUNK.fullmatch(number)):
        return None
    return video_id, int(number), file_name


def printable(text: str) -> str:
    """Shorten a stranger's text to what can go to a terminal and a report."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:120]) or "?"


class _TooLargeError(Exception):
    """More came than a header may take."""


class _Bounded:
    """Hands bytes through to tarfile, as many as the next header and what is before it may take."""

    def __init__(self, file: Reads) -> None:
        self._file = file
        self._left = 0
        self.allow(0)

    def allow(self, size: int) -> None:
        """Let through a member's data, which is passed over in small steps, and a header."""
        self._left = min(max(size, 0), _MAX_PASSED_BYTES) + _MAX_HEADER_BYTES + 2 * _BUFFER_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError("a header or member is larger than any of labels")
        return data
