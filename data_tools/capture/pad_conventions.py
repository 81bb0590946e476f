"""What codes mean by convention, and what is guessed where nobody has promised anything.

The kernel's convention (`Documentation/input/gamepad.rst`): BTN_SOUTH, _EAST, _NORTH and _WEST say
where a button lies, y is down-positive, the d-pad is a hat or four buttons, triggers are
ABS_HAT2Y and ABS_HAT2X. Drivers part from it in two ways: Xbox's and Valve's send the button
lettered X, in the west, as BTN_X, which is BTN_NORTH's code; and triggers are ABS_Z and ABS_RZ.

Without a driver of its own (hid-generic) a pad's first button becomes BTN_SOUTH, its second
BTN_EAST and so on, whatever they are. Three orders are common:

    by letter    south, east, -, west, north, -, L1, R1, L2, R2, ...      Android's; Xbox
    crossed      the same, A and B, X and Y lettered as Nintendo does     8BitDo
    by number    west, south, east, north, L1, R1, L2, R2, back, ...      Sony, Hori, Logitech
"""

from collections.abc import Iterable

from data_tools.capture.event_codes import (
    ABS_BRAKE,
    ABS_GAS,
    ABS_HAT0X,
    ABS_HAT0Y,
    ABS_HAT2X,
    ABS_HAT2Y,
    ABS_RX,
    ABS_RY,
    ABS_RZ,
    ABS_X,
    ABS_Y,
    ABS_Z,
    BTN_C,
    BTN_DPAD_UP,
    BTN_EAST,
    BTN_NORTH,
    BTN_SOUTH,
    BTN_THUMBR,
    BTN_TRIGGER,
    BTN_WEST,
    BTN_Z,
)
from data_tools.capture.event_device import AxisState, DeviceDescription
from data_tools.capture.pad_inputs import TRIGGERS, Inputs, axis_input, is_hat, key_input

Axes = dict[int, AxisState]
"""Those that have a range, by code."""

_BY_PLACE_DRIVERS = {"nintendo", "playstation", "sony"}
_BY_LETTER_DRIVERS = {"hid-steam", "xone-gip-gamepad", "xpad", "xpad-noone", "xpadneo"}
_CROSSED_VENDORS = {0x2DC8}
"""8BitDo: 19 of the 22 of its pads that SDL 2.32 knows in D-input."""

_COMMON = dict(
    enumerate(
        ("LEFT_SHOULDER", "RIGHT_SHOULDER", *TRIGGERS, "BACK", "START", "GUIDE", "LEFT_THUMB",
         "RIGHT_THUMB"), 0x136)
)  # fmt: skip
_BY_PLACE = _COMMON | {BTN_SOUTH: "SOUTH", BTN_EAST: "EAST", BTN_NORTH: "NORTH", BTN_WEST: "WEST"}
_BY_LETTER = _BY_PLACE | {BTN_NORTH: "WEST", BTN_WEST: "NORTH"}
_CROSSED = _BY_PLACE | {BTN_SOUTH: "EAST", BTN_EAST: "SOUTH"}
_NUMBERED = (
    "WEST", "SOUTH", "EAST", "NORTH", "LEFT_SHOULDER", "RIGHT_SHOULDER", *TRIGGERS, "BACK",
    "START", "LEFT_THUMB", "RIGHT_THUMB", "GUIDE",
)  # fmt: skip
_DPAD = ("DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT")
_RIGHT_STICKS = ((ABS_RX, ABS_RY), (ABS_Z, ABS_RZ))
# Left and right, in the order in which they are asked; what is a stick is none of them.
_TRIGGER_AXES = ((ABS_HAT2Y, ABS_HAT2X), (ABS_BRAKE, ABS_GAS), (ABS_Z, ABS_RZ), (ABS_RX, ABS_RY))


def follow_driver(description: DeviceDescription, axes: Axes) -> Inputs | None:
    """Read a pad by its driver's convention; None if the driver is not known to follow one."""
    if description.driver in _BY_PLACE_DRIVERS:
        order = _BY_PLACE
    elif description.driver in _BY_LETTER_DRIVERS:
        order = _BY_LETTER
    else:
        return None
    right_stick = next((pair for pair in _RIGHT_STICKS if set(pair) <= axes.keys()), None)
    return _collect(description.keys, axes, order, right_stick)


