"""Which input is which control of a pad, as SDL's built-in mappings have it.

pygame-ce, which the `games` extra brings, carries SDL 2 with some 300 pads for Linux. They are kept
by SDL's makers and need neither a display nor the pad. A mapping counts buttons, axes and hats by
SDL's own order of their codes (`ConfigJoystick` in SDL's src/joystick/linux/SDL_sysjoystick.c).
"""

import ctypes
import importlib.metadata
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data_tools.capture.event_codes import ABS_HAT0X, BTN_TRIGGER
from data_tools.capture.event_device import EV_ABS, AxisState, DeviceDescription
from data_tools.capture.pad_inputs import Inputs, PadInput, axis_input, is_hat, key_input
from nitrogen_train.actions import GAMEPAD

_GAME_CONTROLLER = 0x2000
"""SDL_INIT_GAMECONTROLLER."""
_OVERRIDE = 2
"""SDL_HINT_OVERRIDE."""
_HINTS = {
    # By place, not by letter.
    b"SDL_GAMECONTROLLER_USE_BUTTON_LABELS": b"0",
    # Only the mappings are wanted: no pad is spoken to, no signal is taken.
    b"SDL_JOYSTICK_HIDAPI": b"0",
    b"SDL_NO_SIGNAL_HANDLERS": b"1",
}
_PATCHED = 0x8000
"""In the version of a pad whose driver gives its buttons their meaning."""
_CONTROLS = {
    "a": "SOUTH", "b": "EAST", "x": "WEST", "y": "NORTH",
    "back": "BACK", "start": "START", "guide": "GUIDE",
    "leftshoulder": "LEFT_SHOULDER", "rightshoulder": "RIGHT_SHOULDER",
    "leftstick": "LEFT_THUMB", "rightstick": "RIGHT_THUMB",
    "lefttrigger": "LEFT_TRIGGER", "righttrigger": "RIGHT_TRIGGER",
    "dpup": "DPAD_UP", "dpdown": "DPAD_DOWN", "dpleft": "DPAD_LEFT", "dpright": "DPAD_RIGHT",
    "leftx": "LEFT_STICK_X", "lefty": "LEFT_STICK_Y",
    "rightx": "RIGHT_STICK_X", "righty": "RIGHT_STICK_Y",
}  # fmt: skip
_ELEMENT = re.compile(r"(?P<sign>[+-]?)(?P<kind>[ab])(?P<number>\d+)(?P<reversed>~?)")
_HAT = re.compile(r"h(?P<number>\d+)\.(?P<place>[1248])")
# Of a hat's places: the offset of the axis, and its side.
_HAT_SIDES = {"1": (1, -1), "2": (0, 1), "4": (1, 1), "8": (0, -1)}


@dataclass(frozen=True, kw_only=True)
class PadMapping:
    """What SDL says of a pad."""

    name: str
    """As SDL calls it."""
    inputs: Inputs


def find_mapping(description: DeviceDescription, axes: dict[int, AxisState]) -> PadMapping | None:
    """Look a pad up; None if SDL does not know it, or means another pad by its numbers."""
    lines = _choose_lines(description, load_mappings())
    found = [_read_line(line, description, axes) for line in lines]
    # Several of one pad's versions: none is asked for if they contradict each other.
    known = [mapping for mapping in found if mapping is not None]
    if not known or any(mapping.inputs != known[0].inputs for mapping in known):
        return None
    return known[0]


@cache
def load_mappings() -> tuple[str, ...]:
    """Read SDL's mappings, one line each; none where pygame-ce is not installed.

    SDL adds those of the person's $SDL_GAMECONTROLLERCONFIG.
    """
    path = _find_library()
    if path is None:
        return ()
    try:
        sdl = ctypes.CDLL(str(path))
    except OSError:
        return ()
    sdl.SDL_GameControllerMappingForIndex.restype = ctypes.c_void_p
    for hint, value in _HINTS.items():
        # Steam sets some of them in the environment of what it starts.
        sdl.SDL_SetHintWithPriority(hint, value, _OVERRIDE)
    if sdl.SDL_InitSubSystem(_GAME_CONTROLLER):
        return ()
    lines: list[str] = []
    for index in range(sdl.SDL_GameControllerNumMappings()):
        address = sdl.SDL_GameControllerMappingForIndex(index)
        lines.append(ctypes.string_at(address).decode(errors="replace"))
        sdl.SDL_free(ctypes.c_void_p(address))
    sdl.SDL_QuitSubSystem(_GAME_CONTROLLER)
    for hint in _HINTS:
        sdl.SDL_ResetHint(hint)
    return tuple(lines)


