"""A gamepad's codes to the controls of the action space.

By the kernel's convention (`Documentation/input/gamepad.rst`) BTN_SOUTH, _EAST, _NORTH and _WEST
say where a button lies, y is down-positive, and the d-pad is a hat or four buttons. Drivers part
from it in two ways, both handled here: Xbox's and Valve's send the button lettered X, in the west,
as BTN_X, which is BTN_NORTH's code; and a pad without ABS_RX and ABS_RY has its right stick on
ABS_Z and ABS_RZ, where the others have their triggers.
"""

from dataclasses import dataclass
from typing import Literal

from data_tools.capture.event_device import (
    EV_ABS,
    EV_KEY,
    AxisState,
    DeviceDescription,
    Event,
    RawState,
)

FaceButtons = Literal["auto", "xbox", "convention"]
"""Which of BTN_NORTH and BTN_WEST is which; `auto` goes by driver and vendor."""

BTN_NORTH, BTN_WEST, BTN_TL2, BTN_TR2 = 0x133, 0x134, 0x138, 0x139
_BUTTONS = {
    0x130: "SOUTH", 0x131: "EAST", BTN_NORTH: "NORTH", BTN_WEST: "WEST",
    0x136: "LEFT_SHOULDER", 0x137: "RIGHT_SHOULDER", BTN_TL2: "LEFT_TRIGGER",
    BTN_TR2: "RIGHT_TRIGGER", 0x13A: "BACK", 0x13B: "START", 0x13C: "GUIDE",
    0x13D: "LEFT_THUMB", 0x13E: "RIGHT_THUMB",
    0x220: "DPAD_UP", 0x221: "DPAD_DOWN", 0x222: "DPAD_LEFT", 0x223: "DPAD_RIGHT",
}  # fmt: skip
ABS_X, ABS_Y, ABS_Z, ABS_RX, ABS_RY, ABS_RZ = range(6)
ABS_GAS, ABS_BRAKE = 0x09, 0x0A
ABS_HAT0X, ABS_HAT0Y, ABS_HAT2X, ABS_HAT2Y = 0x10, 0x11, 0x14, 0x15
_HATS = {ABS_HAT0X: ("DPAD_LEFT", "DPAD_RIGHT"), ABS_HAT0Y: ("DPAD_UP", "DPAD_DOWN")}
# Left and right, in the order in which drivers are asked.
_TRIGGERS = ((ABS_Z, ABS_RZ), (ABS_HAT2Y, ABS_HAT2X), (ABS_BRAKE, ABS_GAS))

_LETTERED_VENDORS = {0x045E, 0x28DE}
"""Microsoft; Valve, whose virtual pad imitates Microsoft's."""


@dataclass(frozen=True, kw_only=True)
class PadLayout:
    """Which code is which control."""

    buttons: dict[int, str]
    sticks: dict[int, str]
    triggers: dict[int, str]
    """Analogue ones."""
    hats: dict[int, tuple[str, str]]
    """The controls of the negative and of the positive side."""
    ranges: dict[int, AxisState]
    """The device's own range of each axis."""
    is_lettered: bool
    """True if BTN_NORTH's code is the button in the west."""

    def name(self, event: Event) -> dict[str, float]:
        """Name what an event changes; nothing if it is no control of the action space.

        Returns:
            Buttons 0 or 1, analogue triggers in [0, 1], sticks in [-1, 1], y down-positive. The
            dead zone is left in.
        """
        if event.kind == EV_KEY and event.code in self.buttons:
            return {self.buttons[event.code]: float(event.value != 0)}
        if event.kind != EV_ABS or event.code not in self.ranges:
            return {}
        share = self._share(event.code, event.value)
        if event.code in self.sticks:
            return {self.sticks[event.code]: 2 * share - 1}
        if event.code in self.triggers:
            return {self.triggers[event.code]: share}
        negative, positive = self.hats[event.code]
        return {negative: float(share < 0.25), positive: float(share > 0.75)}

    def name_state(self, state: RawState) -> dict[str, float]:
        """Name everything that the pad holds, with all of its controls."""
        codes = [(EV_KEY, code, int(code in state.pressed)) for code in self.buttons]
        codes += [(EV_ABS, code, state.axes[code].value) for code in self.ranges]
        held: dict[str, float] = {}
        for kind, code, value in codes:
            held |= self.name(Event(time_ns=state.time_ns, kind=kind, code=code, value=value))
        return held

    def _share(self, code: int, value: int) -> float:
        span = self.ranges[code]
        # Some pads overshoot the range that they state.
        return min(max((value - span.minimum) / (span.maximum - span.minimum), 0.0), 1.0)


