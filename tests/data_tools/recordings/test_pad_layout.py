"""Pads as their drivers show them, and what lies where on them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pipe_pad import XBOX_KEYS, PipePad, hat, stick, trigger, xbox_axes

from data_tools.recordings.event_device import EV_ABS, EV_KEY, AxisState, Event
from data_tools.recordings.gamepad import Gamepad
from data_tools.recordings.pad_layout import PadLayout, build_layout, load_mappings

PlugIn = Callable[..., PipePad]

HATS = {0x10: hat(), 0x11: hat()}
ANDROID_KEYS = frozenset(range(0x130, 0x13F))
STEAM_KEYS = XBOX_KEYS | {0x121, 0x122, 0x138, 0x139, 0x150, 0x151, 0x220, 0x221, 0x222, 0x223}


def byte_axis(value: int = 128) -> AxisState:
    return AxisState(value=value, minimum=0, maximum=255)


def sony_axes(*, rest: int = 128) -> dict[int, AxisState]:
    """A DualShock 4's without a driver of its own; at 0 before its first report."""
    sticks = {code: byte_axis(rest) for code in (0, 1, 2, 5)}
    return sticks | {3: byte_axis(0), 4: byte_axis(0)} | HATS


def android_axes() -> dict[int, AxisState]:
    return {code: byte_axis() for code in (0, 1, 2, 5)} | {
        9: byte_axis(0), 10: byte_axis(0),
    } | HATS  # fmt: skip


STEAM: dict[str, Any] = {
    "name": "Steam Controller", "vendor": 0x28DE, "product": 0x1142, "driver": "hid-steam",
    "keys": STEAM_KEYS,
    # Both touch pads are hats by their codes, and sticks by their ranges.
    "axes": {code: stick() for code in (0, 1, 3, 4, 0x10, 0x11, 0x12, 0x13)}
    | {0x14: trigger(), 0x15: trigger()},
}  # fmt: skip
DUALSHOCK_4: dict[str, Any] = {
    "name": "Wireless Controller", "vendor": 0x054C, "product": 0x09CC, "driver": "hid-generic",
    "keys": frozenset(range(0x130, 0x13E)), "axes": sony_axes(),
}  # fmt: skip
# Without its numbers, as an imitation has others: what remains is what it offers.
IMITATION = DUALSHOCK_4 | {"vendor": 0x1234, "product": 0x5678}
XONE: dict[str, Any] = {
    "vendor": 0x20D6, "product": 0x2009, "driver": "xone-gip-gamepad", "keys": XBOX_KEYS,
    "axes": xbox_axes(),
}  # fmt: skip
BITDO: dict[str, Any] = {
    "name": "8BitDo Pro 2", "vendor": 0x2DC8, "product": 0x6003, "driver": "hid-generic",
    "keys": ANDROID_KEYS, "axes": android_axes(),
}  # fmt: skip
XBOX_BLUETOOTH = BITDO | {"vendor": 0x045E, "product": 0x9999, "driver": "microsoft"}
XBOX_OLD_BLUETOOTH: dict[str, Any] = {
    "vendor": 0x1234, "driver": "hid-generic", "keys": XBOX_KEYS,
    "axes": {code: AxisState(value=0, minimum=0, maximum=65535) for code in (0, 1, 3, 4)}
    | {code: AxisState(value=0, minimum=0, maximum=1023) for code in (2, 5)}
    | HATS,
}  # fmt: skip
SWITCH: dict[str, Any] = {
    "vendor": 0x057E, "product": 0x2009, "driver": "nintendo",
    "keys": frozenset(range(0x130, 0x13F)) - {0x132},
    "axes": {code: stick() for code in (0, 1, 3, 4)} | HATS,
}  # fmt: skip
DUALSENSE: dict[str, Any] = {
    "vendor": 0x054C, "product": 0x0CE6, "driver": "playstation",
    "keys": frozenset(range(0x130, 0x13F)) - {0x132, 0x135},
    "axes": {code: byte_axis() for code in (0, 1, 3, 4)}
    | {2: byte_axis(0), 5: byte_axis(0)}
    | HATS,
}  # fmt: skip
JOYSTICK: dict[str, Any] = {
    "vendor": 0x1234, "product": 0x0001, "driver": "hid-generic",
    "keys": frozenset(range(0x120, 0x12C)),
    "axes": {code: byte_axis() for code in (0, 1, 2, 5)} | HATS,
}  # fmt: skip


def layout_of(pad: PipePad, **how: Any) -> PadLayout:
    return build_layout(pad.description, pad.read_state(), **how)


def held(layout: PadLayout, kind: int, code: int, value: int) -> set[str]:
    named = layout.name(Event(time_ns=1, kind=kind, code=code, value=value))
    return {name for name, value in named.items() if round(value, 2)}


