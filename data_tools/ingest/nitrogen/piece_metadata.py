"""`metadata.json` of a piece: which frames of which video its rows belong to, and what to mask."""

import math
from dataclasses import dataclass
from typing import cast

from nitrogen_train.data.schema import ShardError, parse_json_object
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
    """Whether the corners are shares of the picture, or pixels of the labelled size."""


@dataclass(frozen=True, kw_only=True)
class PieceMetadata:
    """What a piece says of itself, checked."""

    video_id: str
    chunk: int
    num_rows: int
    """As it claims."""
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
    """Where the pad is drawn."""
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
