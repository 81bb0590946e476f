import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
from pipe_pad import XBOX_KEYS, PipePad

from data_tools.recordings.event_device import EV_ABS, EV_KEY, EV_SYN
from data_tools.recordings.gamepad import watch_pad
from data_tools.recordings.pad_layout import build_layout

PlugIn = Callable[..., PipePad]


def watch(pad: PipePad, out: TextIO, *, stop: threading.Event | None = None) -> str:
    layout = build_layout(pad.description, pad.read_state())
    return watch_pad(pad, layout, out, stop=stop or threading.Event())


def watch_lines(
    pad: PipePad, path: Path, *, stop: threading.Event | None = None
) -> tuple[str, list[str]]:
    with path.open("w") as out:
        ended_by = watch(pad, out, stop=stop)
    return ended_by, path.read_text().splitlines()


def test_each_change_is_a_line_where_there_is_no_terminal(tmp_path: Path, plug_in: PlugIn) -> None:
    pad = plug_in(keys=XBOX_KEYS | {0x2C0})
    pad.key(0x133, 1)
    pad.send((EV_KEY, 0x133, 0), (EV_ABS, 0x05, 51), (EV_ABS, 0x00, 600))
    pad.send((0x04, 4, 0x90001), (EV_KEY, 0x2C0, 1))
    pad.axis(0x11, -1)
    pad.axis(0x00, -32768)
    pad.unplug()

    ended_by, lines = watch_lines(pad, tmp_path / "out")

    assert lines == [
        "WEST (BTN_NORTH) 1",
        "WEST (BTN_NORTH) 0",
        "RIGHT_TRIGGER (ABS_RZ) 0.2",
        "BTN_TRIGGER_HAPPY1 (no control) 1",
        "DPAD_UP (-ABS_HAT0Y) 1",
        "LEFT_STICK_X (ABS_X) -1",
    ]
    assert ended_by == "unplugged: Pipe Pad has no more events: unplugged?"


def test_what_is_held_before_is_shown(tmp_path: Path, plug_in: PlugIn) -> None:
    pad, stop = plug_in(), threading.Event()
    pad.pressed = frozenset({0x130})
    stop.set()

    ended_by, lines = watch_lines(pad, tmp_path / "out", stop=stop)

    assert (ended_by, lines) == ("stopped", ["SOUTH (BTN_SOUTH) 1"])


def test_what_the_kernel_dropped_is_asked_for(tmp_path: Path, plug_in: PlugIn) -> None:
    pad = plug_in()
    pad.pressed = frozenset({0x131})
    pad.send((EV_SYN, 3, 0), (EV_KEY, 0x134, 1))
    pad.unplug()

    _, lines = watch_lines(pad, tmp_path / "out")

    assert lines == ["EAST (BTN_EAST) 1"]


def read_all(reader: int) -> str:
    """Read what was written to a terminal that is closed at its other end."""
    text = b""
    # A terminal hands on what it has got so far; Linux says EIO behind the last of it.
    with os.fdopen(reader, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while data := file.read(4096):
            text += data
    return text.decode()


def test_a_terminal_has_one_line_with_what_is_held(plug_in: PlugIn) -> None:
    pad = plug_in()
    pad.key(0x130, 1)
    pad.axis(0x02, 255)
    pad.key(0x130, 0)
    pad.unplug()
    reader, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as out:
        ended_by = watch(pad, out)
    text = read_all(reader)

    assert "\n" not in text
    assert text.split("\r\x1b[K")[1:] == [
        "SOUTH (BTN_SOUTH) 1",
        "LEFT_TRIGGER (ABS_Z) 1  SOUTH (BTN_SOUTH) 1",
        "LEFT_TRIGGER (ABS_Z) 1",
    ]
    assert ended_by.startswith("\nunplugged")


WATCHED = """
import sys
sys.path.insert(0, sys.argv[1])
from pipe_pad import PipePad
from data_tools.recordings.pad_layout import build_layout
from data_tools.recordings.record_screen import stop_on_signals
from data_tools.recordings.gamepad import watch_pad
pad = PipePad()
pad.key(0x130, 1)
with stop_on_signals() as stop:
    print(watch_pad(pad, build_layout(pad.description, pad.read_state()), sys.stdout, stop=stop))
"""


@pytest.mark.slow
def test_ctrl_c_ends_it_on_a_terminal() -> None:
    reader, terminal = pty.openpty()
    command = [sys.executable, "-c", WATCHED, str(Path(__file__).parent)]
    watcher = subprocess.Popen(command, stdout=terminal, stderr=terminal)
    os.close(terminal)
    text = ""
    while "SOUTH" not in text:
        text += os.read(reader, 4096).decode()
    watcher.send_signal(signal.SIGINT)

    assert watcher.wait(timeout=600) == 0
    text += read_all(reader)
    assert re.fullmatch(r"\r\x1b\[KSOUTH \(BTN_SOUTH\) 1\r\nstopped\r\n", text)
