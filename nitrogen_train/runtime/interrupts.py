"""End a command cleanly at Ctrl-C and at a polite kill.

    imports and checks    ends at once, with one line: nothing is under way
    `interruptible`       unwinds, so that files and processes are cleaned up, then one line
    a training            saves at the end of the step; see `training/preemption.py`

A second signal ends the process at once, wherever it is; its workers end with it
(`runtime/processes.py`).
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_PACKAGES = ("nitrogen_train", "data_tools", "benchmarks", "examples")
_line = "interrupted"


class Interrupted(SystemExit):
    """Unwinds a command that has been told to end; nobody prints a traceback of it."""

    def __init__(self, number: int) -> None:
        """Choose the exit status, as a shell would.

        Args:
            number: The signal's.
        """
        super().__init__(128 + number)
        self.number = number


def is_command() -> bool:
    """Tell whether this process is one of the project's commands, not a notebook or a test."""
    path, root = Path(sys.argv[0] if sys.argv else ""), Path(__file__).resolve().parents[2]
    if path.name == "-m":
        # A package is imported for `python -m`, maybe somebody else's that imports this one.
        return any(word.partition(".")[0] in _PACKAGES for word in sys.orig_argv)
    ours = {root / name for name in _PACKAGES}
    return path.name.startswith("nitrogen-") or path.resolve().parent in ours


def listen_from_the_start() -> None:
    """End at Ctrl-C without a traceback from now on, also amid the imports."""
    # Something that runs in the background of a script ignores Ctrl-C, and should.
    if _is_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def announce(line: str) -> None:
    """Choose what is said when this process ends at once."""
    global _line
    _line = line


def end_at_once(number: int, _frame: object) -> None:
    """Handle a signal while nothing is under way; a forked worker is left alone.

    An exception instead would be lost in a callback of the import system, now and then.
    """
    if multiprocessing.parent_process() is not None:
        return
    # The streams themselves may be in use further up.
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        sys.stdout.flush()
    _leave_the_line()
    os.write(2, f"{_line}\n".encode())
    os._exit(128 + number)


@contextmanager
def interruptible(line: str) -> Iterator[None]:
    """Run a block that Ctrl-C or SIGTERM unwinds; the next such signal ends the process at once.

    Args:
        line: What is said then, for example how to go on; empty where another process says it.

    Raises:
        Interrupted: If a signal came.
    """
    if not _is_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    # What runs in the background of a script ignores Ctrl-C; None belongs to another language.
    before = {each: by for each, by in before.items() if by not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, _unwind)
    try:
        yield
    except Interrupted:
        end_workers()
        sys.stderr.write(f"{line}\n" if line else "")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals wait for the end of a block that must be done whole or not at all.

    A process is started so: a signal in the middle would leave one that nobody knows.
    """
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _NUMBERS if _is_main_thread()}
    caught = {number: by for number, by in handlers.items() if callable(by)}
    for number in caught:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def end_workers() -> None:
    """Tell the processes that work for this one to end, whatever they do."""
    for worker in multiprocessing.active_children():
        worker.terminate()


def _unwind(number: int, _frame: object) -> None:
    if multiprocessing.parent_process() is not None:
        return
    for each in _NUMBERS:
        signal.signal(each, signal.SIG_DFL)
    _leave_the_line()
    raise Interrupted(number)


def _leave_the_line() -> None:
    """Begin a new line on a terminal, which has written ^C into the last one."""
    if os.isatty(2):
        os.write(2, b"\n")


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
