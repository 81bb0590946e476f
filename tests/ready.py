"""Commands in processes of their own, forked from a Python that has its imports behind it.

    this process ─► ready_server.py, started once ─► a fork a command, or a rank of one

For tests of what a command does. How it starts and how it ends is tested on cold processes.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_SERVER = Path(__file__).with_name("ready_server.py")
TIMEOUT_S = 600.0
"""Longer than anything takes on a busy machine; what takes longer hangs."""


class _Server:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        assert self._read() == b"ready"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def run(
        self, words: list[str], env: Mapping[str, str], cwd: Path, ranks: int
    ) -> subprocess.CompletedProcess[str]:
        self._count += 1
        output = f"{self._folder.name}/{self._count}"
        request = {"words": words, "env": dict(env), "cwd": str(cwd), "output": output}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request | {"ranks": ranks}).encode() + b"\n")
        pids = json.loads(self._read())
        try:
            statuses = json.loads(self._read())
        except TimeoutError:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            self._read()
            raise AssertionError(f"hangs: {words}\n{_text(output, 'err')[-3000:]}") from None
        worst = next((status for status in statuses if status), 0)
        return subprocess.CompletedProcess(words, worst, _text(output, "out"), _text(output, "err"))

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], TIMEOUT_S)[0]:
                raise TimeoutError
            byte = os.read(self._process.stdout.fileno(), 1)
            assert byte, "the ready Python has ended"
            line += byte
        return line.strip()


_servers: dict[int, _Server] = {}


def run_ready(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ranks: int = 1,
) -> subprocess.CompletedProcess[str]:
    """Run what `python -m MODULE …` or `python FILE.py …` would.

    Args:
        words: The module's name or the file, and its arguments.
        env: Variables; this process's by default.
        cwd: The folder to run in.
        ranks: How many processes, as `torchrun` starts them; both write to the same outputs.

    Returns:
        The outputs, and the first status that is not 0.
    """
    pid = os.getpid()
    if pid not in _servers:
        _servers[pid] = _Server()
        atexit.register(_servers[pid].close)
    variables = (env or os.environ) | {"OMP_NUM_THREADS": "1"}
    return _servers[pid].run([str(word) for word in words], variables, cwd or Path.cwd(), ranks)


def _text(output: str, kind: str) -> str:
    path = Path(f"{output}.{kind}")
    return path.read_text(errors="replace") if path.exists() else ""
