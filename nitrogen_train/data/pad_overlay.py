"""Draws a gamepad, for people to see what was pressed.

Lengths are in hundredths of the picture's width, so that one drawing serves every size.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

from nitrogen_train.actions import Controls
from nitrogen_train.data.overlay_canvas import (
    BACKGROUND,
    BODY,
    EDGE,
    LIT,
    OVERSAMPLING,
    RELEASED,
    TEXT,
    WELL,
    Canvas,
    Colour,
)

_STRIP_HEIGHT = 39.0
"""Of the strip below the picture."""

_FACE_BUTTONS: dict[str, tuple[float, float, Colour, str]] = {
    "NORTH": (66.5, 11.0, (255, 208, 64), "N"),
    "WEST": (62.0, 15.5, (84, 160, 255), "W"),
    "EAST": (71.0, 15.5, (255, 96, 88), "E"),
    "SOUTH": (66.5, 20.0, (104, 214, 112), "S"),
}
"""Named by their places: a data set does not know whose letters were printed on the pad."""
_SMALL_BUTTONS = {"BACK": (45.0, 15.5), "GUIDE": (50.0, 11.5), "START": (55.0, 15.5)}
_DPAD_CENTRE = (42.0, 24.5)
_DPAD_ARMS = {"DPAD_UP": (0, -1), "DPAD_DOWN": (0, 1), "DPAD_LEFT": (-1, 0), "DPAD_RIGHT": (1, 0)}
_STICKS = {"LEFT": (33.5, 15.5), "RIGHT": (58.0, 24.5)}
_TRIGGERS = {"LEFT_TRIGGER": (13.0, "LT"), "RIGHT_TRIGGER": (80.0, "RT")}
_SHOULDERS = {"LEFT_SHOULDER": (28.0, "LB"), "RIGHT_SHOULDER": (61.5, "RB")}
# The outline's right half, from the top centre down; the left half mirrors it.
_OUTLINE = (
    (50, 6.8), (58, 6.6), (66, 5.6), (72, 6.6), (76, 11), (78.6, 18), (80.2, 26), (79.2, 32),
    (75.4, 33.6), (71.4, 31.2), (67, 28.8), (58, 30.2), (50, 30.4),
)  # fmt: skip


def draw_pad_strip(controls: Controls, width: int, caption: str) -> Image.Image:
    """Draw a gamepad's state, `width` pixels wide; a trigger may be a value in [0, 1]."""
    canvas = Canvas(_draw_body(width).copy())
    values = {name: float(value) for name, value in controls.items()}
    _draw_triggers(canvas, values)
    _draw_buttons(canvas, values)
    for side, (x, y) in _STICKS.items():
        _draw_stick(canvas, values, side, x, y)
    if caption:
        canvas.text(2.0, 36.6, caption, TEXT, size=2.8, anchor="lm")
    return canvas.image.resize((width, _strip_height(width)), Image.Resampling.LANCZOS)


def _draw_triggers(canvas: Canvas, values: dict[str, float]) -> None:
    for name, (x, label) in _TRIGGERS.items():
        pull = values.get(name, 0.0)
        canvas.bar(x, 5.0, 7.0, 16.0, WELL)
        if pull > 0:
            canvas.bar(x, 5 + 16 * (1 - pull), 7.0, 16 * pull, LIT)
        canvas.text(x + 3.5, 24.0, label, LIT if pull > 0 else TEXT, size=2.4)
    for name, (x, label) in _SHOULDERS.items():
        is_down = values.get(name, 0.0) > 0
        canvas.bar(x, 1.6, 10.5, 3.4, LIT if is_down else RELEASED)
        canvas.text(x + 5.25, 3.3, label, BACKGROUND if is_down else TEXT, size=2.2)


def _draw_buttons(canvas: Canvas, values: dict[str, float]) -> None:
    for name, (x, y, colour, label) in _FACE_BUTTONS.items():
        is_down = values.get(name, 0.0) > 0
        canvas.circle(x, y, 2.5, colour if is_down else WELL, colour)
        canvas.text(x, y, label, BACKGROUND if is_down else colour, size=2.6)
    for name, (x, y) in _SMALL_BUTTONS.items():
        canvas.circle(x, y, 1.5, LIT if values.get(name, 0.0) > 0 else RELEASED)
    centre_x, centre_y = _DPAD_CENTRE
    for name, (dx, dy) in _DPAD_ARMS.items():
        x, y = centre_x + 2.8 * dx, centre_y + 2.8 * dy
        fill = LIT if values.get(name, 0.0) > 0 else RELEASED
        canvas.bar(x - 1.4, y - 1.4, 2.8, 2.8, fill, corner=0.7)
    canvas.bar(centre_x - 1.5, centre_y - 1.5, 3.0, 3.0, RELEASED, corner=0.0)


def _draw_stick(canvas: Canvas, values: dict[str, float], side: str, x: float, y: float) -> None:
    dx, dy = values.get(f"{side}_STICK_X", 0.0), values.get(f"{side}_STICK_Y", 0.0)
    # A square's corner lies outside the well's circle.
    reach = 2.4 / max(1.0, (dx * dx + dy * dy) ** 0.5)
    is_down, is_moved = values.get(f"{side}_THUMB", 0.0) > 0, dx * dx + dy * dy > 0.01
    canvas.circle(x, y, 5.4, WELL, EDGE)
    fill = LIT if is_down else RELEASED
    canvas.circle(x + reach * dx, y + reach * dy, 3.2, fill, LIT if is_moved else EDGE)
    dot = BACKGROUND if is_down else LIT if is_moved else TEXT
    canvas.circle(x + reach * dx, y + reach * dy, 0.9, dot)


@lru_cache(maxsize=4)
def _draw_body(width: int) -> Image.Image:
    """Draw what never changes, enlarged."""
    size = (width * OVERSAMPLING, _strip_height(width) * OVERSAMPLING)
    canvas = Canvas(Image.new("RGB", size, BACKGROUND))
    canvas.polygon(_smooth_outline(), BODY, EDGE)
    return canvas.image


def _strip_height(width: int) -> int:
    return round(width * _STRIP_HEIGHT / 100)


def _smooth_outline() -> list[tuple[float, float]]:
    """Lay a closed Catmull-Rom curve through the outline and its mirror image."""
    mirrored = [(100 - x, y) for x, y in reversed(_OUTLINE[1:-1])]
    points = np.array([*_OUTLINE, *mirrored])
    before, after, second = (np.roll(points, shift, axis=0) for shift in (1, -1, -2))
    pieces = [
        points
        + t / 2 * (after - before)
        + t**2 / 2 * (2 * before - 5 * points + 4 * after - second)
        + t**3 / 2 * (3 * points - before - 3 * after + second)
        for t in np.linspace(0, 1, 12, endpoint=False)
    ]
    curve = np.stack(pieces, axis=1).reshape(-1, 2)
    return [(float(x), float(y)) for x, y in curve]
