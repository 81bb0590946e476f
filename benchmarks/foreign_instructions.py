"""Build the pads of mini-padder from its drawing instructions.

    JSON (layers, instructions for each control) + two sheets of sprites (PNG) ─► Skin

An instruction copies a rectangle of a sheet to a layer. Sticks lie under the direction pad and the
face buttons, and move by 24 of the 256 pixels. A control that is not used for some seconds fades
out: the second look of such a pad draws released buttons half as opaque.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.foreign_looks import crop_looks, lay_look, read_look
from nitrogen_train.skins.skin import (
    DPAD_LOOKS,
    Button,
    Direction,
    Dpad,
    Element,
    Look,
    Picture,
    Skin,
    Stick,
    Trigger,
)

INSTRUCTION_PADS = {
    "mini-padder-xinput": ("xinput.json", 1.0),
    "mini-padder-disc": ("disc_xinput.json", 1.0),
    "mini-padder-dinput-yellow": ("dinput_yellow.json", 1.0),
    "mini-padder-xinput-faded": ("xinput.json", 0.5),
    "mini-padder-xinput-cyan": ("xinput_cyan.json", 1.0),
    "mini-padder-dinput": ("dinput.json", 1.0),
    "mini-padder-xinput-rose": ("xinput_rose.json", 1.0),
}
"""File, and the opacity of released buttons."""
_SIZE = (256, 144)
_BUTTONS = {
    ("face", "down"): "SOUTH",
    ("face", "right"): "EAST",
    ("face", "left"): "WEST",
    ("face", "up"): "NORTH",
    ("face", "select"): "BACK",
    ("face", "start"): "START",
    ("face", "home"): "GUIDE",
    ("shoulder", "l1"): "LEFT_SHOULDER",
    ("shoulder", "r1"): "RIGHT_SHOULDER",
}
_TRIGGERS: dict[str, tuple[str, Direction]] = {
    "l2": ("LEFT_TRIGGER", "right"),
    "r2": ("RIGHT_TRIGGER", "left"),
}
Instructions = Sequence[dict[str, Any]]


def load_instruction_pad(folder: Path, name: str) -> Skin:
    """Build a pad from its instructions.

    Raises:
        OSError: If the instructions or a sheet are missing.
        ValueError: If the instructions are no JSON.
        LookupError: If they name no such control, or no such rectangle.
        TypeError: If they are of another form.
    """
    file, opacity = INSTRUCTION_PADS[name]
    pad, notes = _read_pad(folder, file)
    painter = _Painter([read_look(folder / sheet) for sheet in pad["src"]], pad["layer"])
    buttons = pad["buttons"]
    layer = buttons["layer"]
    elements: list[Element] = [*_build_ground(painter, buttons["dpad"]["value"], layer)]
    elements += _build_sticks(painter, pad["sticks"])
    elements.append(_build_dpad(painter, buttons["dpad"], layer, opacity))
    for (group, key), control in _BUTTONS.items():
        part = buttons[group][key]
        up = _fade(painter.paint(part["off"], layer), opacity)
        at, (up, down) = crop_looks(up, painter.paint(part["on"], layer))
        elements.append(Button(control, at, up, down))
    for key, (control, direction) in _TRIGGERS.items():
        part = buttons["shoulder"][key]
        up = _fade(painter.paint(part["off"], layer), opacity)
        at, (up, down) = crop_looks(up, painter.paint(part["on"][-1:], layer))
        elements.append(Trigger(control, at, up, down, "crop", direction))
    return Skin(name, "generic", *_SIZE, tuple(elements), notes)


class _Painter:
    """Two sheets, and the places of the layers."""

    def __init__(self, sheets: list[Look], layers: Sequence[dict[str, Any]]) -> None:
        self._sheets = sheets
        self._corners = [(layer["x"], layer["y"]) for layer in layers]

    def paint(self, instructions: Instructions, layer: int) -> Look:
        """Follow the instructions that copy a rectangle, on the whole canvas."""
        canvas = np.zeros((_SIZE[1], _SIZE[0], 4), np.uint8)
        for each in instructions:
            if "srcPos" in each:
                corner = self._corners[each.get("layer", layer)]
                canvas = self._copy(canvas, corner, each["src"], each["srcPos"], each)
        return canvas

    def paint_direction(self, instructions: Instructions, layer: int, direction: str) -> Look:
        """Follow the instructions that differ by the direction of the pad."""
        canvas = np.zeros((_SIZE[1], _SIZE[0], 4), np.uint8)
        for each in instructions:
            if direction in each["allCoords"]:
                start, size, place = each["allCoords"][direction]
                target = {"size": size, "canvasPos": place}
                canvas = self._copy(canvas, self._corners[layer], each["src"], start, target)
        return canvas

    def _copy(
        self,
        canvas: Look,
        corner: tuple[int, int],
        sheet: int,
        start: Sequence[int],
        target: dict[str, Any],
    ) -> Look:
        (x, y), (width, height), (left, top) = start, target["size"], target["canvasPos"]
        look = self._sheets[sheet][y : y + height, x : x + width]
        if look.shape[:2] != (height, width):
            raise LookupError(f"the rectangle at {x}, {y} lies outside of its sheet")
        return lay_look(canvas, look, (corner[0] + left, corner[1] + top))


def _read_pad(folder: Path, file: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read instructions; a coloured pad whose frames are missing takes those of the plain one."""
    pad = json.loads((folder / file).read_text(encoding="utf-8"))
    if (folder / pad["src"][0]).exists() or "_" not in file:
        return pad, ()
    plain = json.loads((folder / f"{file.split('_')[0]}.json").read_text(encoding="utf-8"))
    sheets = [plain["src"][0], pad["src"][1]]
    pad = cast(dict[str, Any], _borrow(pad, plain)) | {"src": sheets}
    return pad, (f"{file}: its frames are missing, and are taken from the plain pad",)


