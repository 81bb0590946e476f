"""A series of our own commands: run in order, remembered, continued where they stopped."""

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nitrogen_train.data.files import write_atomically
from nitrogen_train.evaluation.report import Stage

_PATIENCE_S = 30.0
"""For a stage that was interrupted to end by itself."""
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

    def __str__(self) -> str:
        return _as_typed(shlex.join(["python", *self.arguments]))


class Journal:
    """What has been run, how long it took, and whether it finished; kept in a file."""

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
    say = sys.stdout.write
    # Otherwise the running stage would go on alone.
    signal.signal(signal.SIGTERM, _end)
    for number, command in enumerate(commands, start=1):
        if journal.is_finished(command):
            say(f"[{number}/{len(commands)}] {command.name}: done before\n")
            continue
        say(f"[{number}/{len(commands)}] {command.name}\n    {command}\n")
        sys.stdout.flush()
        try:
            status = journal.run(command)
        except (KeyboardInterrupt, SystemExit) as error:
            say(f"\n{command.name} was interrupted; `{again}` continues from here\n")
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else error.code) from None
        if status:
            say(f"{command.name} ended with status {status}; `{again}` continues from here\n")
            raise SystemExit(status)


def _as_typed(line: str) -> str:
    for started, typed in _SCRIPTS.items():
        if line.startswith(started):
            return typed + line.removeprefix(started)
    return line


def _call(command: Command, log: TextIO | None) -> int:
    arguments = [sys.executable, *command.arguments]
    with subprocess.Popen(arguments, stdout=log, stderr=log) as process:
        try:
            return process.wait()
        except (KeyboardInterrupt, SystemExit) as error:
            # Ctrl-C has reached it, too; SIGTERM has not.
            if isinstance(error, SystemExit):
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            raise
        finally:
            process.kill()


def _end(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)
