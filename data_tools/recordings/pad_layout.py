"""Map a gamepad's codes to the controls of the action space.

    description, state ─► driver's convention ─┐
                      ├─► SDL's mapping data ──┼─► control: input ─► --pad-map ─► PadLayout
                      └─► guess ───────────────┘      (first that knows)

An input is a button, an axis, or one side of an axis. The layout says which of the three sources
decided, since only the first two are knowledge: `nitrogen-data gamepads` and the recording's facts
show it.

**Convention.** The kernel's (`Documentation/input/gamepad.rst`): BTN_SOUTH, _EAST, _NORTH and _WEST
say where a button lies, y is down-positive, the d-pad is a hat or four buttons, triggers are
ABS_HAT2Y and ABS_HAT2X. Drivers differ from it in two ways: those of Xbox and Valve send the button
lettered X, in the west, as BTN_X, which is BTN_NORTH's code; and triggers are ABS_Z and ABS_RZ.

**SDL.** pygame-ce, which the `games` extra brings, carries SDL 2 with some 300 pads for Linux.
SDL's makers keep them, and they need neither a display nor the pad. A mapping counts buttons, axes
and hats by SDL's own order of their codes (`ConfigJoystick` in SDL's
src/joystick/linux/SDL_sysjoystick.c).

**Guess.** Without a driver of its own (hid-generic) a pad's first button becomes BTN_SOUTH, its
second BTN_EAST and so on, whatever they are. Three orders are common:

    by letter    south, east, -, west, north, -, L1, R1, L2, R2, ...      Android's; Xbox
    crossed      the same, A and B, X and Y lettered as Nintendo does     8BitDo
    by number    west, south, east, north, L1, R1, L2, R2, back, ...      Sony, Hori, Logitech
"""

import ctypes
import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from data_tools.recordings.event_device import (
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
    EV_ABS,
    EV_KEY,
    AxisState,
    DeviceDescription,
    Event,
    RawState,
)
from data_tools.recordings.pad_map import (
    CONTROLS,
    TRIGGERS,
    Inputs,
    PadInput,
    axis_input,
    correct,
    is_hat,
    key_input,
)
from nitrogen_train.actions import GAMEPAD

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
"""Mark in the version of a pad whose driver gives its buttons their meaning."""
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


@dataclass(frozen=True, kw_only=True)
class PadMapping:
    """The mapping of a pad as SDL has it."""

    name: str
    """Name of the pad in SDL."""
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


@dataclass(frozen=True, kw_only=True)
class PadLayout:
    """The layout of a pad: which input is which control."""

    inputs: Inputs
    ranges: dict[int, AxisState]
    """The device's own range of each axis."""
    decided_by: str
    """Source of the layout, to be read after 'layout'."""
    is_guess: bool
    """True if neither a driver, nor SDL, nor the person has said it."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return controls that nothing on the pad is taken for."""
        return tuple(name for name in CONTROLS if name not in self.inputs)

    @property
    def advice(self) -> str:
        """Say what a person should look at before playing; nothing if all is well."""
        parts: list[str] = []
        if self.lacking:
            parts.append(f"nothing on it is taken for {', '.join(self.lacking)}")
        if self.is_guess:
            parts.append(
                "a guess: look at it with nitrogen-data gamepads --watch, correct it with --pad-map"
            )
            if not load_mappings():
                parts.append("SDL's mappings, which may know it, come with pip install pygame-ce")
        return "; ".join(parts)

    def name(self, event: Event) -> dict[str, float]:
        """Name what an event changes; nothing if it is no control of the action space.

        Returns:
            Buttons 0 or 1, analogue triggers in [0, 1], sticks in [-1, 1], y down-positive. The
            dead zone is left in.
        """
        controls = self._by_code.get((event.kind, event.code), ())
        return {name: self._value(name, event.value) for name in controls}

    def name_state(self, state: RawState) -> dict[str, float]:
        """Name everything that the pad holds, with all of its controls."""
        held: dict[str, float] = {}
        for name, where in self.inputs.items():
            is_key = where.kind == EV_KEY
            raw = where.code in state.pressed if is_key else state.axes[where.code].value
            held[name] = self._value(name, int(raw))
        return held

    @cached_property
    def _by_code(self) -> dict[tuple[int, int], list[str]]:
        by_code: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, where in self.inputs.items():
            by_code[where.kind, where.code].append(name)
        return by_code

    def _value(self, name: str, raw: int) -> float:
        where = self.inputs[name]
        if where.kind == EV_KEY:
            return float(raw != 0)
        span = self.ranges[where.code]
        # Some pads overshoot the range that they state.
        share = min(max((raw - span.minimum) / (span.maximum - span.minimum), 0.0), 1.0)
        if name in GAMEPAD.sticks:
            return (2 * share - 1) * (where.side or 1)
        if where.side:
            share = max((2 * share - 1) * where.side, 0.0)
        return share if name in TRIGGERS else float(share > 0.5)


def build_layout(
    description: DeviceDescription, state: RawState, *, pad_map: str | None = None
) -> PadLayout:
    """Find out which input of a device is which control.

    Args:
        description: The device.
        state: With the ranges of its axes, and where they rest.
        pad_map: What the person says, as `--pad-map`; it overrules everything.

    Raises:
        ValueError: If it is no gamepad, or the device has not what the person says.
    """
    if not description.is_gamepad:
        raise ValueError(
            f"{description.path} ({description.name}) is no gamepad: it has no BTN_SOUTH, nor a "
            "joystick's BTN_TRIGGER; nitrogen-data gamepads lists those that are"
        )
    axes = {code: axis for code, axis in state.axes.items() if axis.maximum > axis.minimum}
    known = _know(description, axes)
    decided_by, inputs = known or guess(description, axes)
    if pad_map:
        inputs = correct(inputs, pad_map, description, axes)
        decided_by += f", corrected by --pad-map {pad_map}"
    codes = {where.code for where in inputs.values() if where.kind == EV_ABS}
    return PadLayout(
        inputs=inputs,
        ranges={code: axes[code] for code in sorted(codes)},
        decided_by=decided_by,
        is_guess=not known and not pad_map,
    )


def _know(description: DeviceDescription, axes: dict[int, AxisState]) -> tuple[str, Inputs] | None:
    if inputs := follow_driver(description, axes):
        return "by its driver's convention", inputs
    if mapping := find_mapping(description, axes):
        return f"by SDL's mapping of {mapping.name}", mapping.inputs
    return None


def describe_pad(description: DeviceDescription, layout: PadLayout) -> str:
    """Say in one line what was played with: identity, who knew the layout, the stick's range."""
    text = (
        f"{description.name} ({description.vendor:04x}:{description.product:04x} "
        f"{description.driver or 'no driver'}), layout {layout.decided_by}"
    )
    if axis := layout.ranges.get(ABS_X):
        text += f", left stick {axis.minimum} to {axis.maximum}, dead zone {axis.flat} kept"
    return text
