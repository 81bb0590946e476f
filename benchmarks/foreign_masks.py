"""Build the pads of simple-input-overlay from its parts.

    Base, fill masks, sticks, triggers (PNG) + colours ─► Skin

The program tints white masks: the body in one colour, buttons in a second one, pressed buttons in
a third. Its user chooses all three. Sticks move by 80 of the 1452 pixels of the canvas; triggers
slide down behind the body while their colour changes.

The parts do not say where they lie. The table below was measured on them: a mask lies where the
lines of the base run around it, a stick in the middle of its ring. In the program's own recording
sticks move by 80 pixels at most, too.
"""

from pathlib import Path

import numpy as np
from PIL import ImageColor

from benchmarks.foreign_looks import crop_looks, lay_look, read_look
from nitrogen_train.skins.skin import Button, Element, Look, Picture, Place, Skin, Stick, Trigger

_TRAVEL = 80
_SINK = 25
"""Pixels that a pulled trigger slides down by."""
_COLOURS = {
    "blue": ("#0047ab", "#0f1e1e", "#c81e32"),
    "olive": ("#727430", "#0f1e1e", "#00e678"),
    "light": ("#e6e6e6", "#30343c", "#ff9600"),
}
"""Body, button, pressed button; the first are the program's own, the second of its recording."""
_FACES = {
    "Xbox": {"SOUTH": "A", "EAST": "B", "WEST": "X", "NORTH": "Y"},
    "Playstation": {"SOUTH": "Cross", "EAST": "Circle", "WEST": "Square", "NORTH": "Triangle"},
}
_OTHERS = {
    "BACK": "Menu",
    "START": "Start",
    "LEFT_SHOULDER": "LB",
    "RIGHT_SHOULDER": "RB",
    "DPAD_UP": "DpadUp",
    "DPAD_DOWN": "DpadDown",
    "DPAD_LEFT": "DpadLeft",
    "DPAD_RIGHT": "DpadRight",
}
_PLACES: dict[str, dict[str, Place]] = {
    "Xbox": {
        "SOUTH": (1043, 449), "EAST": (1141, 358), "WEST": (950, 365), "NORTH": (1048, 274),
        "BACK": (603, 385), "START": (805, 385),
        "LEFT_SHOULDER": (257, 104), "RIGHT_SHOULDER": (928, 107),
        "DPAD_UP": (515, 524), "DPAD_DOWN": (514, 650),
        "DPAD_LEFT": (450, 584), "DPAD_RIGHT": (586, 586),
        "LEFT_STICK": (287.5, 332), "RIGHT_STICK": (825, 533.5),
    },
    "Playstation": {
        "SOUTH": (1110, 487), "EAST": (1212, 401), "WEST": (1008, 404), "NORTH": (1112, 313),
        "BACK": (394, 285), "START": (1031, 283),
        "LEFT_SHOULDER": (207, 136), "RIGHT_SHOULDER": (1053, 137),
        "DPAD_UP": (268, 343), "DPAD_DOWN": (276, 464),
        "DPAD_LEFT": (200, 411), "DPAD_RIGHT": (325, 411),
        "LEFT_STICK": (431, 549.5), "RIGHT_STICK": (849, 545.5),
    },
}  # fmt: skip
"""The left and the top edge of each part on the canvas."""
MASK_PADS = tuple((pad, colour) for pad in _PLACES for colour in _COLOURS)
"""Folders of parts, and colours."""


def load_mask_pad(folder: Path, pad: str, colour: str) -> Skin:
    """Build a pad in one of the colours.

    Raises:
        OSError: If a part is missing, or no picture.
        ValueError: If a part does not fit.
    """
    body, button, pressed = (ImageColor.getrgb(text)[:3] for text in _COLOURS[colour])
    parts = folder / pad
    fill, lines = read_look(parts / "BaseFillmask.png"), read_look(parts / "Base.png")
    base = lay_look(_tint(fill, body), lines)
    elements: list[Element] = [_sink(parts, side, button, pressed) for side in ("Left", "Right")]
    elements.append(Picture((0, 0), base))
    for control, name in (_FACES[pad] | _OTHERS).items():
        mask = read_look(parts / f"Button{name}Fillmask.png")
        looks = _tint(mask, button), _tint(mask, pressed)
        elements.append(Button(control, _PLACES[pad][control], *looks))
    elements += [_build_stick(parts, pad, side, button, pressed) for side in ("LEFT", "RIGHT")]
    return Skin(
        f"simple-{pad.lower()}-{colour}",
        pad.lower(),
        base.shape[1],
        base.shape[0],
        tuple(elements),
        ("triggers slide and change their colour by their value: shown at both ends only",),
    )


def _tint(mask: Look, colour: tuple[int, ...]) -> Look:
    tinted = mask.copy()
    tinted[..., :3] = np.rint(mask[..., :3] * (np.array(colour) / 255))
    return tinted


def _sink(parts: Path, side: str, button: tuple[int, ...], pressed: tuple[int, ...]) -> Trigger:
    """Build a trigger, which lies behind the body."""
    fill, lines = (read_look(parts / f"{side}Trigger{part}.png") for part in ("Fillmask", ""))
    up, down = (lay_look(_tint(fill, colour), lines) for colour in (button, pressed))
    sunk = lay_look(np.zeros_like(down), down, (0, _SINK))
    at, (up, down) = crop_looks(up, sunk)
    return Trigger(f"{side.upper()}_TRIGGER", at, up, down, "binary")


def _build_stick(
    parts: Path, pad: str, side: str, button: tuple[int, ...], pressed: tuple[int, ...]
) -> Stick:
    fill, lines = read_look(parts / "JoystickFillMask.png"), read_look(parts / "Joystick.png")
    up, down = (lay_look(_tint(fill, colour), lines) for colour in (button, pressed))
    stick = f"{side}_STICK"
    return Stick(
        f"{stick}_X", f"{stick}_Y", f"{side}_THUMB", _PLACES[pad][stick], _TRAVEL, up, down
    )
