"""Load the presets of the OBS plugin input-overlay: a JSON layout and a PNG atlas.

    NAME.json + NAME.png ─► elements in the order of the file ─► Skin

An element is a rectangle of the atlas and a place. Its other looks lie beside the rectangle, with
three pixels between: the pressed look below it, the looks of a direction pad to its right.

The plugin names buttons by the code that a driver sends, whose meaning differs between pads and
versions. Here the four face buttons are named by their place where they form a diamond, and
otherwise by their code.

A preset is a stranger's file: sizes and counts are bounded before anything is made of them, and
each fault is told in one line.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.skins.skin import (
    DPAD_LOOKS,
    Button,
    Direction,
    Dpad,
    Element,
    Look,
    Picture,
    Place,
    Skin,
    Stick,
    Trigger,
)

_BORDER = 3
"""Pixels between the looks of one element."""
_MAX_JSON_BYTES = 4_000_000
_MAX_ELEMENTS = 1000
_MAX_SIDE = 4096
"""Largest width and height of an overlay; the largest preset that is shipped has 2048."""
_MAX_PIXELS = 32_000_000
"""Of an atlas, and of all rectangles of a preset together."""
_LEAST_INSIDE = 0.5
"""Share of a rectangle that lies in the atlas; rectangles drawn by hand reach over its edge."""

_BUTTONS = (
    "SOUTH", "EAST", "WEST", "NORTH", "BACK", "GUIDE", "START", "LEFT_THUMB", "RIGHT_THUMB",
    "LEFT_SHOULDER", "RIGHT_SHOULDER", "DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT",
)  # fmt: skip
"""In the order of the plugin's codes, which are SDL's."""
_OLD_MASK = 0xEC00
_OLD_BUTTONS = (
    "SOUTH", "EAST", "WEST", "NORTH", "LEFT_SHOULDER", "RIGHT_SHOULDER", "BACK", "START", "GUIDE",
    "LEFT_THUMB", "RIGHT_THUMB", "DPAD_LEFT", "DPAD_RIGHT", "DPAD_UP", "DPAD_DOWN",
    "LEFT_TRIGGER", "RIGHT_TRIGGER",
)  # fmt: skip
"""In the order of the codes before version 5.1, which have `_OLD_MASK` added."""
# The browser's version wrote the old codes from 10 on as if their decimal digits were hexadecimal.
_OLD_BROWSER_BUTTONS = {
    0x10: "RIGHT_THUMB", 0x11: "DPAD_LEFT", 0x12: "DPAD_RIGHT", 0x13: "DPAD_UP", 0x14: "DPAD_DOWN",
}  # fmt: skip
_FACES = ("SOUTH", "EAST", "WEST", "NORTH")

_MOUSE_BUTTONS = {1: "BTN_LEFT", 2: "BTN_RIGHT", 3: "BTN_MIDDLE", 4: "BTN_SIDE", 5: "BTN_EXTRA"}
# Up to 88 a key's code is its place in this list, from 1 on.
_KEYS = tuple(
    name
    for row in (
        "ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE",
        "TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE ENTER",
        "LEFTCTRL A S D F G H J K L SEMICOLON APOSTROPHE GRAVE",
        "LEFTSHIFT BACKSLASH Z X C V B N M COMMA DOT SLASH RIGHTSHIFT KPASTERISK",
        "LEFTALT SPACE CAPSLOCK F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK SCROLLLOCK",
        "KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS KP1 KP2 KP3 KP0 KPDOT NONE NONE NONE F11 F12",
    )
    for name in row.split()
)
_EXTENDED_KEYS = {
    0x0E1D: "RIGHTCTRL", 0x0E38: "RIGHTALT", 0x0E47: "HOME", 0x0E49: "PAGEUP", 0x0E4F: "END",
    0x0E51: "PAGEDOWN", 0x0E52: "INSERT", 0x0E53: "DELETE", 0xE048: "UP", 0xE04B: "LEFT",
    0xE04D: "RIGHT", 0xE050: "DOWN",
}  # fmt: skip

_DIRECTIONS: dict[int, Direction] = {1: "up", 2: "down", 3: "left", 4: "right"}


class PresetError(ValueError):
    """A preset cannot be used; the message is one line that names the file."""


def load_preset(path: Path, atlas: Path | None = None) -> Skin:
    """Load a preset.

    Args:
        path: The layout, or the atlas: of several pictures for one layout, name the picture.
        atlas: The PNG; None looks for it beside the layout.

    Raises:
        PresetError: If it is no preset, or asks for more than a controller can need.
    """
    if path.suffix.lower() == ".png" and atlas is None:
        path, atlas = _find_layout(path), path
    layout = _read_json(path)
    picture = _read_atlas(atlas or _find_atlas(path))
    return _Reader(path, picture).read(layout)


def _find_layout(atlas: Path) -> Path:
    layouts = sorted(atlas.parent.glob("*.json"))
    fitting = [path for path in layouts if atlas.stem.startswith(path.stem)]
    if fitting:
        return max(fitting, key=lambda path: len(path.stem))
    if len(layouts) == 1:
        return layouts[0]
    raise PresetError(f"{atlas}: expected one layout (.json) beside it, found {len(layouts)}")


def _find_atlas(layout: Path) -> Path:
    beside = layout.with_suffix(".png")
    if beside.exists():
        return beside
    pictures = sorted(layout.parent.glob("*.png"))
    if len(pictures) == 1:
        return pictures[0]
    if pictures:
        names = ", ".join(path.name for path in pictures[:8])
        raise PresetError(f"{layout}: {beside.name} is missing; name one of {names} instead")
    raise PresetError(f"{layout}: its picture {beside.name} is missing")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise PresetError(f"{path}: there is no such file")
        with path.open("rb") as file:
            data = file.read(_MAX_JSON_BYTES + 1)
        if len(data) > _MAX_JSON_BYTES:
            raise PresetError(f"{path}: a layout has at most {_MAX_JSON_BYTES} bytes")
        layout: object = json.loads(data, parse_constant=_refuse_constant)
    except OSError as error:
        raise PresetError(f"{path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise PresetError(f"{path}: lists within lists without end") from error
    except ValueError as error:
        if isinstance(error, PresetError):
            raise
        raise PresetError(f"{path}: this is no JSON: {error}") from error
    if not isinstance(layout, dict) or not isinstance(layout.get("elements"), list):
        raise PresetError(f'{path}: expected a layout of input-overlay, {{"elements": [...]}}')
    return cast("dict[str, Any]", layout)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _read_atlas(path: Path) -> Look:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise PresetError(
                        f"{path}: {image.width}x{image.height} is too large for a picture of a "
                        f"controller, at most {_MAX_PIXELS} pixels"
                    )
                if image.mode.startswith("I"):
                    raise PresetError(f"{path}: grey of 16 bits; save it as RGBA of 8 bits")
                return np.asarray(image.convert("RGBA"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PresetError(f"{path}: too large for a picture of a controller") from error
    # Pillow raises SyntaxError and many others where a PNG is broken.
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError) as error:
        if isinstance(error, PresetError):
            raise
        raise PresetError(f"{path}: this is no PNG that can be read") from error


Rectangle = tuple[int, int, int, int]


@dataclass
class _Reader:
    """Makes elements of a layout's entries."""

    path: Path
    atlas: Look
    notes: list[str] = field(default_factory=list)
    _where: str = ""
    _num_pixels: int = 0
    _is_browser: bool = False

    def read(self, layout: Mapping[str, Any]) -> Skin:
        """Make a skin of a layout.

        Raises:
            PresetError: If a part of it cannot be used.
        """
        self._where = "the layout"
        width = self._whole(layout, "overlay_width", 1, _MAX_SIDE)
        height = self._whole(layout, "overlay_height", 1, _MAX_SIDE)
        entries = cast("list[object]", layout["elements"])
        if len(entries) > _MAX_ELEMENTS:
            raise PresetError(f"{self.path}: {len(entries)} elements, at most {_MAX_ELEMENTS}")
        codes = [entry.get("code") for entry in entries if isinstance(entry, dict)]
        self._is_browser = any(
            isinstance(code, int) and _OLD_MASK + 0x11 <= code <= _OLD_MASK + 0x14 for code in codes
        )
        elements: list[Element] = []
        for number, entry in enumerate(entries, start=1):
            self._where = f"element {number}"
            if not isinstance(entry, dict):
                raise self._refuse("expected an object")
            elements += self._read_element(cast("Mapping[str, Any]", entry))
        named = name_faces_by_place(elements)
        return Skin(
            name=self.path.stem,
            layout=guess_layout(named, is_renamed=named != elements),
            width=width,
            height=height,
            elements=tuple(named),
            notes=tuple(self.notes),
        )

    def _read_element(self, entry: Mapping[str, Any]) -> list[Element]:
        kind = entry.get("type")
        readers: dict[int, Callable[[Mapping[str, Any]], list[Element]]] = {
            0: self._read_picture,
            1: self._read_button,
            2: self._read_button,
            3: self._read_button,
            4: self._read_wheel,
            5: self._read_stick,
            6: self._read_trigger,
            7: self._read_pad_id,
            8: self._read_dpad,
            9: self._read_mouse,
        }
        if not isinstance(kind, int) or isinstance(kind, bool):
            raise self._refuse(f"type must be a whole number, got {kind!r:.40}")
        if kind not in readers:
            self._note(f"type {kind} is not known and left out")
            return []
        return readers[kind](entry)

    def _read_picture(self, entry: Mapping[str, Any]) -> list[Element]:
        return [Picture(self._place(entry), self._cut(self._rectangle(entry)))]

    def _read_button(self, entry: Mapping[str, Any]) -> list[Element]:
        at, rectangle = self._place(entry), self._rectangle(entry)
        code = self._whole(entry, "code", 0, 0xFFFF)
        name = self._name_control(entry["type"], code)
        up = self._cut(rectangle)
        if name is None:
            self._note(f"code {code} is no control that is known; it is drawn released")
            return [Picture(at, up)]
        down = self._cut(_below(rectangle))
        if name.endswith("_TRIGGER"):
            return [Trigger(name, at, up, down, "binary")]
        return [Button(name, at, up, down)]

    def _name_control(self, kind: int, code: int) -> str | None:
        if kind == 1:
            key = _EXTENDED_KEYS.get(code) or (_KEYS[code - 1] if 1 <= code <= len(_KEYS) else "")
            return f"KEY_{key}" if f"KEY_{key}" in KEYBOARD_MOUSE.buttons else None
        if kind == 3:
            return _MOUSE_BUTTONS.get(code)
        if code < _OLD_MASK:
            return _BUTTONS[code] if code < len(_BUTTONS) else None
        number = code - _OLD_MASK
        if self._is_browser and number in _OLD_BROWSER_BUTTONS:
            return _OLD_BROWSER_BUTTONS[number]
        return _OLD_BUTTONS[number] if number < len(_OLD_BUTTONS) else None

    def _read_wheel(self, entry: Mapping[str, Any]) -> list[Element]:
        at, rectangle = self._place(entry), self._rectangle(entry)
        self._note("the wheel's turning is not drawn")
        return [Button("BTN_MIDDLE", at, self._cut(rectangle), self._cut(_beside(rectangle, 1)))]

    def _read_mouse(self, entry: Mapping[str, Any]) -> list[Element]:
        self._note("the mouse's movement is not drawn")
        return self._read_picture(entry)

    def _read_stick(self, entry: Mapping[str, Any]) -> list[Element]:
        side, rectangle, at = self._side(entry), self._rectangle(entry), self._place(entry)
        up, down = self._cut(rectangle), self._cut(_below(rectangle))
        travel = self._whole(entry, "stick_radius", 0, _MAX_SIDE, default=0)
        press = f"{side}_THUMB"
        if not travel:
            self._note("the stick does not move, as its stick_radius is 0")
            return [Button(press, at, up, down)]
        axes = f"{side}_STICK_X", f"{side}_STICK_Y"
        return [Stick(*axes, press, at, float(travel), up, down)]

    def _read_trigger(self, entry: Mapping[str, Any]) -> list[Element]:
        rectangle = self._rectangle(entry)
        is_binary = entry.get("trigger_mode") is True
        return [
            Trigger(
                control=f"{self._side(entry)}_TRIGGER",
                at=self._place(entry),
                up=self._cut(rectangle),
                down=self._cut(_below(rectangle), is_whole=True),
                mode="binary" if is_binary else "crop",
                direction="up" if is_binary else self._direction(entry),
            )
        ]

    def _direction(self, entry: Mapping[str, Any]) -> Direction:
        direction = self._whole(entry, "direction", 1, 4, default=1)
        return _DIRECTIONS[direction]

    def _read_pad_id(self, entry: Mapping[str, Any]) -> list[Element]:
        at, rectangle = self._place(entry), self._rectangle(entry)
        base = self._cut(rectangle)
        # The plugin shows the first pad by the second look, above the look of the pressed button.
        first, pressed = (self._cut(_beside(rectangle, number)) for number in (1, 4))
        shown = first if first[..., 3].any() else base
        if not pressed[..., 3].any():
            return [Picture(at, shown)]
        return [Button("GUIDE", at, None, pressed), Picture(at, shown)]

    def _read_dpad(self, entry: Mapping[str, Any]) -> list[Element]:
        rectangle = self._rectangle(entry)
        looks = [self._cut(_beside(rectangle, number)) for number in range(len(DPAD_LOOKS))]
        return [Dpad(self._place(entry), tuple(looks))]

    def _side(self, entry: Mapping[str, Any]) -> str:
        return ("LEFT", "RIGHT")[self._whole(entry, "side", 0, 1, default=0)]

    def _place(self, entry: Mapping[str, Any]) -> tuple[float, float]:
        x, y = self._wholes(entry, "pos", 2, -_MAX_SIDE, 2 * _MAX_SIDE)
        return float(x), float(y)

    def _rectangle(self, entry: Mapping[str, Any]) -> Rectangle:
        x, y, width, height = self._wholes(entry, "mapping", 4, 0, 1_000_000)
        if not width or not height:
            raise self._refuse(f"the rectangle {[x, y, width, height]} is empty")
        tall, wide = self.atlas.shape[:2]
        inside = max(0, min(width, wide - x)) * max(0, min(height, tall - y))
        if inside < _LEAST_INSIDE * width * height:
            raise self._refuse(
                f"the rectangle {[x, y, width, height]} lies outside of its picture, {wide}x{tall}"
            )
        self._num_pixels += width * height
        if self._num_pixels > _MAX_PIXELS:
            raise self._refuse(f"all rectangles together have more than {_MAX_PIXELS} pixels")
        return x, y, width, height

    def _cut(self, rectangle: Rectangle, *, is_whole: bool = False) -> Look:
        """Cut a look out; outside of the atlas it is transparent."""
        x, y, width, height = rectangle
        look = self.atlas[y : y + height, x : x + width]
        if is_whole and look.shape[:2] != (height, width):
            whole = np.zeros((height, width, 4), np.uint8)
            whole[: look.shape[0], : look.shape[1]] = look
            return whole
        return look if look.size else np.zeros((1, 1, 4), np.uint8)

    def _whole(
        self,
        entry: Mapping[str, Any],
        name: str,
        low: int,
        high: int,
        *,
        default: int | None = None,
    ) -> int:
        value: object = entry.get(name, default)
        number = _to_whole(value)
        if number is None or not low <= number <= high:
            raise self._refuse(
                f"{name} must be a whole number from {low} to {high}, got {value!r:.40}"
            )
        return number

    def _wholes(
        self, entry: Mapping[str, Any], name: str, count: int, low: int, high: int
    ) -> Sequence[int]:
        values: object = entry.get(name)
        numbers = [_to_whole(value) for value in values] if isinstance(values, list) else []
        found = [number for number in numbers if number is not None and low <= number <= high]
        if len(found) != count or len(numbers) != count:
            raise self._refuse(
                f"{name} must be {count} whole numbers from {low} to {high}, got {values!r:.60}"
            )
        return found

    def _note(self, text: str) -> None:
        self.notes.append(f"{self._where}: {text}")

    def _refuse(self, reason: str) -> PresetError:
        return PresetError(f"{self.path}: {self._where}: {reason}")


