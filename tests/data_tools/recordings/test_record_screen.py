import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipe_pad import PipePad
from tiers import divide

from data_tools.recordings.gamepad import Gamepad
from data_tools.recordings.record_screen import (
    FrameSlots,
    ScreenPart,
    ScreenReport,
    ScreenSession,
    choose_display,
    parse_region,
    parse_window,
    record_screen,
)
from data_tools.recordings.recording import find_recordings
from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_recordings import plan_recording
from data_tools.shards.source_video import read_video_table

PlugIn = Callable[..., PipePad]
HERE = Path(__file__).parent

needs_x = pytest.mark.skipif(not shutil.which("Xvfb"), reason="Xvfb is not installed")
needs_tk = pytest.mark.skipif(
    importlib.util.find_spec("_tkinter") is None, reason="this Python has no tkinter"
)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A screen of 320x240 without a monitor."""
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "320x240x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        number = answer.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait()


def record(
    folder: Path, display: str, pad: PipePad, *, part: dict[str, Any] | None = None, **changes: Any
) -> ScreenReport:
    session: dict[str, Any] = {
        "part": ScreenPart(display=display, **(part or {})),
        "fps": 30.0,
        "out_dir": folder,
        "name": "play",
        "game": "flash",
        "session_id": "play",
        "source": "mine",
        "licence": "CC0-1.0",
        "seconds": 0.3,
    }
    stop = changes.pop("stop", threading.Event())
    return record_screen(ScreenSession(**(session | changes)), Gamepad(pad), stop=stop)


@needs_x
@needs_tk
# In real time, so not where others use the cores.
@pytest.mark.full
def test_a_press_is_where_the_picture_shows_it(
    tmp_path: Path, plug_in: PlugIn, display: str
) -> None:
    pad, num_presses = plug_in(), 8
    player = subprocess.Popen(
        [sys.executable, str(HERE / "screen_player.py"), str(pad._write_end), str(num_presses)],
        pass_fds=[pad._write_end],
        env=os.environ | {"DISPLAY": display},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert player.stdout is not None
    assert player.stdout.readline() == "ready\n"
    report = record(tmp_path, display, pad, seconds=4.5)
    player.communicate()
    assert player.returncode == 0

    (recording,) = find_recordings([tmp_path])
    unit = plan_recording(recording, settings=ShardSettings(size=64))
    assert sum(clip.metadata.num_frames for clip in unit.clips) == report.slots.num_frames
    video = read_video_table(recording.video_path)
    frames = [frame.to_ndarray(format="gray").mean() > 128 for frame in video.read()]
    frame_times = video.edges_ns(report.facts.video_start_ns)[:-1]
    turned_white = frame_times[np.flatnonzero(np.diff(frames, prepend=False) & frames)]
    log = [json.loads(line) for line in recording.log_path.read_text().splitlines()]
    pressed = np.array([row["t_ns"] for row in log if row["controls"] == {"SOUTH": 1.0}])
    assert len(turned_white) == len(pressed) == num_presses
    # A frame shows it if it was taken after it, so from 0 to 33 ms later.
    delays_ms = (turned_white - pressed) / 1e6
    assert -17 < np.median(delays_ms) < 50, delays_ms


@needs_x
def test_a_screen_becomes_a_recording_with_a_constant_rate(
    tmp_path: Path, plug_in: PlugIn, display: str
) -> None:
    report = record(tmp_path, display, plug_in(), fps=20.0)

    (recording,) = find_recordings([tmp_path])
    facts, video = recording.read_facts(), read_video_table(recording.video_path)
    assert facts == report.facts
    assert (facts.game, facts.source, facts.stick_y_axis) == ("flash", "mine", "down")
    assert facts.device.startswith("Pipe Pad (045e:028e xpad), layout by its driver's convention")
    assert (video.width, video.height, len(video)) == (320, 240, report.slots.num_frames)
    assert len(video) >= 5
    np.testing.assert_allclose(np.diff(video.edges_ns(0)) / 1e9, 0.05, atol=1e-6)
    rows = [json.loads(line) for line in recording.log_path.read_text().splitlines()]
    assert rows[0]["t_ns"] < facts.video_start_ns <= rows[-1]["t_ns"]
    assert rows[-1]["controls"] == {}
    assert abs(facts.video_start_ns - time.monotonic_ns()) < 600e9


@needs_x
@pytest.mark.parametrize(
    ("part", "changes", "size"),
    [
        ({"region": (64, 48, 10, 20)}, {}, (64, 48)),
        ({}, {"size": 96}, (96, 96)),
    ],
    ids=["region", "squashed"],
)
def test_a_part_of_the_screen(
    tmp_path: Path,
    plug_in: PlugIn,
    display: str,
    part: dict[str, Any],
    changes: dict[str, Any],
    size: tuple[int, int],
) -> None:
    record(tmp_path, display, plug_in(), part=part, **changes)

    video = read_video_table(tmp_path / "play.mp4")
    assert (video.width, video.height) == size


@needs_x
def test_lost_events_are_not_learned_from(tmp_path: Path, plug_in: PlugIn, display: str) -> None:
    pad = plug_in()
    pad.send((0, 3, 0))

    report = record(tmp_path, display, pad)

    ((start_ns, stop_ns),) = report.facts.disturbed_ns
    assert start_ns < stop_ns
    assert find_recordings([tmp_path])[0].read_facts().disturbed_ns == ((start_ns, stop_ns),)


@needs_x
def test_an_unplugged_pad_ends_the_recording_and_keeps_it(
    tmp_path: Path, plug_in: PlugIn, display: str
) -> None:
    pad = plug_in()
    growing = tmp_path / ".play.mp4.part"

    def unplug_once_it_runs() -> None:
        while not (growing.exists() and growing.stat().st_size > 0):
            time.sleep(0.02)
        pad.unplug()

    hand = threading.Thread(target=unplug_once_it_runs)
    hand.start()

    report = record(tmp_path, display, pad, seconds=60.0)

    hand.join()
    assert "gamepad lost" in report.ended_by
    assert len(find_recordings([tmp_path])) == 1


@needs_x
def test_a_recording_is_not_overwritten(tmp_path: Path, plug_in: PlugIn, display: str) -> None:
    record(tmp_path, display, plug_in())

    with pytest.raises(FileExistsError, match=r"play.json exists; choose another --name or --out"):
        record(tmp_path, display, plug_in())


@needs_x
@pytest.mark.parametrize(
    "part", [{"region": (320, 240, 10, 0)}, {"window_id": 0x123456}], ids=["region", "window"]
)
def test_what_is_not_on_the_screen_is_refused(
    tmp_path: Path, plug_in: PlugIn, display: str, part: dict[str, Any]
) -> None:
    with pytest.raises(OSError, match="does the region or the window lie on the screen"):
        record(tmp_path, display, plug_in(), part=part)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipe_pad import PipePad
from data_tools.recordings.gamepad import Gamepad
from data_tools.recordings.record_screen import ScreenSession, record_screen, stop_on_signals
from data_tools.recordings.record_screen import ScreenPart
with stop_on_signals() as stop:
    session = ScreenSession(
        part=ScreenPart(display=sys.argv[2]), fps=30.0, out_dir=Path(sys.argv[3]), name="play",
        game="flash", session_id="play", source="mine", licence="unknown")
    print(record_screen(session, Gamepad(PipePad()), stop=stop).ended_by)
"""


