"""A gamepad whose events come through a pipe, byte for byte as from the kernel."""

import os
import time
from pathlib import Path
from typing import Any

from data_tools.recordings.event_device import (
    EV_ABS,
    EV_KEY,
    EV_SYN,
    EVENT,
    AxisState,
    DeviceDescription,
    RawState,
)

XBOX_KEYS = frozenset({0x130, 0x131, 0x133, 0x134, 0x136, 0x137, 0x13A, 0x13B, 0x13C, 0x13D, 0x13E})


def stick(value: int = 0) -> AxisState:
    return AxisState(value=value, minimum=-32768, maximum=32767, flat=128)


def trigger(value: int = 0) -> AxisState:
    return AxisState(value=value, minimum=0, maximum=255)


def hat(value: int = 0) -> AxisState:
    return AxisState(value=value, minimum=-1, maximum=1)


def xbox_axes() -> dict[int, AxisState]:
    sticks = {code: stick() for code in (0x00, 0x01, 0x03, 0x04)}
    return sticks | {0x02: trigger(), 0x05: trigger(), 0x10: hat(), 0x11: hat()}


class PipePad:
    def __init__(
        self,
        *,
        keys: frozenset[int] = XBOX_KEYS,
        axes: dict[int, AxisState] | None = None,
        **description: Any,
    ) -> None:
        self.axes = xbox_axes() if axes is None else axes
        self.pressed: frozenset[int] = frozenset()
        said: dict[str, Any] = {
            "path": Path("/dev/input/event5"),
            "name": "Pipe Pad",
            "vendor": 0x045E,
            "product": 0x028E,
            "driver": "xpad",
        }
        self.description = DeviceDescription(
            **(said | description), keys=keys, axes=frozenset(self.axes)
        )
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def fileno(self) -> int:
        return self._read_end

    def read_state(self) -> RawState:
        return RawState(time_ns=time.monotonic_ns(), pressed=self.pressed, axes=dict(self.axes))

    def send(self, *events: tuple[int, int, int], time_ns: int | None = None) -> int:
        """Send (kind, code, value) and close the packet; returns its time."""
        now_ns = time.monotonic_ns() if time_ns is None else time_ns
        seconds, rest_ns = divmod(now_ns, 10**9)
        packet = [*events, (EV_SYN, 0, 0)]
        os.write(
            self._write_end,
            b"".join(EVENT.pack(seconds, rest_ns // 1000, *event) for event in packet),
        )
        return seconds * 10**9 + rest_ns // 1000 * 1000

    def key(self, code: int, value: int, **when: int) -> int:
        return self.send((EV_KEY, code, value), **when)

    def axis(self, code: int, value: int, **when: int) -> int:
        return self.send((EV_ABS, code, value), **when)

    def write(self, data: bytes) -> None:
        os.write(self._write_end, data)

    def unplug(self) -> None:
        os.close(self._write_end)
        self._write_end = -1

    def close(self) -> None:
        os.close(self._read_end)
        if self._write_end >= 0:
            os.close(self._write_end)
