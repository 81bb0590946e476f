"""Draw controllers below frames, for people to see what was pressed.

    frame, controls ─► strip of a gamepad, or of a keyboard and a mouse ─► frame with the strip

Gamepads are drawn with the artwork and the code of those on videos; keyboards are drawn here.
Lengths are in hundredths of the picture's width, so that one drawing serves every size.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from nitrogen_train.actions import GAMEPAD, ActionSpace, Controls
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite

Colour = tuple[int, int, int]

# Drawn this much larger and shrunk, which smooths the edges.
OVERSAMPLING = 2

BACKGROUND: Colour = (14, 16, 22)
EDGE: Colour = (78, 85, 103)
WELL: Colour = (24, 27, 35)
RELEASED: Colour = (66, 72, 88)
LIT: Colour = (255, 184, 64)
TEXT: Colour = (176, 184, 200)

_STRIP_HEIGHT = 39.0
"""Height of the strip below the picture."""

_PAD_WIDTH, _PAD_TOP = 54.0, 1.5

_KEY_SIZE = 4.5
_LEFT, _TOP = 2.0, 1.5
# Controls without their KEY_.
_ROWS = (
    "ESC F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 INSERT DELETE",
    "GRAVE 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE HOME",
    "TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE BACKSLASH END",
    "CAPSLOCK A S D F G H J K L SEMICOLON APOSTROPHE ENTER PAGEUP",
    "LEFTSHIFT Z X C V B N M COMMA DOT SLASH RIGHTSHIFT UP PAGEDOWN",
    "LEFTCTRL LEFTALT SPACE RIGHTALT RIGHTCTRL LEFT DOWN RIGHT",
)
_LABELS = {
    "INSERT": "INS", "DELETE": "DEL", "GRAVE": "`", "MINUS": "-", "EQUAL": "=",
    "BACKSPACE": "BACK", "LEFTBRACE": "[", "RIGHTBRACE": "]", "BACKSLASH": "\\",
    "CAPSLOCK": "CAPS", "SEMICOLON": ";", "APOSTROPHE": "'", "PAGEUP": "PU",
    "LEFTSHIFT": "SHIFT", "COMMA": ",", "DOT": ".", "SLASH": "/", "RIGHTSHIFT": "SHIFT",
    "UP": "^", "PAGEDOWN": "PD", "LEFTCTRL": "CTRL", "LEFTALT": "ALT", "RIGHTALT": "ALT",
    "RIGHTCTRL": "CTRL", "LEFT": "<", "DOWN": "v", "RIGHT": ">",
}  # fmt: skip
# In keys; the others are one wide.
_LENGTHS = {
    "BACKSPACE": 2.0, "TAB": 1.5, "BACKSLASH": 1.5, "CAPSLOCK": 1.75, "ENTER": 2.25,
    "LEFTSHIFT": 2.25, "RIGHTSHIFT": 1.75, "LEFTCTRL": 1.5, "LEFTALT": 1.5, "SPACE": 7.0,
    "RIGHTALT": 1.5, "RIGHTCTRL": 1.5,
}  # fmt: skip
_MOUSE_CENTRE, _MOUSE_RADIUS = (86.5, 19.0), 8.0
_MOUSE_BUTTONS = {
    "BTN_LEFT": (78.5, 1.5, 6.6),
    "BTN_MIDDLE": (85.5, 1.5, 2.0),
    "BTN_RIGHT": (87.9, 1.5, 6.6),
    "BTN_SIDE": (78.5, 6.0, 3.0),
    "BTN_EXTRA": (91.5, 6.0, 3.0),
}
_WHEEL_X, _WHEEL_REACH = 96.5, 8.0


class Canvas:
    """An image that is drawn on in hundredths of its width."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width / 100

    def circle(
        self, x: float, y: float, radius: float, fill: Colour, edge: Colour | None = None
    ) -> None:
        """Draw a disc around (x, y)."""
        box = self._scale(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, fill, edge, round(0.3 * self._unit))

    def bar(
        self, x: float, y: float, width: float, height: float, fill: Colour, *, corner: float = 1.6
    ) -> None:
        """Draw a box with round corners from its top left corner (x, y)."""
        box = self._scale(x, y, x + width, y + height)
        self._draw.rounded_rectangle(box, min(width / 2, height / 2, corner) * self._unit, fill)

    def text(
        self, x: float, y: float, words: str, fill: Colour, *, size: float, anchor: str = "mm"
    ) -> None:
        """Write words at (x, y), which `anchor` places them by."""
        place = (x * self._unit, y * self._unit)
        self._draw.text(place, words, fill, _font(round(size * self._unit)), anchor=anchor)

    def _scale(self, *lengths: float) -> list[float]:
        return [length * self._unit for length in lengths]


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def draw_pad_strip(controls: Controls, width: int, caption: str) -> Image.Image:
    """Draw a gamepad's state, `width` pixels wide; a trigger may be a value in [0, 1]."""
    strip = np.full((_strip_height(width), width, 3), BACKGROUND, np.uint8)
    pad = _open_pad(width).render({name: float(value) for name, value in controls.items()})
    left, top = (width - pad.shape[1]) // 2, round(_PAD_TOP * width / 100)
    image = Image.fromarray(composite(strip, pad, (left, top)))
    if caption:
        Canvas(image).text(2.0, 36.6, caption, TEXT, size=2.8, anchor="lm")
    return image