def _to_whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def _below(rectangle: Rectangle) -> Rectangle:
    x, y, width, height = rectangle
    return x, y + height + _BORDER, width, height


def _beside(rectangle: Rectangle, number: int) -> Rectangle:
    x, y, width, height = rectangle
    return x + number * (width + _BORDER), y, width, height


def name_faces_by_place(elements: Sequence[Element]) -> list[Element]:
    """Name the four face buttons by their places, where these form a diamond.

    A preset of a Switch pad calls its right button A, as its label does, and gives it the code of
    other pads' lower button. What was pressed is where the button is.
    """
    centres: dict[str, Place] = {}
    for element in elements:
        if isinstance(element, Button) and element.control in _FACES:
            centres.setdefault(element.control, _centre(element))
    if len(centres) != len(_FACES) or not _is_diamond(list(centres.values())):
        return list(elements)
    by_x = sorted(centres, key=lambda name: centres[name][0])
    by_y = sorted(centres, key=lambda name: centres[name][1])
    places = {by_x[0]: "WEST", by_x[3]: "EAST", by_y[0]: "NORTH", by_y[3]: "SOUTH"}
    if len(places) != len(_FACES):
        return list(elements)
    return [
        replace(element, control=places[element.control])
        if isinstance(element, Button)
        and places.get(element.control, element.control) != element.control
        else element
        for element in elements
    ]


def _is_diamond(places: Sequence[Place]) -> bool:
    """Tell whether two of four places lie between the others, in both directions."""
    for across in zip(*places, strict=True):
        low, first, second, high = sorted(across)
        if not low + (high - low) / 4 < first <= second < high - (high - low) / 4:
            return False
    return True


def _centre(element: Button | Stick | Dpad) -> Place:
    look = element.looks[0] if isinstance(element, Dpad) else element.down
    if look is None:
        return element.at
    return element.at[0] + look.shape[1] / 2, element.at[1] + look.shape[0] / 2


def guess_layout(elements: Sequence[Element], *, is_renamed: bool) -> str:
    """Tell the kind of pad by the order of its controls from top to bottom."""
    sticks = {e.x: e for e in elements if isinstance(e, Stick)}
    left = sticks.get("LEFT_STICK_X")
    pads = [
        _centre(e)
        for e in elements
        if isinstance(e, Dpad) or (isinstance(e, Button) and e.control == "DPAD_DOWN")
    ]
    if left is None or not pads:
        return "generic"
    if is_renamed:
        return "switch"
    return "xbox" if _centre(left)[1] < pads[0][1] else "playstation"
