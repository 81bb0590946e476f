"""Shows what is pressed on a gamepad, so that a person sees whether its layout is right.

On a terminal one line is redrawn with everything that is held; elsewhere each change is a line.
"""

import select
import shutil
import threading
from typing import TextIO

from data_tools.capture.event_codes import code_name
from data_tools.capture.event_device import (
    EV_ABS,
    EV_KEY,
    EV_SYN,
    SYN_DROPPED,
    Event,
    EventSource,
    RawState,
    read_events,
)
from data_tools.capture.pad_layout import PadLayout
from nitrogen_train.data.files import describe_error

_LOOK_UP_S = 0.05
_STICK_REST = 0.1
"""Of a stick's way: sticks tremble, and that is not shown."""


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