@lru_cache(maxsize=4)
def _open_pad(width: int) -> Renderer:
    """Prepare the pad that is drawn: the same artwork and code as of those on videos."""
    return Renderer(open_skin("xbox"), _PAD_WIDTH * width / 100)


def _strip_height(width: int) -> int:
    return round(width * _STRIP_HEIGHT / 100)


def draw_keyboard_strip(controls: Controls, width: int, caption: str) -> Image.Image:
    """Draw what is pressed and how the mouse moves, `width` pixels wide."""
    canvas = Canvas(_draw_released(width).copy())
    values = {name: float(value) for name, value in controls.items()}
    for name, key in _place_keys().items():
        if values.get(name, 0.0) > 0:
            _draw_key(canvas, *key, is_down=True)
    for name, (x, y, length) in _MOUSE_BUTTONS.items():
        if values.get(name, 0.0) > 0:
            canvas.bar(x, y, length, 3.4, LIT)
    _draw_motion(canvas, values)
    if caption:
        canvas.text(_LEFT, 36.0, caption, TEXT, size=2.8, anchor="lm")
    return canvas.image.resize((width, _strip_height(width)), Image.Resampling.LANCZOS)


def _draw_motion(canvas: Canvas, values: dict[str, float]) -> None:
    x, y = _MOUSE_CENTRE
    dx, dy = values.get("MOUSE_X", 0.0), values.get("MOUSE_Y", 0.0)
    # A square's corner lies outside the circle.
    reach = (_MOUSE_RADIUS - 1.5) / max(1.0, (dx * dx + dy * dy) ** 0.5)
    canvas.circle(x + reach * dx, y + reach * dy, 1.5, LIT if dx or dy else TEXT)
    wheel = values.get("MOUSE_WHEEL", 0.0)
    if wheel:
        length = _WHEEL_REACH * abs(wheel)
        canvas.bar(_WHEEL_X - 0.8, y - length * (wheel > 0), 1.6, length, LIT, corner=0.0)


@lru_cache(maxsize=4)
def _draw_released(width: int) -> Image.Image:
    size = (width * OVERSAMPLING, _strip_height(width) * OVERSAMPLING)
    canvas = Canvas(Image.new("RGB", size, BACKGROUND))
    for key in _place_keys().values():
        _draw_key(canvas, *key, is_down=False)
    for x, y, length in _MOUSE_BUTTONS.values():
        canvas.bar(x, y, length, 3.4, RELEASED)
    x, y = _MOUSE_CENTRE
    canvas.circle(x, y, _MOUSE_RADIUS, WELL, EDGE)
    canvas.bar(_WHEEL_X - 0.8, y - _WHEEL_REACH, 1.6, 2 * _WHEEL_REACH, WELL, corner=0.0)
    return canvas.image


def _draw_key(
    canvas: Canvas, x: float, y: float, length: float, label: str, *, is_down: bool
) -> None:
    canvas.bar(x, y, length, _KEY_SIZE - 0.5, LIT if is_down else RELEASED, corner=0.7)
    size = 2.2 if len(label) < 3 else 1.4
    middle = (x + length / 2, y + (_KEY_SIZE - 0.5) / 2)
    canvas.text(*middle, label, BACKGROUND if is_down else TEXT, size=size)


@lru_cache(maxsize=1)
def _place_keys() -> dict[str, tuple[float, float, float, str]]:
    """Find the left, the top, the length and the label of each key."""
    places: dict[str, tuple[float, float, float, str]] = {}
    for row, names in enumerate(_ROWS):
        x, y = _LEFT, _TOP + row * (_KEY_SIZE + 0.6)
        for name in names.split():
            length = _LENGTHS.get(name, 1.0) * _KEY_SIZE
            places[f"KEY_{name}"] = (x, y, length - 0.5, _LABELS.get(name, name))
            x += length
    return places


_STRIPS: dict[str, Callable[[Controls, int, str], Image.Image]] = {
    GAMEPAD.name: draw_pad_strip,
    KEYBOARD_MOUSE.name: draw_keyboard_strip,
}


def draw_controls(
    frame: UInt8[np.ndarray, "h w 3"],
    states: Sequence[tuple[str, Controls]],
    *,
    space: ActionSpace,
    width: int = 512,
    aspect: float | None = None,
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Enlarge a frame and draw controllers below it, one below the other.

    Args:
        frame: RGB of any size.
        states: A few words for each controller's lower left corner, and what is held.
        space: The layout of all of them.
        width: Of the result, in pixels.
        aspect: Width over height of the picture as it was played; the frame's own if None.

    Returns:
        RGB with even sides, as video wants them.
    """
    width += width % 2
    draw = _STRIPS[space.name]
    strips = [np.array(draw(controls, width, caption)) for caption, controls in states]
    shown_height = round(width / (aspect or frame.shape[1] / frame.shape[0]))
    height = shown_height + (shown_height + sum(map(len, strips))) % 2
    shown = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.concatenate([np.array(shown), *strips])