@pytest.mark.parametrize(
    ("pad", "kind", "code", "value", "control"),
    [
        pytest.param(STEAM, EV_KEY, 0x220, 1, "DPAD_UP", id="steam-dpad-up"),
        pytest.param(STEAM, EV_KEY, 0x222, 1, "DPAD_LEFT", id="steam-dpad-left"),
        pytest.param(STEAM, EV_ABS, 0x10, -30000, None, id="steam-left-touch-pad"),
        pytest.param(STEAM, EV_ABS, 0x12, 30000, None, id="steam-right-touch-pad"),
        pytest.param(STEAM, EV_KEY, 0x121, 1, None, id="steam-finger-on-touch-pad"),
        pytest.param(STEAM, EV_ABS, 0x15, 255, "LEFT_TRIGGER", id="steam-left-trigger"),
        pytest.param(STEAM, EV_KEY, 0x133, 1, "WEST", id="steam-x"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x131, 1, "SOUTH", id="ds4-cross"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x130, 1, "WEST", id="ds4-square"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x132, 1, "EAST", id="ds4-circle"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x134, 1, "LEFT_SHOULDER", id="ds4-l1"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x13B, 1, "RIGHT_THUMB", id="ds4-r3"),
        pytest.param(DUALSHOCK_4, EV_KEY, 0x13D, 1, None, id="ds4-touch-pad"),
        pytest.param(DUALSHOCK_4, EV_ABS, 2, 255, "RIGHT_STICK_X", id="ds4-right-stick"),
        pytest.param(DUALSHOCK_4, EV_ABS, 3, 255, "LEFT_TRIGGER", id="ds4-l2"),
        pytest.param(IMITATION, EV_ABS, 2, 255, "RIGHT_STICK_X", id="like-ds4-right-stick"),
        pytest.param(IMITATION, EV_ABS, 4, 255, "RIGHT_TRIGGER", id="like-ds4-r2"),
        pytest.param(
            IMITATION | {"axes": sony_axes(rest=0)},
            EV_ABS,
            2,
            255,
            "RIGHT_STICK_X",
            id="like-ds4-before-its-first-report",
        ),
        pytest.param(XONE, EV_KEY, 0x133, 1, "WEST", id="xone-powera-x"),
        pytest.param(XONE, EV_KEY, 0x134, 1, "NORTH", id="xone-powera-y"),
        pytest.param(XONE | {"vendor": 0x2DC8}, EV_KEY, 0x133, 1, "WEST", id="xone-8bitdo-x"),
        pytest.param(XONE | {"vendor": 0x0E6F}, EV_KEY, 0x134, 1, "NORTH", id="xone-pdp-y"),
        pytest.param(XONE | {"driver": "xpadneo"}, EV_KEY, 0x133, 1, "WEST", id="xpadneo-x"),
        pytest.param(XONE | {"driver": "xpad"}, EV_KEY, 0x133, 1, "WEST", id="xpad-x"),
        pytest.param(BITDO, EV_KEY, 0x131, 1, "SOUTH", id="8bitdo-south"),
        pytest.param(BITDO, EV_KEY, 0x130, 1, "EAST", id="8bitdo-east"),
        pytest.param(BITDO, EV_KEY, 0x134, 1, "WEST", id="8bitdo-west"),
        pytest.param(BITDO, EV_ABS, 2, 255, "RIGHT_STICK_X", id="8bitdo-right-stick"),
        pytest.param(BITDO, EV_ABS, 10, 255, "LEFT_TRIGGER", id="8bitdo-left-trigger"),
        pytest.param(XBOX_BLUETOOTH, EV_KEY, 0x130, 1, "SOUTH", id="bluetooth-a"),
        pytest.param(XBOX_BLUETOOTH, EV_KEY, 0x133, 1, "WEST", id="bluetooth-x"),
        pytest.param(XBOX_OLD_BLUETOOTH, EV_ABS, 3, 65535, "RIGHT_STICK_X", id="by-range-stick"),
        pytest.param(XBOX_OLD_BLUETOOTH, EV_ABS, 2, 1023, "LEFT_TRIGGER", id="by-range-trigger"),
        pytest.param(SWITCH, EV_KEY, 0x130, 1, "SOUTH", id="switch-b"),
        pytest.param(SWITCH, EV_KEY, 0x134, 1, "WEST", id="switch-y"),
        pytest.param(SWITCH, EV_KEY, 0x138, 1, "LEFT_TRIGGER", id="switch-zl"),
        pytest.param(DUALSENSE, EV_KEY, 0x130, 1, "SOUTH", id="dualsense-cross"),
        pytest.param(DUALSENSE, EV_KEY, 0x134, 1, "WEST", id="dualsense-square"),
        pytest.param(DUALSENSE, EV_ABS, 2, 255, "LEFT_TRIGGER", id="dualsense-l2"),
        pytest.param(DUALSENSE, EV_KEY, 0x138, 1, None, id="dualsense-l2-as-a-button"),
        pytest.param(JOYSTICK, EV_KEY, 0x121, 1, "SOUTH", id="joystick-second-button"),
        pytest.param(JOYSTICK, EV_ABS, 5, 255, "RIGHT_STICK_Y", id="joystick-right-stick"),
        pytest.param(JOYSTICK, EV_ABS, 0x10, 1, "DPAD_RIGHT", id="joystick-dpad"),
    ],
)
def test_what_is_pressed_is_the_control_that_lies_there(
    plug_in: PlugIn, pad: dict[str, Any], kind: int, code: int, value: int, control: str | None
) -> None:
    got = held(layout_of(plug_in(**pad)), kind, code, value)

    assert got == ({control} if control else set())