def guess(description: DeviceDescription, axes: Axes) -> tuple[str, Inputs]:
    """Guess from what a pad offers; returns what it was guessed from, and the guess."""
    guessed_from, order = _guess_order(description)
    right_stick = _guess_right_stick(axes, is_numbered=order not in (_BY_LETTER, _CROSSED))
    return f"guessed from {guessed_from}", _collect(description.keys, axes, order, right_stick)


def _guess_order(description: DeviceDescription) -> tuple[str, dict[int, str]]:
    keys = description.keys
    if BTN_SOUTH not in keys:
        return "a joystick's numbered buttons", dict(enumerate(_NUMBERED, BTN_TRIGGER))
    if description.vendor in _CROSSED_VENDORS:
        return "the maker's other pads", _CROSSED
    if {BTN_C, BTN_Z} <= keys and BTN_THUMBR not in keys:
        # Buttons without gaps that end before the right stick's.
        return "the number of its buttons", dict(enumerate(_NUMBERED, BTN_SOUTH))
    return "the usual order of buttons", _BY_LETTER


def _guess_right_stick(axes: Axes, *, is_numbered: bool) -> tuple[int, int] | None:
    pairs = [pair for pair in _RIGHT_STICKS if set(pair) <= axes.keys()]
    left = [axes[code] for code in (ABS_X, ABS_Y) if code in axes]
    if len(pairs) < 2 or not left:
        return pairs[0] if pairs else None
    spans = {_span(axis) for axis in left}
    alike = [pair for pair in pairs if {_span(axes[code]) for code in pair} <= spans]
    resting = [pair for pair in alike if _are_centred(axes[code] for code in pair)]
    # Before its first report everything of a pad is 0, which says nothing.
    for candidates in (alike, resting if _are_centred(left) else []):
        if len(candidates) == 1:
            return candidates[0]
    return pairs[1] if is_numbered else pairs[0]


def _collect(
    keys: frozenset[int], axes: Axes, order: dict[int, str], right_stick: tuple[int, int] | None
) -> Inputs:
    sticks = {"LEFT_STICK_X": ABS_X, "LEFT_STICK_Y": ABS_Y}
    if right_stick:
        sticks |= dict(zip(("RIGHT_STICK_X", "RIGHT_STICK_Y"), right_stick, strict=True))
    inputs = {name: key_input(code) for code, name in order.items() if code in keys}
    inputs |= {name: axis_input(code) for name, code in sticks.items() if code in axes}
    # What a pad also sends as an axis is read from there alone: two codes would fight.
    return inputs | _find_triggers(axes, set(sticks.values())) | _find_dpad(keys, axes)


def _find_triggers(axes: Axes, sticks: set[int]) -> Inputs:
    for pair in _TRIGGER_AXES:
        if set(pair) <= axes.keys() - sticks and not is_hat(axes[pair[0]]):
            return {name: axis_input(code) for name, code in zip(TRIGGERS, pair, strict=True)}
    return {}


def _find_dpad(keys: frozenset[int], axes: Axes) -> Inputs:
    if is_hat(axes.get(ABS_HAT0X)) and is_hat(axes.get(ABS_HAT0Y)):
        sides = ((ABS_HAT0Y, -1), (ABS_HAT0Y, 1), (ABS_HAT0X, -1), (ABS_HAT0X, 1))
        return {name: axis_input(*side) for name, side in zip(_DPAD, sides, strict=True)}
    named = dict(enumerate(_DPAD, BTN_DPAD_UP))
    return {name: key_input(code) for code, name in named.items() if code in keys}


def _span(axis: AxisState) -> tuple[int, int]:
    return axis.minimum, axis.maximum


def _are_centred(axes: Iterable[AxisState]) -> bool:
    return all(
        abs(axis.value - (axis.minimum + axis.maximum) / 2) < (axis.maximum - axis.minimum) / 4
        for axis in axes
    )
