import os
import signal
from pathlib import Path

import pytest

from nitrogen_train.runtime.interrupts import (
    Interrupted,
    interruptible,
    is_command,
    uninterrupted,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_the_block_and_says_its_line(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    # Tests that a script runs in its background would ignore Ctrl-C.
    inherited = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted) as interrupt, interruptible("go on by starting again"):
            os.kill(os.getpid(), number)
        after = signal.getsignal(number)
    finally:
        signal.signal(number, inherited)

    assert interrupt.value.code == 128 + number
    assert capsys.readouterr().err == "go on by starting again\n"
    assert after is signal.default_int_handler


def test_a_signal_waits_for_the_end_of_what_must_be_whole() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []

    def work() -> None:
        with interruptible("said"), uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the rest")

    try:
        with pytest.raises(Interrupted):
            work()
    finally:
        signal.signal(signal.SIGINT, before)

    assert done == ["the rest"]


def test_what_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible("not said"):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("/venv/bin/nitrogen-train", True),
        (str(ROOT / "data_tools" / "__main__.py"), True),
        ("/home/me/nitrogen_train/my_script.py", False),
        ("/venv/bin/pytest", False),
        ("/venv/ipykernel_launcher.py", False),
        ("-c", False),
    ],
)
def test_commands_are_told_from_notebooks_and_tests(
    monkeypatch: pytest.MonkeyPatch, argument: str, expected: bool
) -> None:
    monkeypatch.setattr("sys.argv", [argument])

    assert is_command() is expected


@pytest.mark.parametrize(("module", "expected"), [("data_tools", True), ("my_package.run", False)])
def test_a_module_that_is_started_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, module: str, expected: bool
) -> None:
    monkeypatch.setattr("sys.argv", ["-m"])
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", module, "verb"])

    assert is_command() is expected