def test_a_touch_pad_is_no_gamepad(plug_in: PlugIn) -> None:
    keys = frozenset({0x110, 0x145, 0x14A, 0x14D})
    pad = plug_in(**(DUALSENSE | {"keys": keys, "axes": {0x2F: byte_axis(0)}}))

    with pytest.raises(ValueError, match="is no gamepad: it has no BTN_SOUTH"):
        layout_of(pad)


@pytest.mark.parametrize(
    ("pad", "decided_by", "is_guess"),
    [
        (XONE, "by its driver's convention", False),
        (STEAM, "by its driver's convention", False),
        (IMITATION, "guessed from the number of its buttons", True),
        (BITDO, "guessed from the maker's other pads", True),
        (XBOX_BLUETOOTH, "guessed from the usual order of buttons", True),
        (JOYSTICK, "guessed from a joystick's numbered buttons", True),
    ],
)
def test_a_layout_says_who_decided_it(
    plug_in: PlugIn, pad: dict[str, Any], decided_by: str, is_guess: bool
) -> None:
    gamepad = Gamepad(plug_in(**pad))

    assert f"layout {decided_by}" in gamepad.name
    assert ("--watch" in gamepad.layout.advice) == is_guess


def test_a_control_that_is_not_found_is_named(plug_in: PlugIn) -> None:
    pad = plug_in(keys=XBOX_KEYS - {0x13C}, axes=xbox_axes() | {0x10: stick(), 0x11: stick()})

    advice = layout_of(pad).advice

    assert advice == ("nothing on it is taken for DPAD_DOWN, DPAD_LEFT, DPAD_RIGHT, DPAD_UP, GUIDE")


needs_sdl = pytest.mark.skipif(
    not load_mappings(), reason="pygame-ce, which brings SDL's mappings, is not installed"
)


@needs_sdl
def test_a_pad_that_sdl_knows_is_read_as_sdl_has_it(plug_in: PlugIn) -> None:
    """HORI's Real Arcade Pro counts other than the orders that are guessed: a:b2,b:b1."""
    keys = frozenset(range(0x130, 0x13E))
    numbers = {"vendor": 0x0F0D, "product": 0x00AA, "bus": 3, "version": 0x111}
    axes = {code: byte_axis() for code in (0, 1, 2, 5)} | HATS
    layout = layout_of(plug_in(keys=keys, axes=axes, driver="hid-generic", **numbers))

    assert layout.decided_by == "by SDL's mapping of HORI Real Arcade Pro"
    assert held(layout, EV_KEY, 0x132, 1) == {"SOUTH"}
    assert held(layout, EV_KEY, 0x131, 1) == {"EAST"}
    assert held(layout, EV_ABS, 0x11, -1) == {"DPAD_UP"}


