import fcntl
import os
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from nitrogen_train.runtime import progress
from nitrogen_train.runtime.progress import Progress, track, waiting, write_line


def test_a_pipe_gets_one_line_at_the_end_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(track(range(200), label="verify", unit="clip", total=200)) == list(range(200))

    assert capsys.readouterr().err == "verify: 200/200 clips in 0:00\n"


def test_long_work_gets_a_line_now_and_then_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 100_000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))

    for _ in track(range(1000), label="judge", unit="clip", total=1000):
        pass

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("judge: 3/1000 clips, eta ")
    # An hour and more: at most a line a minute once it has lasted ten.
    assert 60 < len(lines) < 100
    assert all(line.isprintable() for line in lines)


def test_work_without_a_known_end_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 100_000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))

    with Progress(total=None, label="film doom", unit="frame") as shown:
        for _ in range(5):
            shown.update()

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["film doom: 3 frames, after 0:12", "film doom: 5 frames in 0:24"]


def test_nothing_to_do_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not list(track([], label="check", unit="recording", total=0))

    assert capsys.readouterr().err == ""


def test_what_failed_ends_with_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Progress(total=3, label="play", unit="episode") as shown:
            shown.update(2)
            raise ValueError("the game has crashed")

    with pytest.raises(ValueError, match="crashed"):
        fail()

    assert capsys.readouterr().err.startswith("play: 2/3 episodes in ")


def test_a_long_wait_says_what_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_NOTICEABLE_S", 0.0)
    told = threading.Event()
    monkeypatch.setattr(progress, "write_line", lambda text: (write_line(text), told.set()))

    with waiting("loading the policy"):
        assert told.wait(600)

    assert capsys.readouterr().err == "loading the policy ...\n"


def test_a_short_wait_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_NOTICEABLE_S", 60.0)

    with waiting("loading the policy"):
        pass

    assert capsys.readouterr().err == ""


def _read_to(leader: int, stream: TextIO) -> str:
    """Read what was written up to now; the kernel hands it over a little later."""
    stream.write("\0")
    stream.flush()
    read = b""
    while not read.endswith(b"\0"):
        read += os.read(leader, 1 << 16)
    return read.rstrip(b"\0").decode()


@pytest.fixture
def in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Callable[[], str]]]:
    """Stand standard error in a terminal of some columns; returns what reads its screen."""
    leader, follower = os.openpty()
    stream = os.fdopen(follower, "w", encoding="utf-8", buffering=1)

    def open_terminal(columns: int) -> Callable[[], str]:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        monkeypatch.setattr(sys, "stderr", stream)
        return lambda: _read_to(leader, stream)

    yield open_terminal
    stream.close()
    os.close(leader)


@pytest.mark.parametrize("columns", [0, 30, 80])
def test_a_bar_fits_its_terminal(
    columns: int, in_a_terminal: Callable[[int], Callable[[], str]]
) -> None:
    read = in_a_terminal(columns)

    with Progress(total=40, label="play", unit="episode") as shown:
        shown.update(20, note="doom_defend expert 24.45, and as much again behind it")

    drawn = read().replace("\n", "\r").split("\r")
    assert any("20/40" in line for line in drawn) or columns == 30
    assert max(map(len, drawn)) <= (columns or 80)


def test_a_bar_without_a_known_end_counts(
    in_a_terminal: Callable[[int], Callable[[], str]],
) -> None:
    read = in_a_terminal(80)

    with Progress(total=None, label="film doom", unit="frame") as shown:
        shown.update(3)

    assert "film doom 3 frames, " in read()


def test_no_module_but_one_draws_bars() -> None:
    root = Path(progress.__file__).parents[2]
    files = [
        path
        for package in ("nitrogen_train", "data_tools", "benchmarks", "examples")
        for path in (root / package).rglob("*.py")
        if "tqdm" in path.read_text(encoding="utf-8")
    ]

    assert sorted(path.relative_to(root).as_posix() for path in files) == [
        "nitrogen_train/runtime/progress.py",
        "nitrogen_train/training/training_progress.py",
    ]
