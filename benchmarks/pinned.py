"""Processes that are measured in turn, all pinned to one core, each stopped while others run.

A process answers on standard output, a line of JSON at a time. It is a group of its own: stopped
with its workers, it prepares nothing in the time of others.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from nitrogen_train.runtime.processes import measure_cpu_s


@dataclass(frozen=True, kw_only=True)
class Block:
    """What was read in one turn."""

    seconds: float
    cpu_s: float
    """Time on the core, with that of workers: less than `seconds` where others ran on it."""
    windows: int
    frames: int
    """Delivered."""
    decoded: int | None
    """Frames decoded on the way; None where a library does not tell."""


class PinnedProcess:
    """One process, from the `with` block's beginning to its end."""

    def __init__(self, command: Sequence[str]) -> None:
        """Remember what to start."""
        self._command = command

    def __enter__(self) -> "PinnedProcess":
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        cores = os.sched_getaffinity(0)
        # The child inherits it; the last core is the least likely to serve interrupts.
        os.sched_setaffinity(0, {max(cores)})
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                process_group=0,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        finally:
            os.sched_setaffinity(0, cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It holds nothing that is worth saving; a stopped one can be killed, too.
        os.killpg(self._process.pid, signal.SIGKILL)
        with self._process, self._errors:
            pass

    def read(self) -> dict[str, Any]:
        """Wait for an answer.

        Raises:
            RuntimeError: If the process ends instead; the message is its last line of output.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if line:
            return json.loads(line)
        self._errors.seek(0)
        lines = [text for text in self._errors.read().splitlines() if text.strip()]
        raise RuntimeError(f"{self._command[0]} ended: {lines[-1] if lines else 'it says nothing'}")

    def pause(self) -> None:
        """Stop it, and its workers, where they are."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def read_block(self) -> Block:
        """Let it go on for a block."""
        # The question first: it must not find time that nobody measures.
        if self._process.stdin:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        os.killpg(self._process.pid, signal.SIGCONT)
        values = self.read()
        self.pause()
        return Block(**values)


class Stopwatch:
    """Measures from its making on."""

    def __init__(self) -> None:
        """Begin."""
        self._start, self._cpu_start = time.perf_counter(), measure_cpu_s()

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.perf_counter() - self._start

    @property
    def cpu_s(self) -> float:
        """How long this process and its workers have been on a core."""
        return measure_cpu_s() - self._cpu_start


class Answers:
    """The other end, in the process."""

    def __init__(self) -> None:
        """Keep standard output for answers; what libraries print goes to standard error."""
        self._file = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def send(self, values: dict[str, Any]) -> None:
        """Write an answer."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def serve(self, read_block: Callable[[], Block]) -> None:
        """Say that all is ready, and read a block whenever asked to."""
        self.send({})
        while os.read(0, 1):
            self.send(asdict(read_block()))