def _find_library() -> Path | None:
    try:
        files = importlib.metadata.files("pygame-ce") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    libraries = [file for file in files if re.match(r"libSDL2-2.*\.so", file.name)]
    return Path(str(libraries[0].locate())) if libraries else None


def _choose_lines(description: DeviceDescription, lines: tuple[str, ...]) -> list[str]:
    """Choose by SDL's GUID: exactly, else without the version, as SDL does."""
    pad, version = (description.bus, description.vendor, description.product), description.version
    same = [(guid, line) for line in lines if (guid := _read_guid(line))[:3] == pad]
    same = [(guid, line) for guid, line in same if _is_named(line, description.name)]
    exact = [line for guid, line in same if guid[3] == version]
    return exact or [line for guid, line in same if not (guid[3] ^ version) & _PATCHED]


def _is_named(line: str, name: str) -> bool:
    """Say whether a line is for pads of this name; most are for every name."""
    crc = re.search(r",crc:([0-9a-f]{4}),", line)
    return crc is None or int(crc[1], 16) == _crc16(name.encode())


def _crc16(data: bytes) -> int:
    """Sum up a name as SDL does: CRC-16/ARC.

    >>> f"{_crc16(b'123456789'):x}"
    'bb3d'
    """
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _read_guid(line: str) -> tuple[int, ...]:
    """Read bus, vendor, product and version: four numbers of 16 bits, low byte first."""
    if not re.match(r"[0-9a-f]{32},", line):
        return ()
    data = bytes.fromhex(line[:32])
    return tuple(int.from_bytes(data[at : at + 2], "little") for at in (0, 4, 8, 12))


def _read_line(
    line: str, description: DeviceDescription, axes: dict[int, AxisState]
) -> PadMapping | None:
    _, name, *elements = line.split(",")
    numbered = _number(description, axes)
    inputs: Inputs = {}
    for control, _, element in (text.partition(":") for text in elements):
        if control[:1] in ("+", "-"):
            # Half a stick from a button: no pad with such a thing has two sticks.
            return None
        if control not in _CONTROLS:
            continue
        where = _find_input(element, numbered, is_stick=_CONTROLS[control] in GAMEPAD.sticks)
        if where is None or (where.kind == EV_ABS and where.code not in axes):
            return None
        inputs[_CONTROLS[control]] = where
    return PadMapping(name=name, inputs=inputs)


def _find_input(element: str, numbered: dict[str, list[int]], *, is_stick: bool) -> PadInput | None:
    """Find what a mapping's element such as b3, -a1 or h0.4 means; None if the pad lacks it."""
    if hat := _HAT.fullmatch(element):
        offset, side = _HAT_SIDES[hat["place"]]
        number = int(hat["number"])
        hats = numbered["h"]
        return axis_input(hats[number] + offset, side) if number < len(hats) else None
    found = _ELEMENT.fullmatch(element)
    if found is None or int(found["number"]) >= len(numbered[found["kind"]]):
        return None
    if found["reversed"] and not is_stick:
        return None
    code = numbered[found["kind"]][int(found["number"])]
    if found["kind"] == "b":
        return None if is_stick else key_input(code)
    sign = "-" if found["reversed"] else found["sign"]
    return axis_input(code, {"": 0, "+": 1, "-": -1}[sign])


def _number(description: DeviceDescription, axes: dict[int, AxisState]) -> dict[str, list[int]]:
    """Count buttons (b), axes (a) and hats (h) as SDL does."""
    hat_codes = range(ABS_HAT0X, ABS_HAT0X + 8, 2)
    hats = [code for code in hat_codes if is_hat(axes.get(code)) and is_hat(axes.get(code + 1))]
    in_hats = {code + offset for code in hats for offset in (0, 1)}
    return {
        "b": sorted(description.keys, key=lambda code: (code < BTN_TRIGGER, code)),
        "a": sorted(description.axes - in_hats),
        "h": hats,
    }
