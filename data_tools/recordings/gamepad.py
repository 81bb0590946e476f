"""Follow a gamepad's state over time, and show it to a person.

    events ─► packets, closed by SYN_REPORT ─► state of all controls, with the kernel's time
      ─► a recorder, or `gamepads --watch`: one line redrawn on a terminal, else a line per change

Where the kernel has dropped events (SYN_DROPPED), the state is read again, and the time in between
is reported as unknown: no state is made up.
"""

import select
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from data_tools.recordings.event_device import (
    BTN_SOUTH,
    EV_ABS,
    EV_KEY,
    EV_SYN,
    SYN_DROPPED,
    SYN_REPORT,
    DeviceDescription,
    Event,
    EventDevice,
    EventSource,
    RawState,
    code_name,
    list_devices,
    read_events,
)
from data_tools.recordings.pad_layout import PadLayout, build_layout, describe_pad
from data_tools.recordings.pad_map import read_pad_map
from nitrogen_train.runtime.atomic_files import describe_error

NO_GAMEPAD = (
    "no gamepad is connected: plug one in or pair it and try again; over ssh and in a container "
    "only pads of that machine are seen"
)

_LOOK_UP_S = 0.05
_STICK_REST = 0.1
"""Share of a stick's way: sticks tremble, and less than this is not shown."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Controls that took new values at one moment."""

    time_ns: int
    """On CLOCK_MONOTONIC; never before an earlier change."""
    controls: dict[str, float]
    unknown_since_ns: int | None = None
    """Time from which events were lost: the pad is unknown from here to `time_ns`."""


class Gamepad:
    """Reads a device as controls by name."""

    def __init__(self, source: EventSource, *, pad_map: str | None = None) -> None:
        """Ask the device what it holds.

        Args:
            source: The open device.
            pad_map: What the person says of its layout, as `--pad-map`.

        Raises:
            ValueError: If it is no gamepad, or the device has not what the person says.
        """
        self._source = source
        state = source.read_state()
        self.layout = build_layout(source.description, state, pad_map=pad_map)
        """Layout of the pad: which input is which control."""
        self.initial = Change(time_ns=state.time_ns, controls=self.layout.name_state(state))
        """Every control of the pad, when it was opened."""
        self._last_ns = state.time_ns
        self._packet: dict[str, float] = {}
        self._is_lost = False

    @property
    def name(self) -> str:
        """Return the description of the gamepad and its layout, in one line."""
        return describe_pad(self._source.description, self.layout)

    def fileno(self) -> int:
        """Name the descriptor to wait on."""
        return self._source.fileno()

    def read(self) -> list[Change]:
        """Read the changes that have arrived, without waiting for more.

        Raises:
            OSError: If the device has been unplugged.
        """
        changes = [self._follow(event) for event in read_events(self._source)]
        return [change for change in changes if change is not None]

    def _follow(self, event: Event) -> Change | None:
        if event.kind != EV_SYN:
            self._packet |= self.layout.name(event)
            return None
        if event.code == SYN_DROPPED:
            self._is_lost = True
        if event.code != SYN_REPORT:
            return None
        packet, self._packet = self._packet, {}
        if self._is_lost:
            # The rest of a packet that has lost events means nothing.
            self._is_lost = False
            state, since_ns = self._source.read_state(), self._last_ns
            self._last_ns = max(since_ns, state.time_ns)
            held = self.layout.name_state(state)
            return Change(time_ns=self._last_ns, controls=held, unknown_since_ns=since_ns)
        # Events that waited while the state was read are older than it.
        self._last_ns = max(self._last_ns, event.time_ns)
        return Change(time_ns=self._last_ns, controls=packet) if packet else None


def find_gamepad(path: Path | None, *, pad_map: str | None = None) -> EventDevice:
    """Open a gamepad.

    Args:
        path: `/dev/input/eventN`, or a link to it; None takes the only gamepad that there is.
        pad_map: What the person says of its layout; a mistake in it is told before a missing pad.

    Raises:
        FileNotFoundError: If there is none, or not this one.
        ValueError: If there are several to choose from, or `pad_map` cannot be read.
        PermissionError: If this user may not read it.
    """
    if pad_map:
        read_pad_map(pad_map)
    return EventDevice(choose_device(list_devices(), path))


