"""A series of our own commands: run in order, remembered, continued where they stopped."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nitrogen_train.evaluation.run_page import Stage
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.interrupts import Interrupted, interruptible, uninterrupted
from nitrogen_train.runtime.processes import name_parent

_running: set[subprocess.Popen[bytes]] = set()
_SCRIPTS = {
    "python -m data_tools ": "nitrogen-data ",
    "python -m nitrogen_train.train ": "nitrogen-train ",
    "python -m nitrogen_train.evaluate ": "nitrogen-eval ",
}
"""What a user types for what is started."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One stage: a command of the project, started as a user would start it."""

    name: str
    arguments: list[str]
    """Of the Python interpreter."""
    may_leave_out: bool = False
    """Whether status 1 is a good end as well: some of its data could not be used, and was named."""

    def __str__(self) -> str:
        return _as_typed(shlex.join(["python", *self.arguments]))


class Journal:
    """What has been run, how long it took, and whether it finished; kept in a file.

    Times of a command add up over its starts: the file is a sum, not a list as a `Ledger` is.
    """

    def __init__(self, path: Path) -> None:
        """Read what earlier starts have written."""
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self._entries = json.loads(path.read_text(encoding="utf-8"))
        for entry in self._entries.values():
            # Earlier versions wrote what is started.
            entry["command"] = _as_typed(entry["command"])

    def is_finished(self, command: Command) -> bool:
        """Tell whether this very command has ended well before."""
        entry = self._entries.get(command.name, {})
        return bool(entry.get("finished")) and entry["command"] == str(command)

    def run(self, command: Command, *, log: TextIO | None = None) -> int:
        """Run a command, count its time, also if it is interrupted, and return its exit status.

        Args:
            command: What to run.
            log: Where its output goes; None is the terminal.
        """
        start = time.monotonic()
        status = -1
        try:
            status = _call(command, log)
            if command.may_leave_out and status == 1:
                status = 0
        finally:
            before = self._entries.get(command.name, {}).get("seconds", 0.0)
            self._entries[command.name] = {
                "command": str(command),
                "seconds": before + time.monotonic() - start,
                "finished": status == 0,
            }
            with write_atomically(self._path) as temporary:
                temporary.write_text(json.dumps(self._entries, indent=1), encoding="utf-8")
        return status

    def stages(self) -> list[Stage]:
        """List what has been run, for the page."""
        return [
            Stage(name=name, command=entry["command"], seconds=entry["seconds"])
            for name, entry in self._entries.items()
        ]


def run_stages(commands: Sequence[Command], journal: Journal, *, again: str) -> None:
    """Run, in order, those commands that have not finished before, and say so.

    Args:
        commands: The stages.
        journal: What has been run.
        again: The command that continues, for whoever reads of a failure.

    Raises:
        SystemExit: If one fails, with its status, or this process is told to end.
    """
    with interruptible(f"interrupted; `{again}` continues from here"):
        _run_missing(commands, journal, again)


def end_running(number: int) -> None:
    """Tell the stages that run in other threads to end, unless a signal has reached them already.

    Args:
        number: The signal that this process has got; Ctrl-C reaches all.
    """
    if number != signal.SIGINT:
        for process in list(_running):
            process.terminate()


def _run_missing(commands: Sequence[Command], journal: Journal, again: str) -> None:
    say = sys.stdout.write
    for number, command in enumerate(commands, start=1):
        if journal.is_finished(command):
            say(f"[{number}/{len(commands)}] {command.name}: done before\n")
            continue
        say(f"[{number}/{len(commands)}] {command.name}\n    {command}\n")
        sys.stdout.flush()
        if status := journal.run(command):
            say(f"{command.name} ended with status {status}; `{again}` continues from here\n")
            raise SystemExit(status)


def _as_typed(line: str) -> str:
    for started, typed in _SCRIPTS.items():
        if line.startswith(started):
            return typed + line.removeprefix(started)
    return line


def _call(command: Command, log: TextIO | None) -> int:
    # A stage saves when it is told to end, also by the end of this process.
    environment = os.environ | name_parent(signal.SIGTERM)
    arguments = [sys.executable, *command.arguments]
    process = None
    try:
        with uninterrupted():
            process = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment)
            _running.add(process)
        return process.wait()
    except Interrupted as interrupt:
        # Ctrl-C has reached it, too. It may have much to save: a second one ends both.
        if process is not None:
            if interrupt.number != signal.SIGINT:
                process.terminate()
            process.wait()
        raise
    finally:
        if process is not None:
            process.kill()
            process.wait()
            _running.remove(process)
