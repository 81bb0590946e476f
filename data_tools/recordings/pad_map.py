"""Apply a person's corrections to a pad's layout: CONTROL=CODE, with commas between.

The value of `--pad-map` and a layout go in, and the layout in which the named controls are read
from the named codes comes out:

    SOUTH=BTN_EAST,EAST=BTN_SOUTH       two buttons changed over
    RIGHT_STICK_Y=-ABS_RZ               an axis that runs the other way
    DPAD_UP=-ABS_HAT0Y                  one side of an axis
    GUIDE=none                          the pad has no such button
"""

from dataclasses import dataclass

from data_tools.recordings.event_device import (
    EV_ABS,
    EV_KEY,
    AxisState,
    DeviceDescription,
    code_name,
    read_code,
)
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.runtime.atomic_files import did_you_mean

CONTROLS = tuple(name for name in GAMEPAD.controls if name not in GAMEPAD.unlabelled)
"""The controls that a pad can have."""
TRIGGERS = ("LEFT_TRIGGER", "RIGHT_TRIGGER")

_NONE = "none"
_SIDES = {"-": -1, "+": 1}


@dataclass(frozen=True, kw_only=True)
class PadInput:
    """A button, an axis, or one side of an axis."""

    kind: int
    """EV_KEY or EV_ABS."""
    code: int
    side: int = 0
    """Side of an axis: -1 for its negative side, 1 for its positive one, 0 for the whole."""

    def __str__(self) -> str:
        return ("", "+", "-")[self.side] + code_name(self.kind, self.code)


Inputs = dict[str, PadInput]
"""Inputs of a pad by control."""


def key_input(code: int) -> PadInput:
    """Name a button as an input."""
    return PadInput(kind=EV_KEY, code=code)


def axis_input(code: int, side: int = 0) -> PadInput:
    """Name an axis, or a side of it, as an input."""
    return PadInput(kind=EV_ABS, code=code, side=side)


def is_hat(axis: AxisState | None) -> bool:
    """Say whether an axis has three places, as a d-pad's has; a touch pad's has thousands."""
    return axis is not None and (axis.minimum, axis.maximum) == (-1, 1)


def correct(
    inputs: Inputs, pad_map: str, description: DeviceDescription, axes: dict[int, AxisState]
) -> Inputs:
    """Put a person's word in place of what was found out.

    Args:
        inputs: What was found out.
        pad_map: What the person says.
        description: The device.
        axes: Its axes that have a range.

    Raises:
        ValueError: If it cannot be read, the device has no such code, or a code would be two
            controls'.
    """
    said = read_pad_map(pad_map)
    for control, where in said.items():
        if where is not None:
            _check(control, where, description, axes)
    corrected = {name: where for name, where in (inputs | said).items() if where is not None}
    _check_shared(corrected, said)
    return corrected


def read_pad_map(pad_map: str) -> dict[str, PadInput | None]:
    """Read what a person says, whatever the device has; None is a control that it lacks.

    Raises:
        ValueError: If it cannot be read.
    """
    said: dict[str, PadInput | None] = {}
    for part in pad_map.split(","):
        control, where = _read_part(part)
        if control in said:
            raise ValueError(f"--pad-map names {control} twice")
        said[control] = where
    return said


def _read_part(text: str) -> tuple[str, PadInput | None]:
    name, equals, code = (part.strip() for part in text.partition("="))
    if not (name and equals and code):
        raise ValueError(
            f"--pad-map is CONTROL=CODE,... such as SOUTH=BTN_EAST,EAST=BTN_SOUTH; got {text!r}"
        )
    control = name.upper()
    if control not in CONTROLS:
        has = f"; a pad has {', '.join(CONTROLS)}"
        hint = did_you_mean(control, CONTROLS, otherwise=has)
        raise ValueError(f"--pad-map: {name!r} is no control{hint}")
    if code.lower() == _NONE:
        return control, None
    side = _SIDES.get(code[0], 0)
    try:
        kind, number = read_code(code[abs(side) :])
    except ValueError as error:
        raise ValueError(f"--pad-map {control}: {error}") from error
    return control, PadInput(kind=kind, code=number, side=side)


def _check(
    control: str, where: PadInput, description: DeviceDescription, axes: dict[int, AxisState]
) -> None:
    kind, name = where.kind, code_name(where.kind, where.code)
    codes = description.keys if kind == EV_KEY else axes.keys()
    if where.code not in codes:
        there = ", ".join(code_name(kind, code) for code in sorted(codes)) or "none"
        raise ValueError(f"--pad-map {control}: {description.name} has no {name}; it has {there}")
    if kind == EV_KEY and (control in GAMEPAD.sticks or where.side):
        what = f"{control} is a stick" if control in GAMEPAD.sticks else f"{name} has no sides"
        raise ValueError(f"--pad-map {control}={where}: {what}; an axis (ABS_...) is expected")
    is_whole = kind == EV_ABS and not where.side
    if is_whole and control not in (*GAMEPAD.sticks, *TRIGGERS):
        raise ValueError(
            f"--pad-map {control}: which side of {name}? {control}=-{name} or {control}=+{name}"
        )


def _check_shared(inputs: Inputs, said: dict[str, PadInput | None]) -> None:
    for name, where in inputs.items():
        for other, its in inputs.items():
            is_shared = (where.kind, where.code) == (its.kind, its.code)
            # The two sides of one axis may be two controls.
            if not is_shared or name == other or where.side * its.side == -1 or name not in said:
                continue
            raise ValueError(
                f"--pad-map {name}={where} takes it from {other}; say where that is: "
                f"{other}=CODE or {other}=none"
            )
