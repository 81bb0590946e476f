"""Read Linux input devices (evdev): their description, their state and their events.

The module needs no library: an event is 24 bytes, sysfs describes a device even to those who may
not open it, and three ioctls do the rest. The library python-evdev is not used, since it has no
wheels (its copy evdev-binary has some, for x86_64 alone), and it neither sets a device's clock to
CLOCK_MONOTONIC nor lists a pad that this user may not open. The layouts are those of 64-bit Linux,
`include/uapi/linux/input.h` of the kernel.

Names of codes are those of `include/uapi/linux/input-event-codes.h`. Only codes that occur on pads
have a name; any other code is written as its number, such as BTN_0x2c0.
"""

import fcntl
import os
import re
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from nitrogen_train.runtime.atomic_files import did_you_mean

EV_SYN, EV_KEY, EV_ABS = 0x00, 0x01, 0x03
SYN_REPORT, SYN_DROPPED = 0, 3
EVENT = struct.Struct("@llHHi")
"""`struct input_event`: seconds, microseconds, type, code, value."""

_ABS_INFO = struct.Struct("@6i")
_KEY_BYTES = 96
_EVENTS_AT_ONCE = 64

_EVIOCSCLOCKID = 0x40000000 | 4 << 16 | ord("E") << 8 | 0xA0

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


def _read_request(number: int, size: int) -> int:
    return 0x80000000 | size << 16 | ord("E") << 8 | number


_EVIOCGKEY = _read_request(0x18, _KEY_BYTES)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event, as the kernel stamped it."""

    time_ns: int
    """On CLOCK_MONOTONIC, to the microsecond."""
    kind: int
    code: int
    value: int


@dataclass(frozen=True, kw_only=True)
class DeviceDescription:
    """The description of a device in sysfs."""

    path: Path
    """Path of the device, for example `/dev/input/event5`."""
    name: str
    vendor: int
    product: int
    driver: str
    """The kernel module that speaks to it, or nothing."""
    keys: frozenset[int]
    """Codes of its buttons."""
    axes: frozenset[int]
    """Codes of its axes."""
    bus: int = 0
    """Bus of the device, for example 3 for USB and 5 for Bluetooth; 0 if that is not known."""
    version: int = 0
    """Its own, or its driver's."""

    @property
    def is_gamepad(self) -> bool:
        """Tell whether it has BTN_SOUTH, as the kernel has it by convention, or is a joystick.

        Old and cheap pads call themselves joysticks: they have BTN_TRIGGER, ABS_X and ABS_Y.
        """
        return 0x130 in self.keys or (0x120 in self.keys and {0x00, 0x01} <= self.axes)


@dataclass(frozen=True, kw_only=True)
class AxisState:
    """An axis: where it is, and the device's own range."""

    value: int
    minimum: int
    maximum: int
    flat: int = 0
    """The dead zone that the driver suggests and does not apply."""


@dataclass(frozen=True, kw_only=True)
class RawState:
    """Everything that a device holds at one moment."""

    time_ns: int
    pressed: frozenset[int]
    axes: dict[int, AxisState]


@runtime_checkable
class EventSource(Protocol):
    """A device that is open."""

    description: DeviceDescription

    def fileno(self) -> int:
        """Name the descriptor that its events are read from."""
        ...

    def read_state(self) -> RawState:
        """Ask for everything that it holds now."""
        ...


