"""Draws a gamepad below a frame, for people to see what was pressed.

Lengths are in hundredths of the picture's width, so that one drawing serves every size.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from nitrogen_train.actions import Controls

Colour = tuple[int, int, int]

STRIP_HEIGHT = 36.0
"""Of the strip below the picture."""

# Drawn this much larger and shrunk, which smooths the edges.
_OVERSAMPLING = 2

_BACKGROUND: Colour = (14, 16, 22)
_BODY: Colour = (39, 43, 54)
_EDGE: Colour = (78, 85, 103)
_WELL: Colour = (24, 27, 35)
_RELEASED: Colour = (66, 72, 88)
_LIT: Colour = (255, 184, 64)
_TEXT: Colour = (176, 184, 200)

_FACE_BUTTONS: dict[str, tuple[float, float, Colour, str]] = {
    "NORTH": (66.5, 11.0, (255, 208, 64), "Y"),
    "WEST": (62.0, 15.5, (84, 160, 255), "X"),
    "EAST": (71.0, 15.5, (255, 96, 88), "B"),
    "SOUTH": (66.5, 20.0, (104, 214, 112), "A"),
}
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


def draw_pad(
    frame: UInt8[np.ndarray, "h w 3"],
    controls: Controls,
    *,
    width: int = 512,
    aspect: float | None = None,
    caption: str = "",
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Enlarge a frame and draw the gamepad's state below it.

    Args:
        frame: RGB of any size.
        controls: What is held; a trigger may be a value in [0, 1].
        width: Of the result, in pixels.
        aspect: Width over height of the picture as it was played; the frame's own if None.
        caption: A few words for the strip's lower left corner.

    Returns:
        RGB with even sides, as video wants them.
    """
    pads = [(caption, controls)]
    return draw_pads(frame, pads, width=width, aspect=aspect)