@needs_sdl
def test_sdl_is_asked_for_places_and_not_for_letters(
    plug_in: PlugIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steam asks for letters in the environment of what it starts."""
    monkeypatch.setenv("SDL_GAMECONTROLLER_USE_BUTTON_LABELS", "1")
    load_mappings.cache_clear()
    numbers = {"product": 0x6006, "bus": 3, "version": 0x111}
    layout = layout_of(plug_in(**(BITDO | numbers)))

    assert layout.decided_by == "by SDL's mapping of 8BitDo Pro 2"
    assert held(layout, EV_KEY, 0x131, 1) == {"SOUTH"}


@needs_sdl
def test_a_mapping_that_names_more_than_the_pad_has_is_another_pads(plug_in: PlugIn) -> None:
    numbers = {"product": 0x6006, "bus": 3, "version": 0x111, "keys": frozenset({0x130, 0x131})}

    assert layout_of(plug_in(**(BITDO | numbers))).is_guess


@needs_sdl
def test_a_mapping_of_another_version_is_taken_but_not_across_drivers(plug_in: PlugIn) -> None:
    """Version 0x8111 is the same pad behind a driver that sorts its buttons."""
    numbers = {"bus": 3, "version": 0x100}
    layout = layout_of(plug_in(**(DUALSHOCK_4 | numbers)))

    assert re.match("by SDL's mapping of PS4 Controller", layout.decided_by)
    assert held(layout, EV_KEY, 0x131, 1) == {"SOUTH"}


@needs_sdl
@pytest.mark.parametrize(
    ("name", "decided_by"),
    [
        ("Nintendo Wii Remote", "by SDL's mapping of Nintendo Wii Remote"),
        ("Nintendo Wii Remote Guitar", "guessed from the usual order of buttons"),
    ],
)
def test_one_number_for_several_pads_is_told_apart_by_name(
    plug_in: PlugIn, name: str, decided_by: str
) -> None:
    numbers = {"vendor": 0x057E, "product": 0x0306, "bus": 5, "version": 0x0600}
    pad = plug_in(name=name, driver="wiimote", axes={}, **numbers)

    assert layout_of(pad).decided_by == decided_by


def test_the_persons_word_overrules(plug_in: PlugIn) -> None:
    gamepad = Gamepad(plug_in(), pad_map="north=BTN_NORTH, west=btn_west,GUIDE=none")

    assert held(gamepad.layout, EV_KEY, 0x133, 1) == {"NORTH"}
    assert held(gamepad.layout, EV_KEY, 0x134, 1) == {"WEST"}
    assert gamepad.layout.lacking == ("GUIDE",)
    assert "corrected by --pad-map north=BTN_NORTH" in gamepad.name


def test_the_persons_word_reaches_axes_and_their_sides(plug_in: PlugIn) -> None:
    pad = plug_in(axes=xbox_axes() | {0x06: stick()}, keys=XBOX_KEYS | {0x2C0})
    layout = layout_of(
        pad,
        pad_map="RIGHT_STICK_Y=-ABS_RY,LEFT_TRIGGER=+ABS_THROTTLE,RIGHT_TRIGGER=-ABS_THROTTLE,"
        "GUIDE=BTN_0x2c0",
    )

    def value(code: int, raw: int) -> dict[str, float]:
        named = layout.name(Event(time_ns=1, kind=EV_ABS, code=code, value=raw))
        return {name: round(value, 1) for name, value in named.items()}

    assert value(0x04, -32768) == {"RIGHT_STICK_Y": 1.0}
    assert value(0x06, 16384) == {"LEFT_TRIGGER": 0.5, "RIGHT_TRIGGER": 0.0}
    assert value(0x06, -32768) == {"LEFT_TRIGGER": 0.0, "RIGHT_TRIGGER": 1.0}
    assert value(0x02, 255) == {}
    assert held(layout, EV_KEY, 0x2C0, 1) == {"GUIDE"}


@pytest.mark.parametrize(
    ("pad_map", "message"),
    [
        ("SOUTH", "--pad-map is CONTROL=CODE,... such as SOUTH=BTN_EAST,EAST=BTN_SOUTH; got 'SO"),
        ("SOUTH=", "--pad-map is CONTROL=CODE"),
        ("SOUTH=BTN_EAST,", "--pad-map is CONTROL=CODE,.*got ''"),
        ("SOTH=BTN_EAST", "'SOTH' is no control; did you mean SOUTH?"),
        ("FIRE=BTN_EAST", "'FIRE' is no control; a pad has BACK, DPAD_DOWN"),
        ("SOUTH=BTN_MODES", "SOUTH: 'BTN_MODES' is no code of a pad; did you mean BTN_MODE?"),
        ("SOUTH=7", "'7' is no code of a pad; nitrogen-data gamepads --watch names them"),
        ("SOUTH=BTN_C", "SOUTH: Pipe Pad has no BTN_C; it has BTN_SOUTH, BTN_EAST, BTN_NORTH"),
        ("LEFT_TRIGGER=ABS_GAS", "LEFT_TRIGGER: Pipe Pad has no ABS_GAS; it has ABS_X, ABS_Y"),
        ("LEFT_STICK_X=BTN_EAST", "LEFT_STICK_X=BTN_EAST: LEFT_STICK_X is a stick; an axis"),
        ("SOUTH=-BTN_EAST", "SOUTH=-BTN_EAST: BTN_EAST has no sides; an axis"),
        ("DPAD_UP=ABS_HAT0Y", r"which side of ABS_HAT0Y\? DPAD_UP=-ABS_HAT0Y or DPAD_UP=\+ABS"),
        ("SOUTH=BTN_EAST", "SOUTH=BTN_EAST takes it from EAST; say where that is: EAST=CODE or"),
        ("SOUTH=BTN_EAST,SOUTH=BTN_EAST", "--pad-map names SOUTH twice"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused_in_one_line(
    plug_in: PlugIn, pad_map: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        Gamepad(plug_in(), pad_map=pad_map)
    assert "\n" not in str(refused.value)
