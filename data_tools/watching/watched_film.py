"""Draw a watched video beside what was read from it, and what a policy will see of it.

    watched recording ─► frame | pad as it was read, courses of its controls, the masked picture

Whoever looks at it sees whether the reading follows the pad, and that a policy does not see the
pad itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from data_tools.recordings.recording import Recording
from data_tools.shards.source_video import read_video_table
from data_tools.watching.judge_reading import read_rows
from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.encode import Encoding, VideoWriter
from nitrogen_train.viewing.overlays import BACKGROUND, LIT, TEXT, draw_pad_strip

_ENCODING = Encoding(crf=26, group_s=5.0, decodes_fast=False)
"""Encoding for looking at."""
_VIDEO_PX, _COLUMN_PX, _HEIGHT_PX = 480, 320, 360
_GAP_PX, _TEXT_PX = 8, 13
_COURSE_S = 4.0
"""Seconds that the courses show."""
_COURSE_PX = 26
_COURSES_WIDTH_PX = 176


@dataclass(frozen=True, kw_only=True)
class _Film:
    recording: Recording
    rows: ActionRows
    controls: Sequence[str]
    """Whose courses are drawn."""
    fps: float
    size: int


def write_film(
    recording: Recording, path: Path, *, controls: Sequence[str], seconds: float, size: int
) -> None:
    """Write a film of the middle of a watched recording.

    Args:
        recording: What `watch` has made.
        path: The mp4 to write.
        controls: Whose courses are drawn, at most five.
        seconds: Its length.
        size: Side of the square picture that a policy gets.

    Raises:
        ShardError: If the recording breaks its contract.
    """
    film, (start, stop) = _open(recording, controls, seconds, size)
    with VideoWriter(
        path, fps=film.fps, width=_VIDEO_PX + _COLUMN_PX, height=_HEIGHT_PX, encoding=_ENCODING
    ) as writer:
        for picture in _iter_pictures(film, start, stop):
            writer.write(np.asarray(picture))


def draw_moment(
    recording: Recording, *, controls: Sequence[str], seconds: float, size: int
) -> Image.Image:
    """Draw the last picture of the film that `write_film` would write.

    Raises:
        ShardError: If the recording breaks its contract.
    """
    film, (_, stop) = _open(recording, controls, seconds, size)
    return next(_iter_pictures(film, stop - 1, stop))


def _open(
    recording: Recording, controls: Sequence[str], seconds: float, size: int
) -> tuple[_Film, tuple[int, int]]:
    rows, _ = read_rows(recording)
    fps = read_video_table(recording.video_path).fps
    start = max(0, round(len(rows) / 2 - seconds * fps / 2))
    film = _Film(recording=recording, rows=rows, controls=controls, fps=fps, size=size)
    return film, (start, min(len(rows), start + max(1, round(seconds * fps))))


def _iter_pictures(film: _Film, start: int, stop: int) -> Iterator[Image.Image]:
    masks = film.recording.read_facts().masked_boxes
    video = read_video_table(film.recording.video_path)
    for row, frame in enumerate(video.cut(start, stop).read(), start=start):
        seen = frame.to_ndarray(format="rgb24")
        masked = seen.copy()
        for x, y, width, height in (mask.box for mask in masks):
            masked[y : y + height, x : x + width] = 0
        yield _lay_out(film, row, seen, masked)


def _lay_out(
    film: _Film, row: int, seen: UInt8[np.ndarray, "h w 3"], masked: UInt8[np.ndarray, "h w 3"]
) -> Image.Image:
    picture = Image.new("RGB", (_VIDEO_PX + _COLUMN_PX, _HEIGHT_PX), BACKGROUND)
    # As high as the picture allows, its sides as the video has them.
    scale = min(_VIDEO_PX / seen.shape[1], _HEIGHT_PX / seen.shape[0])
    shown = (round(seen.shape[1] * scale), round(seen.shape[0] * scale))
    picture.paste(Image.fromarray(seen).resize(shown, Image.Resampling.LANCZOS), (0, 0))
    pad = draw_pad_strip(GAMEPAD.controls_at(film.rows, row), _COLUMN_PX, "read from the video")
    picture.paste(pad, (_VIDEO_PX, 0))
    side = _COLUMN_PX - _COURSES_WIDTH_PX - 2 * _GAP_PX
    top = pad.height + _GAP_PX
    small = Image.fromarray(masked).resize((film.size, film.size), Image.Resampling.BOX)
    picture.paste(small.resize((side, side), Image.Resampling.NEAREST), (_VIDEO_PX + _GAP_PX, top))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT_PX)
    draw.text((_VIDEO_PX + _GAP_PX, top + side + 4), "what a policy sees", TEXT, font)
    left = _VIDEO_PX + 2 * _GAP_PX + side
    for place, name in enumerate(film.controls):
        y = top + place * (_COURSE_PX + _TEXT_PX + _GAP_PX)
        draw.text((left, y), name.lower(), TEXT, font)
        _draw_course(draw, film, name, row, (left, y + _TEXT_PX + 4))
    return picture


def _draw_course(
    draw: ImageDraw.ImageDraw, film: _Film, name: str, row: int, at: tuple[int, int]
) -> None:
    """Draw a control's values up to a row, the row at the right end."""
    left, top = at
    width = _COURSES_WIDTH_PX - _GAP_PX
    is_button = name in GAMEPAD.buttons
    rest = _COURSE_PX if is_button else _COURSE_PX / 2
    draw.line([(left, top + rest), (left + width, top + rest)], TEXT, 1)
    num_rows = round(_COURSE_S * film.fps)
    values = _values(film.rows, name)[max(0, row + 1 - num_rows) : row + 1]
    x = left + width - (len(values) - 1 - np.arange(len(values))) * width / num_rows
    y = top + _COURSE_PX * ((1 - values) if is_button else (1 + values) / 2)
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    draw.line(points if len(points) > 1 else points * 2, LIT, 2)


def _values(rows: ActionRows, name: str) -> Float32[np.ndarray, " rows"]:
    if name in GAMEPAD.buttons:
        return rows.buttons[:, GAMEPAD.buttons.index(name)].astype(np.float32)
    return rows.sticks[:, GAMEPAD.sticks.index(name)]
