"""Draw a contact sheet: frames of a video, cut around the pad, beside what was read from them.

    reading ─► rows: least sure first, then some from all over, then some that could not be read
      ─► frame, cut around the pad | the pad drawn by the row ─► one picture

A person believes a reading, or does not, at a glance: both pads of a cell must look the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from data_tools.shards.source_video import SourceVideo
from data_tools.watching.overlay_layout import STICKS, OverlayLayout
from data_tools.watching.reading import Box, Reading
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.skins.render_skin import Renderer, composite
from nitrogen_train.skins.skin import Skin

_NUM_DOUBTFUL, _NUM_SPREAD, _NUM_UNREADABLE = 12, 8, 4
_APART_S = 0.5
"""Doubtful rows are so far from each other: neighbours look the same."""
_COLUMNS = 3
_CELL_PX = 200
"""Width of each of the two pictures of a cell."""
_AROUND_PX = 6
_GAP_PX = 10
_TEXT_PX = 13
_PAPER, _INK, _WARNING = (24, 26, 30), (220, 222, 228), (255, 120, 100)
_BEHIND = 70
"""Brightness behind the drawn pad."""
_RELEASED, _PRESSED, _CAP = (110, 170, 255), (255, 190, 60), (120, 255, 140)
_DIMMED, _FINE = 0.45, 3
"""Darkness of a frame on which controls are marked, and how much finer marks are than pixels."""


def draw_sheet(
    video: SourceVideo,
    reading: Reading,
    learned: Bool[np.ndarray, " rows"],
    looks: Skin | OverlayLayout,
) -> Image.Image:
    """Draw the contact sheet of a video.

    Args:
        video: All of its frames.
        reading: One row per frame.
        learned: True for rows that are learned from.
        looks: The skin that was read; where it is not known, the places of its controls.
    """
    confidence, names = find_least_sure(reading)
    rows = choose_rows(confidence, learned, apart=round(_APART_S * reading.fps))
    cells = [
        _draw_cell(video, reading, row, looks, _describe(reading, row, confidence, names, learned))
        for row in rows
    ]
    return _lay_out(cells)


def find_least_sure(reading: Reading) -> tuple[Float32[np.ndarray, " rows"], list[str]]:
    """Find each row's lowest confidence, and the control that it is of."""
    controls = sorted(reading.drawn)
    every = np.concatenate([reading.button_confidence, reading.stick_confidence], axis=1)
    shown = every[:, [GAMEPAD.index(name) for name in controls]]
    return shown.min(axis=1), [controls[place] for place in shown.argmin(axis=1)]


def choose_rows(
    confidence: Float32[np.ndarray, " rows"], learned: Bool[np.ndarray, " rows"], *, apart: int
) -> list[int]:
    """Choose the rows of a sheet: the doubtful ones, some from all over, some that are not learned.

    Args:
        confidence: Of each row.
        learned: True for rows that are learned from.
        apart: Rows that lie at least between two doubtful ones.
    """
    chosen = _choose_doubtful(confidence, np.flatnonzero(learned), apart)
    for rows, number in (
        (np.flatnonzero(learned), _NUM_SPREAD),
        (np.flatnonzero(~learned), _NUM_UNREADABLE),
    ):
        if len(rows):
            # In the middle of as many even parts.
            places = (np.arange(number) + 0.5) * len(rows) / number
            chosen += rows[places.astype(int)].tolist()
    return list(dict.fromkeys(chosen))


def _choose_doubtful(
    confidence: Float32[np.ndarray, " rows"], rows: Int64[np.ndarray, " n"], apart: int
) -> list[int]:
    """Choose rows of low confidence, lowest first, that are no neighbours."""
    is_free = np.ones(len(confidence), bool)
    chosen: list[int] = []
    for row in rows[np.argsort(confidence[rows], kind="stable")].tolist():
        if is_free[row]:
            chosen.append(row)
            is_free[max(0, row - apart) : row + apart + 1] = False
        if len(chosen) == _NUM_DOUBTFUL:
            break
    return chosen


def _describe(
    reading: Reading,
    row: int,
    confidence: Float32[np.ndarray, " rows"],
    names: Sequence[str],
    learned: Bool[np.ndarray, " rows"],
) -> tuple[str, bool]:
    """Write a cell's words, and tell whether the row is learned from."""
    minutes, seconds = divmod(float(reading.times_s[row]), 60)
    time = f"{int(minutes)}:{seconds:05.2f}"
    if not learned[row]:
        return (
            f"{time}  not {'sure' if reading.readable[row] else 'readable'}, not learned from",
            False,
        )
    return f"{time}  {confidence[row]:.2f} {names[row]}", True


