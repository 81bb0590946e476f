import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pipe_pad import XBOX_KEYS, PipePad, hat, stick, trigger

from data_tools.recordings.event_device import EV_ABS, EV_KEY, EV_SYN, EVENT, AxisState
from data_tools.recordings.gamepad import Gamepad
from nitrogen_train.actions import GAMEPAD

PlugIn = Callable[..., PipePad]
PLAYSTATION = {"name": "DualSense", "vendor": 0x054C, "product": 0x0CE6, "driver": "playstation"}


def byte_axis(value: int = 128) -> AxisState:
    return AxisState(value=value, minimum=0, maximum=255)


def test_the_state_at_the_start_names_every_control_of_the_pad(plug_in: PlugIn) -> None:
    pad = plug_in()
    pad.pressed = frozenset({0x130})
    pad.axes |= {0x02: trigger(255), 0x00: stick(-32768), 0x11: hat(1)}

    state = Gamepad(pad).initial.controls

    assert state.keys() == set(GAMEPAD.controls) - GAMEPAD.unlabelled
    held = {name: value for name, value in state.items() if abs(value) > 0.001}
    assert held == {"SOUTH": 1.0, "LEFT_TRIGGER": 1.0, "LEFT_STICK_X": -1.0, "DPAD_DOWN": 1.0}


def test_changes_have_the_times_of_the_kernel(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    start_ns = gamepad.initial.time_ns
    pressed = pad.key(0x131, 1, time_ns=start_ns + 5_000_123)
    moved = pad.send((EV_ABS, 0x03, 32767), (EV_ABS, 0x04, -32768), time_ns=start_ns + 6_000_000)

    changes = gamepad.read()

    assert [change.controls for change in changes] == [
        {"EAST": 1.0},
        {"RIGHT_STICK_X": 1.0, "RIGHT_STICK_Y": -1.0},
    ]
    assert [change.time_ns for change in changes] == [pressed, moved]
    assert gamepad.read() == []


def test_up_is_negative_and_the_dead_zone_is_kept(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.axis(0x01, -32768)
    pad.axis(0x01, 100)

    up, rest = gamepad.read()

    assert up.controls == {"LEFT_STICK_Y": -1.0}
    assert rest.controls["LEFT_STICK_Y"] == pytest.approx(100 / 32768, abs=1e-4)
    assert "dead zone 128 kept" in gamepad.name


def test_a_playstation_trigger_is_read_from_its_axis_alone(plug_in: PlugIn) -> None:
    axes = {code: byte_axis() for code in (0x00, 0x01, 0x03, 0x04)}
    axes |= {0x02: byte_axis(0), 0x05: byte_axis(0), 0x10: hat(), 0x11: hat()}
    pad = plug_in(keys=XBOX_KEYS | {0x138, 0x139}, axes=axes, **PLAYSTATION)
    gamepad = Gamepad(pad)
    pad.send((EV_ABS, 0x05, 51), (EV_KEY, 0x139, 1))

    (change,) = gamepad.read()

    assert change.controls == {"RIGHT_TRIGGER": 0.2}


def test_a_pad_without_rx_has_its_right_stick_on_z(plug_in: PlugIn) -> None:
    axes = {code: byte_axis() for code in (0x00, 0x01, 0x02, 0x05)}
    axes |= {0x09: byte_axis(0), 0x0A: byte_axis(0)}
    dpad = frozenset({0x220, 0x221, 0x222, 0x223})
    pad = plug_in(keys=XBOX_KEYS | dpad, axes=axes, vendor=0x1234, driver="hid-generic")
    gamepad = Gamepad(pad)
    pad.send((EV_ABS, 0x02, 255), (EV_ABS, 0x05, 0), (EV_ABS, 0x0A, 255), (EV_KEY, 0x220, 1))

    (change,) = gamepad.read()

    assert change.controls == {
        "RIGHT_STICK_X": 1.0,
        "RIGHT_STICK_Y": -1.0,
        "LEFT_TRIGGER": 1.0,
        "DPAD_UP": 1.0,
    }


def test_a_pad_with_digital_triggers_has_them_as_buttons(plug_in: PlugIn) -> None:
    axes = {code: byte_axis() for code in (0x00, 0x01, 0x03, 0x04)}
    pad = plug_in(keys=XBOX_KEYS | {0x138, 0x139}, axes=axes)
    gamepad = Gamepad(pad)
    pad.key(0x138, 1)

    assert gamepad.read()[0].controls == {"LEFT_TRIGGER": 1.0}


def test_releasing_a_hat_releases_both_sides(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.axis(0x10, -1)
    pad.axis(0x10, 0)

    left, released = gamepad.read()

    assert left.controls == {"DPAD_LEFT": 1.0, "DPAD_RIGHT": 0.0}
    assert released.controls == {"DPAD_LEFT": 0.0, "DPAD_RIGHT": 0.0}


def test_dropped_events_are_made_good_by_asking_and_reported(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    before_ns = pad.key(0x130, 1)
    # A release was lost, and what else stands in the packet may be half of something.
    pad.pressed = frozenset({0x131})
    pad.send((EV_SYN, 3, 0), (EV_KEY, 0x134, 1))
    pad.key(0x131, 0, time_ns=before_ns + 1000)

    pressed, asked, released = gamepad.read()

    assert pressed.controls == {"SOUTH": 1.0}
    assert (asked.controls["SOUTH"], asked.controls["EAST"]) == (0.0, 1.0)
    assert (asked.controls["NORTH"], asked.controls["LEFT_STICK_X"] < 0.001) == (0.0, True)
    assert asked.unknown_since_ns == before_ns
    # It waited in the queue while the state was asked for.
    assert released.controls == {"EAST": 0.0}
    assert released.time_ns == asked.time_ns <= time.monotonic_ns()


def test_a_packet_counts_once_it_is_closed(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.write(EVENT.pack(10**6, 0, EV_KEY, 0x130, 1))

    assert gamepad.read() == []
    pad.send()
    assert [change.controls for change in gamepad.read()] == [{"SOUTH": 1.0}]


def test_what_is_no_control_is_left_out(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.send((EV_KEY, 0x2C0, 1), (EV_ABS, 0x28, 7), (0x04, 4, 0x90001), (0x15, 0x50, 1))

    assert gamepad.read() == []


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1])
def test_a_value_beyond_the_stated_range_is_its_end(plug_in: PlugIn, value: int) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.send((EV_ABS, 0x00, value), (EV_ABS, 0x05, value))

    (change,) = gamepad.read()

    assert abs(change.controls["LEFT_STICK_X"]) == 1.0
    assert change.controls["RIGHT_TRIGGER"] in (0.0, 1.0)


def test_an_axis_without_a_range_is_no_control(plug_in: PlugIn) -> None:
    pad = plug_in(axes={0x00: AxisState(value=0, minimum=0, maximum=0), 0x01: stick()})

    assert "LEFT_STICK_X" not in Gamepad(pad).initial.controls


def test_a_keyboard_is_no_gamepad(plug_in: PlugIn) -> None:
    pad = plug_in(keys=frozenset(range(1, 100)), axes={}, name="Keyboard", path=Path("/dev/x"))

    with pytest.raises(ValueError, match=r"/dev/x \(Keyboard\) is no gamepad: it has no BTN_SOUTH"):
        Gamepad(pad)


def test_an_unplugged_pad_is_an_error(plug_in: PlugIn) -> None:
    pad = plug_in()
    gamepad = Gamepad(pad)
    pad.unplug()

    with pytest.raises(OSError, match="Pipe Pad has no more events: unplugged"):
        gamepad.read()
