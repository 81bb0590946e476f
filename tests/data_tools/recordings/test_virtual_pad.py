"""Against a device that the kernel itself serves, where it allows one."""

import contextlib
import time
from collections.abc import Iterator

import pytest
from pipe_pad import XBOX_KEYS, xbox_axes
from virtual_pad import VirtualPad, why_impossible

from data_tools.__main__ import main
from data_tools.recordings.event_device import EV_ABS, EV_KEY, EventDevice, list_devices
from data_tools.recordings.gamepad import Change, Gamepad, find_gamepad

if reason := why_impossible():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture
def pad() -> Iterator[VirtualPad]:
    pad = VirtualPad(name="Virtual Pad", keys=XBOX_KEYS, axes=xbox_axes())
    yield pad
    pad.unplug()


@contextlib.contextmanager
def opened(pad: VirtualPad) -> Iterator[Gamepad]:
    with contextlib.closing(find_gamepad(pad.path)) as device:
        yield Gamepad(device)


def read(gamepad: Gamepad, num_changes: int) -> list[Change]:
    changes: list[Change] = []
    deadline = time.monotonic() + 5
    while len(changes) < num_changes and time.monotonic() < deadline:
        changes += gamepad.read()
    return changes


def test_it_is_listed(pad: VirtualPad, capsys: pytest.CaptureFixture[str]) -> None:
    (device,) = [device for device in list_devices() if device.path == pad.path]

    assert (device.name, device.vendor, device.product) == ("Virtual Pad", 0x045E, 0x028E)
    assert (device.keys, device.axes) == (XBOX_KEYS, xbox_axes().keys())
    assert main(["gamepads"]) == 0
    assert f"{pad.path}  Virtual Pad  045e:028e" in capsys.readouterr().out


def test_the_persons_word_is_shown(pad: VirtualPad, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--device", str(pad.path), "--pad-map", "SOUTH=BTN_EAST,EAST=BTN_SOUTH"]

    assert main(["gamepads", *words]) == 0
    assert "corrected by --pad-map SOUTH=BTN_EAST,EAST=BTN_SOUTH" in capsys.readouterr().out


def test_what_is_held_before_is_seen_at_the_start(pad: VirtualPad) -> None:
    pad.send((EV_KEY, 0x130, 1), (EV_ABS, 0x02, 255), (EV_ABS, 0x01, -32768))

    with opened(pad) as gamepad:
        held = {name for name, value in gamepad.initial.controls.items() if abs(value) > 0.01}

    assert held == {"SOUTH", "LEFT_TRIGGER", "LEFT_STICK_Y"}
    assert "left stick -32768 to 32767, dead zone 128 kept" in gamepad.name


def test_times_are_the_kernels_and_monotonic(pad: VirtualPad) -> None:
    with opened(pad) as gamepad:
        before_ns = time.monotonic_ns()
        pad.send((EV_KEY, 0x133, 1), (EV_ABS, 0x00, 32767))
        after_ns = time.monotonic_ns()
        time.sleep(0.05)
        (change,) = read(gamepad, 1)

    assert change.controls == {"WEST": 1.0, "LEFT_STICK_X": 1.0}
    # To the microsecond, cut.
    assert before_ns - 1000 <= change.time_ns <= after_ns


def test_what_the_kernel_drops_is_asked_for(pad: VirtualPad) -> None:
    with opened(pad) as gamepad:
        for value in range(1, 400):
            pad.send((EV_ABS, 0x00, value * 80), (EV_ABS, 0x01, -value * 80))
        pad.send((EV_KEY, 0x130, 1))
        time.sleep(0.05)
        changes = read(gamepad, 2)

    lost = [change for change in changes if change.unknown_since_ns is not None]
    state: dict[str, float] = {}
    for change in changes:
        state |= change.controls
    assert lost
    assert len(changes) < 400
    assert state["SOUTH"] == 1.0
    assert state["LEFT_STICK_X"] == pytest.approx(399 * 80 / 32768, abs=1e-3)


def test_unplugging_is_an_error(pad: VirtualPad) -> None:
    with opened(pad) as gamepad:
        pad.unplug()
        with pytest.raises(OSError, match="No such device"):
            gamepad.read()


def test_a_choice_of_two_is_left_to_the_user(pad: VirtualPad) -> None:
    other = VirtualPad(name="Second Pad", keys=XBOX_KEYS, axes=xbox_axes())
    try:
        with pytest.raises(ValueError, match=r"--device; there are .*Virtual Pad.*Second Pad"):
            find_gamepad(None)
    finally:
        other.unplug()
    with contextlib.closing(find_gamepad(pad.path)) as device:
        assert isinstance(device, EventDevice)
