"""Model a controller overlay: sprites, the controls they show, and where these can be seen.

A skin is a list of elements, drawn in the order of the list: still pictures, buttons with two
looks, sticks that are shifted, triggers that fill, and direction pads with nine looks. Controls
are named as in `GAMEPAD`, by their place on the pad and not by the letter printed on them.

A look is a `uint8` picture [h, w, 4], RGBA with straight alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

Look = UInt8[np.ndarray, "_ _ 4"]
"""A sprite: RGBA with straight alpha."""
Direction = Literal["up", "down", "left", "right"]
Number = float | int
Place = tuple[Number, Number]
"""The left and the top edge of a sprite, in native pixels."""
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are excluded."""
Extent = tuple[Number, Number, Number, Number]
"""Left, top, right and bottom of a part of a skin or a sprite, in native pixels."""
State = Mapping[str, Number]
"""Controls by name: buttons and triggers in [0, 1], axes in [-1, 1] with down positive.
What is not named is released or centred."""

DPAD_CONTROLS = ("DPAD_LEFT", "DPAD_RIGHT", "DPAD_UP", "DPAD_DOWN")
DPAD_LOOKS = (
    "centre",
    "left",
    "right",
    "up",
    "down",
    "up_left",
    "up_right",
    "down_left",
    "down_right",
)
"""The order of the looks of a `Dpad`."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A sprite that never changes."""

    at: Place
    look: Look


@dataclass(frozen=True, eq=False)
class Button:
    """A control that shows one of two looks, or a mixture of both while it fades."""

    control: str
    at: Place
    up: Look | None
    """None shows nothing while the button is released."""
    down: Look


@dataclass(frozen=True, eq=False)
class Stick:
    """A sprite that follows two axes, with another look while the stick is pressed."""

    x: str
    y: str
    press: str | None
    """The button that clicks the stick."""
    at: Place
    """The place at rest."""
    travel: Number
    """Native pixels that an axis of 1 shifts the sprite by."""
    up: Look
    down: Look | None
    """None shows `up` also while pressed."""


@dataclass(frozen=True, eq=False)
class Trigger:
    """A control that shows how far it is pulled."""

    control: str
    at: Place
    up: Look | None
    down: Look
    mode: Literal["binary", "crop", "opacity"]
    """`binary` shows one look or the other; `crop` lays a part of `down` over `up`, as large as the
    value; `opacity` lays all of `down` over `up`, as opaque as the value."""
    direction: Direction = "up"
    """Where a cropped look grows to."""


@dataclass(frozen=True, eq=False)
class Dpad:
    """A direction pad that shows one of nine looks."""

    at: Place
    looks: tuple[Look, ...]
    """In the order of `DPAD_LOOKS`."""


Element = Picture | Button | Stick | Trigger | Dpad


@dataclass(frozen=True, eq=False)
class Skin:
    """The artwork of a controller overlay."""

    name: str
    layout: str
    """The kind of pad: `xbox`, `playstation`, `switch` or `generic`."""
    width: Number
    height: Number
    elements: tuple[Element, ...]
    """In the order of drawing."""
    notes: tuple[str, ...] = ()
    """Sentences about what the artwork has and this model does not show."""

    @property
    def controls(self) -> tuple[str, ...]:
        """The names of the controls that the skin shows, sorted."""
        return tuple(sorted({name for element in self.elements for name in list_controls(element)}))


def list_controls(element: Element) -> tuple[str, ...]:
    """List the names of the controls that an element shows."""
    match element:
        case Picture():
            return ()
        case Button() | Trigger():
            return (element.control,)
        case Stick():
            return (element.x, element.y, *([element.press] if element.press else []))
        case Dpad():
            return DPAD_CONTROLS


def list_looks(element: Element) -> list[Look]:
    """List the looks of an element; None is left out."""
    match element:
        case Picture():
            return [element.look]
        case Dpad():
            return list(element.looks)
        case _:
            return [look for look in (element.up, element.down) if look is not None]


def choose_dpad_look(state: State) -> int:
    """Tell which look of `DPAD_LOOKS` a direction pad shows; opposite directions cancel out."""
    left, right, up, down = (state.get(name, 0.0) >= 0.5 for name in DPAD_CONTROLS)
    across, along = int(right) - int(left), int(down) - int(up)
    column = {-1: "left", 0: "", 1: "right"}[across]
    row = {-1: "up", 0: "", 1: "down"}[along]
    return DPAD_LOOKS.index("_".join(filter(None, (row, column))) or "centre")


def premultiply(look: Look) -> Float32[np.ndarray, "h w 4"]:
    """Turn a look into colours in [0, 1] that are multiplied by their opacity."""
    picture = look.astype(np.float32) / 255
    picture[..., :3] *= picture[..., 3:]
    return picture


def find_bounds(element: Element) -> Extent:
    """Find the native pixels that an element's looks can touch."""
    reach = element.travel if isinstance(element, Stick) else 0.0
    looks = list_looks(element)
    height, width = (max(look.shape[axis] for look in looks) for axis in (0, 1))
    x, y = element.at
    return x - reach, y - reach, x + width + reach, y + height + reach


def find_extents(element: Element) -> dict[str, Extent]:
    """Find the native pixels that each control of an element can change."""
    x, y = element.at
    found: dict[str, Box | None] = {}
    reach = 0.0
    match element:
        case Picture():
            pass
        case Button():
            found[element.control] = _difference_box(element.up, element.down)
        case Trigger():
            looks = (element.up, element.down) if element.mode == "binary" else (None, element.down)
            found[element.control] = _difference_box(*looks)
        case Stick():
            reach = element.travel
            box = join_boxes([_difference_box(None, look) for look in list_looks(element)])
            found = dict.fromkeys(list_controls(element), box)
        case Dpad():
            for control, pairs in _DPAD_PAIRS.items():
                boxes = [_difference_box(element.looks[a], element.looks[b]) for a, b in pairs]
                found[control] = join_boxes(boxes)
    return {
        control: (x + box[0] - reach, y + box[1] - reach, x + box[2] + reach, y + box[3] + reach)
        for control, box in found.items()
        if box is not None
    }


_DPAD_PAIRS = {
    "DPAD_LEFT": ((0, 1), (3, 5), (4, 7), (0, 2)),
    "DPAD_RIGHT": ((0, 2), (3, 6), (4, 8), (0, 1)),
    "DPAD_UP": ((0, 3), (1, 5), (2, 6), (0, 4)),
    "DPAD_DOWN": ((0, 4), (1, 7), (2, 8), (0, 3)),
}
"""Looks that a direction alone makes of each other; the last pair is what it takes back from the
opposite one."""


def _difference_box(first: Look | None, second: Look) -> Box | None:
    """Find where two looks differ; None is transparent everywhere."""
    if first is None:
        differs = second[..., 3] > 0
    elif first.shape != second.shape:
        return join_boxes([_difference_box(None, first), _difference_box(None, second)])
    else:
        visible = (first[..., 3] > 0) | (second[..., 3] > 0)
        differs = visible & (first != second).any(axis=-1)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def join_boxes(boxes: Sequence[Box | None]) -> Box | None:
    """Find the smallest box around boxes."""
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    left, top, right, bottom = zip(*there, strict=True)
    return min(left), min(top), max(right), max(bottom)