def build_layout(
    description: DeviceDescription, state: RawState, *, face_buttons: FaceButtons = "auto"
) -> PadLayout:
    """Find out which code of a device is which control.

    Args:
        description: The device.
        state: With the ranges of its axes.
        face_buttons: Overrules what driver and vendor say of north and west.

    Raises:
        ValueError: If it is no gamepad by the kernel's convention.
    """
    if not description.is_gamepad:
        raise ValueError(
            f"{description.path} ({description.name}) is no gamepad: it has no BTN_SOUTH; "
            "nitrogen-data gamepads lists those that are"
        )
    usable = {code: axis for code, axis in state.axes.items() if axis.maximum > axis.minimum}
    has_r = ABS_RX in usable and ABS_RY in usable
    right_x, right_y = (ABS_RX, ABS_RY) if has_r else (ABS_Z, ABS_RZ)
    sticks = {
        ABS_X: "LEFT_STICK_X",
        ABS_Y: "LEFT_STICK_Y",
        right_x: "RIGHT_STICK_X",
        right_y: "RIGHT_STICK_Y",
    }
    sticks = {code: name for code, name in sticks.items() if code in usable}
    triggers = _find_triggers(usable, sticks)
    hats = {code: names for code, names in _HATS.items() if code in usable}
    is_lettered = _is_lettered(description, face_buttons)
    return PadLayout(
        buttons=_find_buttons(description.keys, triggers, hats, is_lettered=is_lettered),
        sticks=sticks,
        triggers=triggers,
        hats=hats,
        ranges={code: usable[code] for code in (*sticks, *triggers, *hats)},
        is_lettered=is_lettered,
    )


def describe_pad(description: DeviceDescription, layout: PadLayout) -> str:
    """Say in one line what was played with: identity, range and dead zone of the left stick."""
    order = "xbox" if layout.is_lettered else "convention"
    text = (
        f"{description.name} ({description.vendor:04x}:{description.product:04x} "
        f"{description.driver or 'no driver'}, face buttons: {order})"
    )
    if axis := layout.ranges.get(ABS_X):
        text += f", left stick {axis.minimum} to {axis.maximum}, dead zone {axis.flat} kept"
    return text


def _is_lettered(description: DeviceDescription, face_buttons: FaceButtons) -> bool:
    if face_buttons != "auto":
        return face_buttons == "xbox"
    return description.driver == "xpad" or description.vendor in _LETTERED_VENDORS


def _find_triggers(usable: dict[int, AxisState], sticks: dict[int, str]) -> dict[int, str]:
    for left, right in _TRIGGERS:
        if {left, right} <= usable.keys() and not {left, right} & sticks.keys():
            return {left: "LEFT_TRIGGER", right: "RIGHT_TRIGGER"}
    return {}


def _find_buttons(
    keys: frozenset[int],
    triggers: dict[int, str],
    hats: dict[int, tuple[str, str]],
    *,
    is_lettered: bool,
) -> dict[int, str]:
    # What a pad also sends as an axis is read from there alone: two codes would fight.
    elsewhere = set(triggers.values()) | {name for names in hats.values() for name in names}
    swapped = {BTN_NORTH: "WEST", BTN_WEST: "NORTH"} if is_lettered else {}
    named = {**_BUTTONS, **swapped}
    return {code: name for code, name in named.items() if code in keys and name not in elsewhere}