def _borrow(own: object, plain: object) -> object:
    """Replace the instructions that copy from the first sheet by those of another pad."""
    if isinstance(own, dict) and isinstance(plain, dict):
        if "instruction" in own:
            return plain if own.get("src") == 0 else own
        return {key: _borrow(value, plain.get(key)) for key, value in own.items()}
    if isinstance(own, list) and isinstance(plain, list) and len(own) == len(plain):
        return [_borrow(one, other) for one, other in zip(own, plain, strict=True)]
    return own


def _fade(look: Look, opacity: float) -> Look:
    faded = look.copy()
    faded[..., 3] = np.rint(look[..., 3] * opacity)
    return faded


def _build_sticks(painter: _Painter, sticks: dict[str, Any]) -> list[Element]:
    layer = sticks["layer"]
    elements: list[Element] = []
    for side in ("left", "right"):
        part = sticks[side]
        at, (ring,) = crop_looks(painter.paint(part["clear"], layer))
        elements.append(Picture(at, ring))
        at, (up, down) = crop_looks(*(painter.paint(part[key], layer) for key in ("off", "on")))
        stick, press = f"{side.upper()}_STICK", f"{side.upper()}_THUMB"
        travel = part["off"][0]["areaSize"][0]
        elements.append(Stick(f"{stick}_X", f"{stick}_Y", press, at, travel, up, down))
    return elements


def _build_ground(painter: _Painter, value: dict[str, Any], layer: int) -> list[Picture]:
    """Build what lies under a direction pad, and under the stick."""
    below = painter.paint(value["clear"], layer)
    if not below.any():
        return []
    at, (look,) = crop_looks(below)
    return [Picture(at, look)]


def _build_dpad(painter: _Painter, parts: dict[str, Any], layer: int, opacity: float) -> Dpad:
    """Build a direction pad: four buttons, a look for each direction, or both."""
    value = parts["value"]
    looks: list[Look] = []
    for name in DPAD_LOOKS:
        pressed = name.split("_")
        canvas = painter.paint((), layer)
        for key in ("up", "down", "left", "right"):
            if key in parts:
                is_on = key in pressed
                look = painter.paint(parts[key]["on" if is_on else "off"], layer)
                canvas = lay_look(canvas, look if is_on else _fade(look, opacity))
        if name == "centre":
            whole = _fade(painter.paint(value.get("off", ()), layer), opacity)
        else:
            whole = painter.paint_direction(value["on"], layer, name.replace("_", ""))
        looks.append(lay_look(canvas, whole))
    at, cropped = crop_looks(*looks)
    return Dpad(at, cropped)