class EventDevice:
    """An input device of this machine, open for reading, with times on CLOCK_MONOTONIC."""

    def __init__(self, description: DeviceDescription) -> None:
        """Open it.

        Raises:
            PermissionError: If this user may not.
            OSError: If it is gone.
        """
        self.description = description
        try:
            self._descriptor = os.open(description.path, os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError as error:
            raise PermissionError(permission_hint(description.path)) from error
        fcntl.ioctl(self._descriptor, _EVIOCSCLOCKID, struct.pack("@i", time.CLOCK_MONOTONIC))

    def fileno(self) -> int:
        """Name the descriptor that its events are read from."""
        return self._descriptor

    def read_state(self) -> RawState:
        """Ask for everything that it holds now.

        Raises:
            OSError: If it has been unplugged.
        """
        pressed = fcntl.ioctl(self._descriptor, _EVIOCGKEY, bytes(_KEY_BYTES))
        axes: dict[int, AxisState] = {}
        for code in sorted(self.description.axes):
            request = _read_request(0x40 + code, _ABS_INFO.size)
            answer = fcntl.ioctl(self._descriptor, request, bytes(_ABS_INFO.size))
            value, minimum, maximum, _, flat, _ = _ABS_INFO.unpack(answer)
            axes[code] = AxisState(value=value, minimum=minimum, maximum=maximum, flat=flat)
        held = _bits(int.from_bytes(pressed, "little"))
        return RawState(time_ns=time.monotonic_ns(), pressed=held, axes=axes)

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def read_events(source: EventSource) -> list[Event]:
    """Read the events that have arrived, without waiting for more.

    Raises:
        OSError: If the device has been unplugged.
    """
    try:
        data = os.read(source.fileno(), EVENT.size * _EVENTS_AT_ONCE)
    except BlockingIOError:
        return []
    if not data:
        raise OSError(f"{source.description.name} has no more events: unplugged?")
    # The kernel gives whole events only; the tail of a cut stream is none.
    whole = len(data) - len(data) % EVENT.size
    return [
        Event(time_ns=seconds * 10**9 + micros * 1000, kind=kind, code=code, value=value)
        for seconds, micros, kind, code, value in EVENT.iter_unpack(data[:whole])
    ]


def list_devices(*, sys_dir: Path = Path("/sys/class/input")) -> list[DeviceDescription]:
    """Describe the gamepads of this machine, whether this user may open them or not.

    Args:
        sys_dir: Where sysfs lists input devices.
    """
    folders = sorted(sys_dir.glob("event*"), key=lambda folder: (len(folder.name), folder.name))
    described = [describe_device(folder) for folder in folders]
    return [device for device in described if device.is_gamepad]


def describe_device(folder: Path) -> DeviceDescription:
    """Read what sysfs says of a device.

    Args:
        folder: For example `/sys/class/input/event5`.
    """
    device = folder / "device"
    driver = device / "device" / "driver"
    name = (device / "name").read_text(errors="replace").strip()
    return DeviceDescription(
        path=Path("/dev/input") / folder.name,
        # It is the device's own, and is printed on a terminal.
        name="".join(letter for letter in name if letter.isprintable())[:80],
        vendor=int((device / "id" / "vendor").read_text(), 16),
        product=int((device / "id" / "product").read_text(), 16),
        driver=driver.resolve().name if driver.exists() else "",
        keys=_read_capabilities(device / "capabilities" / "key"),
        axes=_read_capabilities(device / "capabilities" / "abs"),
        bus=int((device / "id" / "bustype").read_text(), 16),
        version=int((device / "id" / "version").read_text(), 16),
    )


def permission_hint(path: Path) -> str:
    """Say how to be allowed to read a device."""
    return (
        f"{path} may not be read by this user; join its group and log in again: "
        "sudo usermod -aG input $USER"
    )


def _read_capabilities(path: Path) -> frozenset[int]:
    """Read a bitmap that sysfs prints as 64-bit words, the highest first, without leading zeros."""
    words = path.read_text().split()
    return _bits(int("".join(word.zfill(16) for word in words) or "0", 16))


def _bits(number: int) -> frozenset[int]:
    return frozenset(bit for bit in range(number.bit_length()) if number >> bit & 1)


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
    hint = did_you_mean(name, _CODES, otherwise="; nitrogen-data gamepads --watch names them")
    raise ValueError(f"{text!r} is no code of a pad{hint}")