@needs_x
@pytest.mark.parametrize(
    "number",
    divide([signal.SIGKILL, signal.SIGINT, signal.SIGTERM], slow=[signal.SIGKILL]),
)
def test_what_a_signal_leaves_behind(tmp_path: Path, display: str, number: signal.Signals) -> None:
    recorder = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(HERE), display, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    growing = tmp_path / ".play.mp4.part"
    while not (growing.exists() and growing.stat().st_size > 0):
        assert recorder.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    recorder.send_signal(number)
    output, _ = recorder.communicate()

    if number == signal.SIGKILL:
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    else:
        assert output == "stopped\n"
        assert len(find_recordings([tmp_path])) == 1


def test_late_pictures_are_made_up_for_by_repetition() -> None:
    slots = FrameSlots(fps=10.0)

    placed = [slots.place(10**9 + ms * 10**6) for ms in (0, 95, 390, 400, 610)]

    assert placed == [0, 0, 2, None, 1]
    assert (slots.num_frames, slots.num_repeated, slots.num_surplus) == (7, 3, 1)
    assert slots.largest_error_ns == 10_000_000


@pytest.mark.parametrize("text", ["", "1x1+0+0", "640x480", "-4x4+0+0", "640x480+-1+0", "axb+0+0"])
def test_a_malformed_region_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a region is WxH\+X\+Y"):
        parse_region(text)


def test_an_odd_region_is_made_even() -> None:
    assert parse_region("641x481+3+5") == (640, 480, 3, 5)


def test_a_window_is_named_by_its_number() -> None:
    assert parse_window("0x10") == parse_window("16") == 16
    with pytest.raises(ValueError, match="a window is named by its id"):
        parse_window("Firefox")


def test_wayland_is_said_to_be_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with pytest.raises(ValueError, match="this is a Wayland session"):
        choose_display(None)
    assert choose_display(":5") == ":5"
    monkeypatch.delenv("XDG_SESSION_TYPE")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ValueError, match=r"\$DISPLAY is not set; name one with --display"):
        choose_display(None)
