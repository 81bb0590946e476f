"""Say where each control of a controller lies in a video, in a file that a person can correct.

    Skin, its place ─► OverlayLayout ─► NAME.layout.json ─► a person ─► OverlayLayout ─► watch

`NAME.layout.json` is, with all numbers in pixels of the video and places as [left, top, width,
height]:

    {"layout": "xbox", "picture": [1280, 720], "box": [990, 520, 260, 170],
     "places": {"SOUTH": [1170.5, 600, 22, 22], "LEFT_STICK": [1030, 570, 40, 40], ...},
     "travels": {"LEFT_STICK": 9.5}}

A stick's place is its cap at rest, and its travel is how far an axis of 1 shifts it. A control that
is not in `places` is not read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from data_tools.watching.reading import Box
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import MAX_METADATA_BYTES, ShardError, parse_json_object
from nitrogen_train.data.values import as_number, as_whole_number
from nitrogen_train.runtime.atomic_files import did_you_mean, write_atomically
from nitrogen_train.skins.pad_plans import Layout
from nitrogen_train.skins.skin import Extent, Skin, Stick, find_extents

LAYOUT_SUFFIX = ".layout.json"
STICKS = {
    "LEFT_STICK": ("LEFT_STICK_X", "LEFT_STICK_Y"),
    "RIGHT_STICK": ("RIGHT_STICK_X", "RIGHT_STICK_Y"),
}
"""The axes of each stick."""
PLACED = (*GAMEPAD.buttons, *STICKS)
"""Names of all that has a place."""
LAYOUTS: tuple[str, ...] = get_args(Layout)

Place = tuple[float, float, float, float]
"""Left, top, width and height in pixels of the video."""

_FIELDS = ("layout", "picture", "box", "places", "travels")
_LARGEST_PX = 16384
_DIGITS = 2


@dataclass(frozen=True, kw_only=True)
class OverlayLayout:
    """The place and the size of a controller and of each of its controls, in pixels of a video."""

    layout: str
    """Kind of the controller: `xbox`, `playstation`, `switch` or `generic`."""
    picture: tuple[int, int]
    """Width and height of the video."""
    box: Box
    """Left, top, right and bottom of the whole controller, inside the picture."""
    places: Mapping[str, Place]
    """Where each control is, by the names of `PLACED`; a stick's cap is at rest there."""
    travels: Mapping[str, float]
    """How far an axis of 1 shifts the cap of each stick that has a place."""

    @property
    def controls(self) -> frozenset[str]:
        """Name the controls that have a place, a stick by its axes."""
        return frozenset(control for name in self.places for control in STICKS.get(name, (name,)))

    def write(self, path: Path) -> None:
        """Write the file, a control on a line."""
        left, top, right, bottom = self.box
        values = {
            "layout": self.layout,
            "picture": list(self.picture),
            "box": [left, top, right - left, bottom - top],
        }
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()]
        for name, table in (("places", self.places), ("travels", self.travels)):
            rows = [f"  {json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table)]
            lines.append(f' "{name}": {{\n' + ",\n".join(rows) + "\n }")
        with write_atomically(path) as temporary:
            temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")

    @classmethod
    def read(cls, path: Path) -> "OverlayLayout":
        """Read a file that a person may have written.

        Raises:
            ShardError: If it is no layout, or a place lies outside of the picture.
            OSError: If it cannot be read.
        """
        what = str(path)
        if path.is_fifo():
            # Nobody may ever write into it.
            raise ShardError(f"{what} is a pipe, expected a file with a layout")
        with path.open("rb") as file:
            # One byte more than it may have: what is longer is refused and not read to its end.
            values = parse_json_object(file.read(MAX_METADATA_BYTES + 1), what)
        for name in values:
            if name not in _FIELDS:
                raise ShardError(f"{what} has an unknown field {name!r}{_advise(name, _FIELDS)}")
        if missing := [name for name in _FIELDS if name not in values]:
            raise ShardError(f"{what} lacks {', '.join(missing)}")
        layout = values["layout"]
        if layout not in LAYOUTS:
            raise ShardError(f"{what}: layout is one of {', '.join(LAYOUTS)}, got {layout!r:.60}")
        picture = _read_picture(values["picture"], what)
        box = _read_box(values["box"], picture, what)
        places = {
            name: _read_place(value, picture, f"{what}: {name}")
            for name, value in _read_table(values["places"], PLACED, f"{what}: places").items()
        }
        if not places:
            raise ShardError(f"{what}: places names no control")
        travels = _read_travels(values["travels"], places, what)
        return cls(layout=str(layout), picture=picture, box=box, places=places, travels=travels)


def place_skin(skin: Skin, box: Box, *, picture: tuple[int, int]) -> OverlayLayout:
    """Say where the controls of a skin are that lies in a box; those outside are left out.

    Args:
        skin: The skin.
        box: Left, top, right and bottom of all of it, in pixels of the video.
        picture: Width and height of the video.
    """
    scale = (box[2] - box[0]) / skin.width
    found: dict[str, Extent] = {}
    travels: dict[str, float] = {}
    for element in skin.elements:
        extents = find_extents(element)
        if isinstance(element, Stick):
            height, width = element.up.shape[:2]
            x, y = element.at
            cap = (x, y, x + width, y + height)
            name = element.x.removesuffix("_X")
            extents = {name: cap} | ({element.press: cap} if element.press else {})
            travels[name] = round(float(element.travel * scale), _DIGITS)
        for name, extent in extents.items():
            before = found.get(name, extent)
            found[name] = (
                min(before[0], extent[0]),
                min(before[1], extent[1]),
                max(before[2], extent[2]),
                max(before[3], extent[3]),
            )
    places: dict[str, Place] = {}
    for name in PLACED:
        if name in found:
            left, top, right, bottom = (float(edge * scale) for edge in found[name])
            place = (box[0] + left, box[1] + top, right - left, bottom - top)
            if _is_inside(place, picture):
                x, y, width, height = (round(number, _DIGITS) for number in place)
                places[name] = (x, y, width, height)
    return OverlayLayout(
        layout=skin.layout,
        picture=picture,
        box=box,
        places=places,
        travels={name: travel for name, travel in travels.items() if name in places},
    )


def check_box(box: Box, *, picture: tuple[int, int], what: str) -> None:
    """Make sure that a box lies in a picture.

    Raises:
        ShardError: If a part of it lies outside, or it holds nothing.
    """
    left, top, right, bottom = box
    width, height = picture
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ShardError(
            f"{what} must lie inside of the picture of {width}x{height} pixels, got X,Y,W,H = "
            f"{left},{top},{right - left},{bottom - top}"
        )


def _is_inside(place: Place, picture: tuple[int, int]) -> bool:
    """Tell whether the middle of a place is in a picture: edges of a picture may cut controls."""
    x, y, width, height = place
    return 0 <= x + width / 2 < picture[0] and 0 <= y + height / 2 < picture[1]


def _read_picture(value: object, what: str) -> tuple[int, int]:
    sides = _read_whole(value, 2)
    if sides is None or not 1 <= min(sides) <= max(sides) <= _LARGEST_PX:
        raise ShardError(
            f"{what}: picture must be [width, height] of the video in pixels, got {value!r:.60}"
        )
    return sides[0], sides[1]


def _read_box(value: object, picture: tuple[int, int], what: str) -> Box:
    numbers = _read_whole(value, 4)
    if numbers is None:
        raise ShardError(
            f"{what}: box must be [left, top, width, height] in whole pixels, got {value!r:.60}"
        )
    x, y, width, height = numbers
    box = (x, y, x + width, y + height)
    check_box(box, picture=picture, what=f"{what}: box")
    return box


def _read_whole(value: object, count: int) -> list[int] | None:
    items = cast("list[object]", value) if isinstance(value, list) else []
    numbers = [as_whole_number(item) for item in items[: count + 1]]
    whole = [number for number in numbers if number is not None]
    return whole if len(whole) == len(numbers) == count else None


def _read_table(value: object, names: tuple[str, ...], what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ShardError(f"{what} must be an object by the names of controls, got {value!r:.60}")
    table = cast("dict[str, object]", value)
    for name in table:
        if name not in names:
            raise ShardError(f"{what} has an unknown control {name!r:.60}{_advise(name, names)}")
    return table


def _read_place(value: object, picture: tuple[int, int], what: str) -> Place:
    items = cast("list[object]", value) if isinstance(value, list) else []
    numbers = [number for item in items[:5] if (number := as_number(item)) is not None]
    if not (len(items) == len(numbers) == 4 and min(numbers[2:]) > 0):
        raise ShardError(
            f"{what} must be [left, top, width, height] in pixels, with some area, got "
            f"{value!r:.60}"
        )
    x, y, width, height = numbers
    place = (x, y, width, height)
    if max(map(abs, place)) > _LARGEST_PX or not _is_inside(place, picture):
        raise ShardError(
            f"{what} must lie inside of the picture of {picture[0]}x{picture[1]} pixels, got "
            f"{value!r:.60}"
        )
    return place


def _read_travels(value: object, places: Mapping[str, Place], what: str) -> dict[str, float]:
    table = _read_table(value, tuple(STICKS), f"{what}: travels")
    travels: dict[str, float] = {}
    for name in STICKS:
        if name not in places:
            continue
        travel = as_number(table.get(name))
        if travel is None or not 0 < travel <= _LARGEST_PX:
            raise ShardError(
                f"{what}: travels must say by how many pixels {name} moves, got "
                f"{table.get(name)!r:.60}"
            )
        travels[name] = travel
    return travels


def _advise(name: str, known: tuple[str, ...]) -> str:
    return did_you_mean(name, known, otherwise=f"; it may have {', '.join(known)}")