def _draw_cell(
    video: SourceVideo,
    reading: Reading,
    row: int,
    looks: Skin | OverlayLayout,
    words: tuple[str, bool],
) -> Image.Image:
    text, is_learned = words
    box = _find_box(reading, row)
    seen = _cut_frame(video, row, _grow(box, reading))
    width = seen.width if seen else box[2] - box[0]
    shown = None
    if is_learned and isinstance(looks, Skin):
        shown = _draw_pad(reading, row, looks, box)
    elif is_learned and seen and not isinstance(looks, Skin):
        shown = _mark_controls(seen, reading, row, looks, box)
    height = round(_CELL_PX * (seen.height if seen else box[3] - box[1]) / width)
    cell = Image.new("RGB", (2 * _CELL_PX, height + _TEXT_PX + 4), _PAPER)
    ink = _INK if is_learned else _WARNING
    ImageDraw.Draw(cell).text((0, 0), text, fill=ink, font=ImageFont.load_default(_TEXT_PX))
    for place, picture in enumerate((seen, shown)):
        if picture is not None:
            scaled = picture.resize((_CELL_PX, height), Image.Resampling.LANCZOS)
            cell.paste(scaled, (place * _CELL_PX, _TEXT_PX + 4))
    return cell


def _find_box(reading: Reading, row: int) -> Box:
    boxes = [each.box for each in reading.stretches if each.start <= row < each.stop]
    return (boxes or [reading.stretches[0].box])[0]


def _grow(box: Box, reading: Reading) -> Box:
    left, top, right, bottom = box
    return (
        max(0, left - _AROUND_PX),
        max(0, top - _AROUND_PX),
        min(reading.width, right + _AROUND_PX),
        min(reading.height, bottom + _AROUND_PX),
    )


def _cut_frame(video: SourceVideo, row: int, box: Box) -> Image.Image | None:
    """Decode a frame and cut a box from it; None if it is damaged."""
    try:
        frame = next(video.cut(row, row + 1).read())
    except ShardError:
        return None
    left, top, right, bottom = box
    return Image.fromarray(frame.to_ndarray(format="rgb24")[top:bottom, left:right])


def _draw_pad(reading: Reading, row: int, skin: Skin, box: Box) -> Image.Image:
    """Draw what was read, with the margins of the cut frame, before an even background."""
    left, top, right, bottom = _grow(box, reading)
    frame: UInt8[np.ndarray, "h w 3"] = np.full((bottom - top, right - left, 3), _BEHIND, np.uint8)
    pad = Renderer(skin, box[2] - box[0]).render(dict(_iter_state(reading, row)))
    at = (box[0] - left, box[1] - top)
    pad = pad[: frame.shape[0] - at[1], : frame.shape[1] - at[0]]
    return Image.fromarray(composite(frame, pad, at))


def _mark_controls(
    seen: Image.Image, reading: Reading, row: int, layout: OverlayLayout, box: Box
) -> Image.Image:
    """Mark what was read at the places of the controls: filled where pressed, caps where they are.

    Args:
        seen: The frame, cut around the controller.
        reading: What was read.
        row: Of the frame.
        layout: The places; if the controller has moved since, they move with its box.
        box: Of the controller in this row.
    """
    left, top, _, _ = _grow(box, reading)
    marked = Image.blend(seen.convert("L").convert("RGB"), Image.new("RGB", seen.size), _DIMMED)
    grown = marked.resize((seen.width * _FINE, seen.height * _FINE), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(grown)
    state = dict(_iter_state(reading, row))
    scale = (box[2] - box[0]) / (layout.box[2] - layout.box[0])
    for name, (x, y, width, height) in layout.places.items():
        axes = STICKS.get(name, ())
        if not ({name, *axes} & reading.drawn):
            continue
        travel = layout.travels.get(name, 0.0)
        shift_x, shift_y = (travel * state.get(axis, 0.0) for axis in axes or ("", ""))
        first = (x - layout.box[0] + shift_x) * scale + box[0] - left
        second = (y - layout.box[1] + shift_y) * scale + box[1] - top
        edges = tuple(
            _FINE * each for each in (first, second, first + width * scale, second + height * scale)
        )
        if axes:
            draw.ellipse(edges, outline=_CAP, width=_FINE)
        elif state.get(name, 0.0) > GAMEPAD.trigger_threshold:
            draw.rectangle(edges, fill=_PRESSED, outline=_PRESSED, width=_FINE)
        else:
            draw.rectangle(edges, outline=_RELEASED, width=1)
    return grown


def _iter_state(reading: Reading, row: int) -> Iterator[tuple[str, float]]:
    for name in reading.drawn:
        value = float(reading.control(name)[row])
        is_flat = name in GAMEPAD.buttons and not name.endswith("_TRIGGER")
        yield name, float(value > GAMEPAD.trigger_threshold) if is_flat else value


def _lay_out(cells: Sequence[Image.Image]) -> Image.Image:
    """Lay cells out in rows, in their order."""
    lines = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    heights = [max(cell.height for cell in line) for line in lines]
    width = _COLUMNS * (2 * _CELL_PX + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, sum(heights) + _GAP_PX * (len(lines) + 1)), _PAPER)
    top = _GAP_PX
    for line, height in zip(lines, heights, strict=True):
        for column, cell in enumerate(line):
            sheet.paste(cell, (_GAP_PX + column * (2 * _CELL_PX + _GAP_PX), top))
        top += height + _GAP_PX
    return sheet