def draw_pads(
    frame: UInt8[np.ndarray, "h w 3"],
    pads: Sequence[tuple[str, Controls]],
    *,
    width: int = 512,
    aspect: float | None = None,
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Enlarge a frame and draw several gamepads below it, one below the other.

    Args:
        frame: RGB of any size.
        pads: A caption and what is held, for each of at least one.
        width: As for `draw_pad`.
        aspect: As for `draw_pad`.

    Returns:
        RGB with even sides, as video wants them.
    """
    width += width % 2
    shown_height = round(width / (aspect or frame.shape[1] / frame.shape[0]))
    strips = [np.array(_draw_strip(controls, width, caption)) for caption, controls in pads]
    height = shown_height + (shown_height + sum(map(len, strips))) % 2
    shown = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.concatenate([np.array(shown), *strips])


class _Canvas:
    """An image that is drawn on in hundredths of its width."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width / 100

    def circle(
        self, x: float, y: float, radius: float, fill: Colour, edge: Colour | None = None
    ) -> None:
        box = self._scale(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, fill, edge, round(0.3 * self._unit))

    def bar(
        self, x: float, y: float, width: float, height: float, fill: Colour, *, corner: float = 1.6
    ) -> None:
        box = self._scale(x, y, x + width, y + height)
        self._draw.rounded_rectangle(box, min(width / 2, height / 2, corner) * self._unit, fill)

    def polygon(self, points: list[tuple[float, float]], fill: Colour, edge: Colour) -> None:
        scaled = [(x * self._unit, y * self._unit) for x, y in points]
        self._draw.polygon(scaled, fill)
        self._draw.line([*scaled, scaled[0]], edge, round(0.5 * self._unit), "curve")

    def text(
        self, x: float, y: float, words: str, fill: Colour, *, size: float, anchor: str = "mm"
    ) -> None:
        place = (x * self._unit, y * self._unit)
        self._draw.text(place, words, fill, _font(round(size * self._unit)), anchor=anchor)

    def _scale(self, *lengths: float) -> list[float]:
        return [length * self._unit for length in lengths]


def _draw_strip(controls: Controls, width: int, caption: str) -> Image.Image:
    canvas = _Canvas(_draw_body(width).copy())
    values = {name: float(value) for name, value in controls.items()}
    _draw_triggers(canvas, values)
    _draw_buttons(canvas, values)
    for side, (x, y) in _STICKS.items():
        _draw_stick(canvas, values, side, x, y)
    if caption:
        canvas.text(2.0, 33.5, caption, _TEXT, size=2.0, anchor="lm")
    return canvas.image.resize((width, _strip_height(width)), Image.Resampling.LANCZOS)


def _draw_triggers(canvas: _Canvas, values: dict[str, float]) -> None:
    for name, (x, label) in _TRIGGERS.items():
        pull = values.get(name, 0.0)
        canvas.bar(x, 5.0, 7.0, 16.0, _WELL)
        if pull > 0:
            canvas.bar(x, 5 + 16 * (1 - pull), 7.0, 16 * pull, _LIT)
        canvas.text(x + 3.5, 24.0, label, _LIT if pull > 0 else _TEXT, size=2.4)
    for name, (x, label) in _SHOULDERS.items():
        is_down = values.get(name, 0.0) > 0
        canvas.bar(x, 1.6, 10.5, 3.4, _LIT if is_down else _RELEASED)
        canvas.text(x + 5.25, 3.3, label, _BACKGROUND if is_down else _TEXT, size=2.2)


def _draw_buttons(canvas: _Canvas, values: dict[str, float]) -> None:
    for name, (x, y, colour, label) in _FACE_BUTTONS.items():
        is_down = values.get(name, 0.0) > 0
        canvas.circle(x, y, 2.5, colour if is_down else _WELL, colour)
        canvas.text(x, y, label, _BACKGROUND if is_down else colour, size=2.6)
    for name, (x, y) in _SMALL_BUTTONS.items():
        canvas.circle(x, y, 1.5, _LIT if values.get(name, 0.0) > 0 else _RELEASED)
    centre_x, centre_y = _DPAD_CENTRE
    for name, (dx, dy) in _DPAD_ARMS.items():
        x, y = centre_x + 2.8 * dx, centre_y + 2.8 * dy
        fill = _LIT if values.get(name, 0.0) > 0 else _RELEASED
        canvas.bar(x - 1.4, y - 1.4, 2.8, 2.8, fill, corner=0.7)
    canvas.bar(centre_x - 1.5, centre_y - 1.5, 3.0, 3.0, _RELEASED, corner=0.0)


def _draw_stick(canvas: _Canvas, values: dict[str, float], side: str, x: float, y: float) -> None:
    dx, dy = values.get(f"{side}_STICK_X", 0.0), values.get(f"{side}_STICK_Y", 0.0)
    # A square's corner lies outside the well's circle.
    reach = 2.4 / max(1.0, (dx * dx + dy * dy) ** 0.5)
    is_down, is_moved = values.get(f"{side}_THUMB", 0.0) > 0, dx * dx + dy * dy > 0.01
    canvas.circle(x, y, 5.4, _WELL, _EDGE)
    fill = _LIT if is_down else _RELEASED
    canvas.circle(x + reach * dx, y + reach * dy, 3.2, fill, _LIT if is_moved else _EDGE)
    dot = _BACKGROUND if is_down else _LIT if is_moved else _TEXT
    canvas.circle(x + reach * dx, y + reach * dy, 0.9, dot)


@lru_cache(maxsize=4)
def _draw_body(width: int) -> Image.Image:
    """Draw what never changes, enlarged."""
    size = (width * _OVERSAMPLING, _strip_height(width) * _OVERSAMPLING)
    canvas = _Canvas(Image.new("RGB", size, _BACKGROUND))
    canvas.polygon(_smooth_outline(), _BODY, _EDGE)
    return canvas.image


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _strip_height(width: int) -> int:
    return round(width * STRIP_HEIGHT / 100)


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
