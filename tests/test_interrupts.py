import os
import signal

import pytest

from nitrogen_train.interrupts import Interrupted, interruptible, is_command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_the_block_and_says_its_line(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    with pytest.raises(Interrupted) as interrupt, interruptible("go on by starting again"):
        os.kill(os.getpid(), number)

    assert interrupt.value.code == 128 + number
    assert capsys.readouterr().err == "go on by starting again\n"
    assert signal.getsignal(number) is before


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
        ("-m", True),
        ("/venv/bin/nitrogen-train", True),
        ("/code/data_tools/__main__.py", True),
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