def choose_device(devices: Sequence[DeviceDescription], path: Path | None) -> DeviceDescription:
    """Choose a gamepad of those that are plugged in; a joystick beside a single pad is not meant.

    Args:
        devices: All of them.
        path: The one that is wanted, or a link to it; None takes the only one.

    Raises:
        FileNotFoundError: If there is none, or not this one.
        ValueError: If there are several to choose from.
    """
    if path is not None:
        chosen = [device for device in devices if device.path == path.resolve()]
        if not chosen:
            raise FileNotFoundError(f"{path} is no gamepad; {_describe_choice(devices)}")
        return chosen[0]
    devices = [device for device in devices if BTN_SOUTH in device.keys] or devices
    if not devices:
        raise FileNotFoundError(NO_GAMEPAD)
    if len(devices) > 1:
        raise ValueError(f"choose a gamepad with --device; {_describe_choice(devices)}")
    return devices[0]


def _describe_choice(devices: Sequence[DeviceDescription]) -> str:
    return "there are " + (", ".join(f"{d.path} ({d.name})" for d in devices) or "none")


def watch_pad(source: EventSource, layout: PadLayout, out: TextIO, *, stop: threading.Event) -> str:
    """Show controls, with the codes that they come from, as they change.

    Args:
        source: The open device.
        layout: Which input is which control.
        out: Where to.
        stop: Set when it is enough.

    Returns:
        Why it ended: told to, or unplugged.
    """
    view = _View(layout, out)
    view.show_state(source.read_state())
    while not stop.is_set():
        if not select.select([source], [], [], _LOOK_UP_S)[0]:
            continue
        try:
            news = _read(source)
        except OSError as error:
            return f"{view.end()}unplugged: {describe_error(error)}"
        for event in news:
            view.show_state(event) if isinstance(event, RawState) else view.show(event)
    return f"{view.end()}stopped"


def _read(source: EventSource) -> list[Event | RawState]:
    """Read the events that have arrived; where some were lost, what the pad holds now."""
    events = read_events(source)
    if any((event.kind, event.code) == (EV_SYN, SYN_DROPPED) for event in events):
        return [source.read_state()]
    return [*events]


class _View:
    def __init__(self, layout: PadLayout, out: TextIO) -> None:
        self._layout, self._out = layout, out
        self._is_terminal = out.isatty()
        self._shown: dict[str, str] = {}

    def show_state(self, state: RawState) -> None:
        self._show_controls(self._layout.name_state(state))

    def show(self, event: Event) -> None:
        if controls := self._layout.name(event):
            self._show_controls(controls)
        elif event.kind in (EV_KEY, EV_ABS):
            self._put(f"{code_name(event.kind, event.code)} (no control)", str(event.value))

    def end(self) -> str:
        """Leave the redrawn line where it is; returns what must be written for that."""
        return "\n" if self._is_terminal else ""

    def _show_controls(self, controls: dict[str, float]) -> None:
        for name, value in controls.items():
            rests = "STICK" in name and abs(value) < _STICK_REST
            text = "0" if rests else f"{value:.2f}".rstrip("0").rstrip(".")
            self._put(f"{name} ({self._layout.inputs[name]})", text)

    def _put(self, what: str, text: str) -> None:
        if self._shown.get(what, "0") == text:
            return
        # The last that changed stands last.
        self._shown.pop(what, None)
        self._shown[what] = text
        if self._is_terminal:
            self._redraw()
        else:
            self._out.write(f"{what} {text}\n")
            self._out.flush()

    def _redraw(self) -> None:
        held = [f"{what} {text}" for what, text in self._shown.items() if text != "0"]
        # A wrapped line could not be redrawn; what came last is what is looked for.
        width = shutil.get_terminal_size().columns - 1
        self._out.write(f"\r\x1b[K{'  '.join(reversed(held))[:width]}")
        self._out.flush()
