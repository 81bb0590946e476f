"""Names of the codes that gamepads send, as `include/uapi/linux/input-event-codes.h` has them.

Only what is met on pads has a name; another code is written as its number, such as BTN_0x2c0.
"""

import difflib
import re

from data_tools.capture.event_device import EV_ABS, EV_KEY

BTN_TRIGGER = 0x120
BTN_SOUTH, BTN_EAST, BTN_C, BTN_NORTH, BTN_WEST, BTN_Z = range(0x130, 0x136)
BTN_TL, BTN_TR, BTN_TL2, BTN_TR2, BTN_SELECT, BTN_START, BTN_MODE = range(0x136, 0x13D)
BTN_THUMBL, BTN_THUMBR = 0x13D, 0x13E
BTN_DPAD_UP, BTN_DPAD_DOWN, BTN_DPAD_LEFT, BTN_DPAD_RIGHT = range(0x220, 0x224)
ABS_X, ABS_Y, ABS_Z, ABS_RX, ABS_RY, ABS_RZ = range(6)
ABS_GAS, ABS_BRAKE = 0x09, 0x0A
ABS_HAT0X, ABS_HAT0Y, ABS_HAT2X, ABS_HAT2Y = 0x10, 0x11, 0x14, 0x15

_KEYS = {
    **dict(enumerate(
        ("TRIGGER", "THUMB", "THUMB2", "TOP", "TOP2", "PINKIE", "BASE", "BASE2", "BASE3", "BASE4",
         "BASE5", "BASE6"), BTN_TRIGGER)),
    **dict(enumerate(
        ("SOUTH", "EAST", "C", "NORTH", "WEST", "Z", "TL", "TR", "TL2", "TR2", "SELECT", "START",
         "MODE", "THUMBL", "THUMBR"), BTN_SOUTH)),
    **dict(enumerate(("DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT"), BTN_DPAD_UP)),
    **{0x2C0 + number: f"TRIGGER_HAPPY{number + 1}" for number in range(40)},
}  # fmt: skip
_AXES = dict(
    enumerate(("X", "Y", "Z", "RX", "RY", "RZ", "THROTTLE", "RUDDER", "WHEEL", "GAS", "BRAKE"))
) | {ABS_HAT0X + number: f"HAT{number // 2}{'XY'[number % 2]}" for number in range(8)}
_CODES = {f"BTN_{name}": (EV_KEY, code) for code, name in _KEYS.items()} | {
    f"ABS_{name}": (EV_ABS, code) for code, name in _AXES.items()
}


def code_name(kind: int, code: int) -> str:
    """Name a button or an axis.

    >>> code_name(EV_KEY, BTN_SOUTH), code_name(EV_ABS, 0x28)
    ('BTN_SOUTH', 'ABS_0x28')
    """
    prefix, names = ("BTN", _KEYS) if kind == EV_KEY else ("ABS", _AXES)
    return f"{prefix}_{names.get(code, f'{code:#x}')}"


def read_code(text: str) -> tuple[int, int]:
    """Read a name as `code_name` writes it; returns kind and code.

    Raises:
        ValueError: If there is no such code.
    """
    name = text.upper()
    if name in _CODES:
        return _CODES[name]
    if number := re.fullmatch(r"(BTN|ABS)_0X([0-9A-F]{1,3})", name):
        return (EV_KEY if number[1] == "BTN" else EV_ABS), int(number[2], 16)
    close = difflib.get_close_matches(name, _CODES, n=1)
    hint = f"did you mean {close[0]}?" if close else "nitrogen-data gamepads --watch names them"
    raise ValueError(f"{text!r} is no code of a pad; {hint}")
