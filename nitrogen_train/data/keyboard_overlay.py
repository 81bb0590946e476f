"""Draws a keyboard and a mouse, for people to see what was pressed.

Lengths are in hundredths of the picture's width, as in `pad_overlay`.
"""

from functools import lru_cache

from PIL import Image

from nitrogen_train.actions import Controls
from nitrogen_train.data.overlay_canvas import (
    BACKGROUND,
    EDGE,
    LIT,
    OVERSAMPLING,
    RELEASED,
    TEXT,
    WELL,
    Canvas,
)

_STRIP_HEIGHT = 39.0
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


def _strip_height(width: int) -> int:
    return round(width * _STRIP_HEIGHT / 100)
