from pathlib import Path

import pytest

from data_tools.recordings import event_device
from data_tools.recordings.event_device import EVENT, list_devices
from data_tools.recordings.gamepad import choose_device, find_gamepad


def write_sysfs(
    folder: Path, number: int, *, key: str, name: str = "Pad", driver: str = ""
) -> None:
    device = folder / f"event{number}" / "device"
    (device / "id").mkdir(parents=True)
    (device / "capabilities").mkdir()
    (device / "name").write_text(name + "\n")
    (device / "id" / "vendor").write_text("045e\n")
    (device / "id" / "product").write_text("028e\n")
    (device / "id" / "bustype").write_text("0003\n")
    (device / "id" / "version").write_text("0114\n")
    (device / "capabilities" / "key").write_text(key + "\n")
    (device / "capabilities" / "abs").write_text("3003f\n")
    if driver:
        (folder / "drivers" / driver).mkdir(parents=True)
        (device / "device").mkdir()
        (device / "device" / "driver").symlink_to(folder / "drivers" / driver)


# What a 360 pad's driver shows.
PAD_KEYS = "7cdb000000000000 0 0 0 0"


def test_gamepads_are_found_among_other_devices(tmp_path: Path) -> None:
    write_sysfs(tmp_path, 10, key=PAD_KEYS, name="X-Box 360 pad", driver="xpad")
    write_sysfs(tmp_path, 2, key=PAD_KEYS)
    write_sysfs(tmp_path, 0, key="fffffffffffffffe", name="Keyboard")
    write_sysfs(tmp_path, 1, key="0", name="Motion Sensors")

    second, tenth = list_devices(sys_dir=tmp_path)

    assert [second.path, tenth.path] == [Path("/dev/input/event2"), Path("/dev/input/event10")]
    assert (tenth.name, tenth.vendor, tenth.product) == ("X-Box 360 pad", 0x045E, 0x028E)
    assert (second.driver, tenth.driver) == ("", "xpad")
    assert (tenth.bus, tenth.version) == (3, 0x114)
    assert tenth.axes == {0, 1, 2, 3, 4, 5, 16, 17}
    assert {0x130, 0x131, 0x133, 0x134, 0x136, 0x137} <= tenth.keys
    assert {0x132, 0x135} & tenth.keys == set()


def test_a_pad_that_calls_itself_a_joystick_is_found(tmp_path: Path) -> None:
    write_sysfs(tmp_path, 0, key="fff00000000 0 0 0 0", name="USB Gamepad")

    (pad,) = list_devices(sys_dir=tmp_path)

    assert pad.keys == set(range(0x120, 0x12C))


def test_of_a_pad_and_a_flight_stick_the_pad_is_meant(tmp_path: Path) -> None:
    write_sysfs(tmp_path, 0, key="fff00000000 0 0 0 0", name="Flight Stick")
    write_sysfs(tmp_path, 1, key=PAD_KEYS)
    stick, pad = list_devices(sys_dir=tmp_path)

    assert choose_device([stick, pad], None) == pad
    assert choose_device([stick], None) == stick
    assert choose_device([stick, pad], stick.path) == stick
    with pytest.raises(ValueError, match="choose a gamepad with --device; there are"):
        choose_device([pad, stick, pad], None)


def test_a_name_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    write_sysfs(tmp_path, 0, key=PAD_KEYS, name="\x1b[2Jpad" + "x" * 500)

    assert list_devices(sys_dir=tmp_path)[0].name == "[2Jpad" + "x" * 74


def test_the_layouts_are_the_kernels() -> None:
    """As `linux/input.h` gives them on x86-64 and arm64."""
    assert EVENT.size == 24
    assert event_device._EVIOCGKEY == 0x80604518
    assert event_device._EVIOCSCLOCKID == 0x400445A0
    assert event_device._read_request(0x40, event_device._ABS_INFO.size) == 0x80184540


def test_a_path_that_is_no_gamepad_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no gamepad; there are"):
        find_gamepad(tmp_path)
