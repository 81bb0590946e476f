"""A gamepad of the kernel's own making, through /dev/uinput."""

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from data_tools.recordings.event_device import EVENT, AxisState

_SET_EVBIT, _SET_KEYBIT, _DEV_SETUP, _ABS_SETUP = 0x40045564, 0x40045565, 0x405C5503, 0x401C5504
_DEV_CREATE, _DEV_DESTROY, _GET_SYSNAME = 0x5501, 0x5502, 0x8040552C


def why_impossible() -> str:
    """Say why this machine makes no virtual devices, or nothing if it does."""
    try:
        os.close(os.open("/dev/uinput", os.O_WRONLY))
    except OSError as error:
        return f"/dev/uinput cannot be opened: {error.strerror}"
    return ""


class VirtualPad:
    def __init__(self, *, name: str, keys: Iterable[int], axes: dict[int, AxisState]) -> None:
        self._descriptor = os.open("/dev/uinput", os.O_WRONLY)
        for kind in (1, 3):
            fcntl.ioctl(self._descriptor, _SET_EVBIT, kind)
        for key in keys:
            fcntl.ioctl(self._descriptor, _SET_KEYBIT, key)
        for code, axis in axes.items():
            span = struct.pack("@6i", axis.value, axis.minimum, axis.maximum, 0, axis.flat, 0)
            fcntl.ioctl(self._descriptor, _ABS_SETUP, struct.pack("@Hxx24s", code, span))
        setup = struct.pack("@4H80sI", 3, 0x045E, 0x028E, 1, name.encode(), 0)
        fcntl.ioctl(self._descriptor, _DEV_SETUP, setup)
        fcntl.ioctl(self._descriptor, _DEV_CREATE)
        sys_name = fcntl.ioctl(self._descriptor, _GET_SYSNAME, bytes(64)).rstrip(b"\0").decode()
        (node,) = Path("/sys/devices/virtual/input", sys_name).glob("event*")
        self.path = Path("/dev/input", node.name)
        # udev makes the node, and its owner, a moment later.
        deadline = time.monotonic() + 5
        while not os.access(self.path, os.R_OK) and time.monotonic() < deadline:
            time.sleep(0.02)

    def send(self, *events: tuple[int, int, int]) -> None:
        packet = [*events, (0, 0, 0)]
        os.write(self._descriptor, b"".join(EVENT.pack(0, 0, *event) for event in packet))

    def unplug(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._descriptor, _DEV_DESTROY)
            os.close(self._descriptor)
            self._descriptor = -1
