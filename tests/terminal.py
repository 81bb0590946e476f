"""Commands in the foreground of a terminal, where Ctrl-C reaches the whole process group.

    this process ─► pty ─► a leader, as a shell is ─► the command's process group, in the foreground

The leader outlives the command: if the leader of a session ends, the kernel hangs up on the rest,
which would hide a process that has been left behind.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

TIMEOUT_S = float(os.environ.get("NITROGEN_TEST_TIMEOUT_S", "120"))
"""Longer than anything takes on a busy machine; what takes longer hangs."""
_HERE = Path(__file__).parent
_PATHS = [str(_HERE / name) for name in ("stops", "training", "evaluation", "data_tools")]
_MARK = "NITROGEN_TEST_TERMINAL"

_LEADER = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGTTOU, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)

def come_to_the_foreground():
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    for number in (signal.SIGINT, signal.SIGTTOU, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

news, orders = int(sys.argv[1]), int(sys.argv[2])
command = subprocess.Popen(sys.argv[3:], preexec_fn=come_to_the_foreground)
os.write(news, b"%d\\n" % command.pid)
status = command.wait()
os.write(1, b"\\0")  # Behind all that the command has written.
os.write(news, b"%d\\n" % status)
os.read(orders, 1)
"""


class Terminal:
    """A command that runs in a terminal of 80 columns, and can be stopped at a place."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._mark = uuid.uuid4().hex
        self._shm = _list_shm()
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, 0x5414, b"\x18\0\x50\0\0\0\0\0")  # TIOCSWINSZ: 24 lines of 80
        self._news, news = os.pipe()
        orders, self._orders = os.pipe()
        self._leader = subprocess.Popen(
            [sys.executable, "-S", "-c", _LEADER, str(news), str(orders), *command],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=folder,
            pass_fds=(news, orders), env={**environment, _MARK: self._mark},
        )  # fmt: skip
        for descriptor in (slave, news, orders):
            os.close(descriptor)
        self._written = b""
        threading.Thread(target=self._read, daemon=True).start()
        self.pid = int(os.read(self._news, 32))

    @property
    def output(self) -> str:
        return self._written.replace(b"\0", b"").decode(errors="replace").replace("\r\n", "\n")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def kill(self, number: signal.Signals) -> None:
        """Signal the command's first process alone."""
        os.kill(self.pid, number)

    def until(self, holds: Callable[[], object]) -> None:
        wait_until(holds, lambda: self.output, or_end=self.has_ended)

    def wait_at_the_place(self) -> None:
        """Wait until a process has come to STOP_AT."""
        self.until((self._folder / "reached").exists)

    def go_on(self) -> None:
        (self._folder / "go").touch()

    def has_ended(self) -> bool:
        return not Path(f"/proc/{self.pid}/stat").exists()

    def wait(self) -> int:
        """Wait for the command's end; its status as subprocess has it."""
        wait_until(self.has_ended, lambda: f"hangs\n{self._describe()}\n{self.output}")
        # The kernel hands over what was written a little later.
        wait_until(lambda: b"\0" in self._written, lambda: self.output)
        return int(os.read(self._news, 32))

    def assert_nothing_is_left(self) -> None:
        """No process that the command has started, wherever, and no shared memory."""
        wait_until(lambda: not self._find_processes(), self._describe)
        wait_until(lambda: not self._find_leaks(), lambda: f"in /dev/shm: {self._find_leaks()}")

    def close(self) -> None:
        for pid in self._find_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.write(self._orders, b"\n")
        self._leader.wait()
        for descriptor in (self._master, self._news, self._orders):
            os.close(descriptor)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self._written += data

    def _find_processes(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(folder.name) != self._leader.pid and mark in (
                    folder / "environ"
                ).read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def _find_leaks(self) -> set[str]:
        """Find what is new and nobody uses; other tests have theirs, with other names."""
        new = {
            name
            for name in _list_shm() - self._shm
            if not name.startswith("sem.mp-") or self._mark in name
        }
        used = ""
        for folder in Path("/proc").glob("[0-9]*") if new else ():
            with contextlib.suppress(OSError):
                used += (folder / "maps").read_text()
                used += " ".join(str(each.readlink()) for each in (folder / "fd").iterdir())
        return {name for name in new if f"/dev/shm/{name}" not in used}

    def _describe(self) -> str:
        lines = []
        for pid in self._find_processes():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                lines.append(f"process {pid} {state}: {command.decode()[:300]}")
        return "\n".join(lines)


@contextlib.contextmanager
def in_terminal(
    command: Sequence[str], folder: Path, *, stop_at: str = "", stop_by: str = "wait"
) -> Iterator[Terminal]:
    """Run a Python command; `stops/sitecustomize.py` says what `stop_at` may be.

    Args:
        command: Arguments of the interpreter.
        folder: To run in; a fresh one.
        stop_at: Where to stop.
        stop_by: `wait` until `Terminal.go_on`, or `raise` an error.
    """
    (folder / "reached").unlink(missing_ok=True)
    (folder / "go").unlink(missing_ok=True)
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(_PATHS),
        "STOP_FOLDER": str(folder), "STOP_BY": stop_by, "WANDB_MODE": "offline",
    }  # fmt: skip
    if stop_at:
        environment["STOP_AT"] = stop_at
    terminal = Terminal([sys.executable, *command], folder=folder, environment=environment)
    try:
        yield terminal
    finally:
        terminal.close()


def _list_shm() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def wait_until(
    holds: Callable[[], object],
    explain: Callable[[], str],
    *,
    or_end: Callable[[], bool] = lambda: False,
) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline or or_end():
            if holds():
                return
            raise AssertionError(explain()[-4000:])
        time.sleep(0.02)
