"""Draw a watched video beside what was read from it, and what a policy will see of it.

    watched recording ─► frame | pad as it was read, pad in the frame, masked picture, courses

Whoever looks at it sees whether the reading follows the pad, and that a policy does not see the
pad itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av import VideoFrame
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

from data_tools.recordings.recording import Box, Recording
from data_tools.shards.hidden_boxes import BoxFilling
from data_tools.shards.source_video import read_video_table
from data_tools.watching.judge_reading import read_rows
from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.encode import Encoding, VideoWriter
from nitrogen_train.viewing.overlays import BACKGROUND, LIT, TEXT, draw_pad_strip

_ENCODING = Encoding(crf=26, group_s=5.0, decodes_fast=False)
"""Encoding for looking at."""
_VIDEO_PX, _COLUMN_PX, _HEIGHT_PX = 480, 320, 360
_CONTROLS_PX = 84
"""Black rows below, which a browser's player lays its controls over."""
_GAP_PX, _TEXT_PX = 8, 13
_COURSE_S = 4.0
"""Seconds that the courses show."""
_COURSE_PX = 26
_SMALL_PX = 124
"""Side of the square picture that a policy sees, as it is shown."""


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
        controls: Whose courses are drawn, at most four.
        seconds: Its length.
        size: Side of the square picture that a policy gets.

    Raises:
        ShardError: If the recording breaks its contract.
    """
    film, (start, stop) = _open(recording, controls, seconds, size)
    with VideoWriter(
        path,
        fps=film.fps,
        width=_VIDEO_PX + _COLUMN_PX,
        height=_HEIGHT_PX + _CONTROLS_PX,
        encoding=_ENCODING,
    ) as writer:
        for picture in _iter_pictures(film, start, stop):
            writer.write(np.pad(np.asarray(picture), ((0, _CONTROLS_PX), (0, 0), (0, 0))))


def _open(
    recording: Recording, controls: Sequence[str], seconds: float, size: int
) -> tuple[_Film, tuple[int, int]]:
    rows, _ = read_rows(recording)
    fps = read_video_table(recording.video_path).fps
    start = max(0, round(len(rows) / 2 - seconds * fps / 2))
    film = _Film(recording=recording, rows=rows, controls=controls, fps=fps, size=size)
    return film, (start, min(len(rows), start + max(1, round(seconds * fps))))


def _iter_pictures(film: _Film, start: int, stop: int) -> Iterator[Image.Image]:
    boxes = [mask.box for mask in film.recording.read_facts().masked_boxes]
    video = read_video_table(film.recording.video_path)
    filling = BoxFilling.find(boxes, (0, 0, video.width, video.height), film.size)
    for row, frame in enumerate(video.cut(start, stop).read(), start=start):
        seen = frame.to_ndarray(format="rgb24")
        masked = seen.copy()
        for x, y, width, height in boxes:
            masked[y : y + height, x : x + width] = 0
        small = Image.fromarray(masked).resize((film.size, film.size), Image.Resampling.BOX)
        filled = filling.fill(VideoFrame.from_image(small).reformat(format="yuv420p"))
        yield _lay_out(film, row, seen, filled.to_image(), pad=boxes[0])


def _lay_out(
    film: _Film,
    row: int,
    seen: UInt8[np.ndarray, "h w 3"],
    small: Image.Image,
    pad: Box,
) -> Image.Image:
    picture = Image.new("RGB", (_VIDEO_PX + _COLUMN_PX, _HEIGHT_PX), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT_PX)
    video = Image.fromarray(seen)
    shown = ImageOps.contain(video, (_VIDEO_PX, _HEIGHT_PX), Image.Resampling.LANCZOS)
    picture.paste(shown, (0, 0))
    left = _VIDEO_PX + _GAP_PX
    strip = draw_pad_strip(GAMEPAD.controls_at(film.rows, row), _COLUMN_PX, "read from the video")
    picture.paste(strip, (_VIDEO_PX, 0))
    top, under = strip.height + _GAP_PX, strip.height + _GAP_PX + _SMALL_PX + 2
    x, y, width, height = pad
    cut = video.crop((x, y, x + width, y + height))
    room = (_COLUMN_PX - _SMALL_PX - 3 * _GAP_PX, _SMALL_PX)
    picture.paste(ImageOps.contain(cut, room, Image.Resampling.LANCZOS), (left, top))
    draw.text((left, under), "the video, enlarged", TEXT, font)
    small = small.resize((_SMALL_PX, _SMALL_PX), Image.Resampling.NEAREST)
    right = left + room[0] + _GAP_PX
    picture.paste(small, (right, top))
    draw.text((right, under), "what a policy sees", TEXT, font)
    wide = (_COLUMN_PX - _GAP_PX) // len(film.controls)
    for place, name in enumerate(film.controls):
        corner = (left + place * wide, _HEIGHT_PX - _COURSE_PX - _TEXT_PX - 2 * _GAP_PX)
        draw.text(corner, name.lower(), TEXT, font)
        corner = (corner[0], _HEIGHT_PX - _COURSE_PX - _GAP_PX)
        _draw_course(draw, film, name, row, corner, wide - _GAP_PX)
    return picture


def _draw_course(
    draw: ImageDraw.ImageDraw,
    film: _Film,
    name: str,
    row: int,
    at: tuple[int, int],
    width: int,
) -> None:
    """Draw a control's values up to a row, the row at the right end."""
    left, top = at
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
