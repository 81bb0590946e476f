"""Stops every Python process that has this folder in PYTHONPATH at an exact place.

STOP_AT is `import PATTERN` (of a module), `rename PATTERN` (of the new path), `open PATTERN`,
`place PATTERN` (of `places.py`) or `worker PATTERN`, an import in a process of a pool. The first
process that comes there makes the file STOP_FOLDER/reached, and then waits for STOP_FOLDER/go, or,
if STOP_BY is `raise`, fails.
"""

import os
import re
import sys
import time
from pathlib import Path

_EVENTS = {
    "import": "import", "worker": "import", "rename": "os.rename", "open": "open", "place": "place",
}  # fmt: skip
_ARGUMENT = {"rename": 1}
_is_worker = "--multiprocessing-fork" in sys.orig_argv


def _install(stop_at: str, folder: Path) -> None:
    kind, _, pattern = stop_at.partition(" ")
    event_name, position, compiled = _EVENTS[kind], _ARGUMENT.get(kind, 0), re.compile(pattern)
    if kind == "worker" and not _is_worker:
        return

    def stop(event, arguments):
        if event != event_name or not compiled.search(_text(arguments[position])):
            return
        try:
            os.close(os.open(folder / "reached", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if os.environ.get("STOP_BY") == "raise":
            raise ValueError("on purpose")
        while not (folder / "go").exists():
            time.sleep(0.01)

    sys.addaudithook(stop)


def _text(argument) -> str:
    return os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else ""


if "STOP_AT" in os.environ:
    _install(os.environ["STOP_AT"], Path(os.environ["STOP_FOLDER"]))

if mark := os.environ.get("NITROGEN_TEST_TERMINAL"):
    from multiprocessing import process

    # So that the semaphores of this command can be told from those of its neighbours.
    process.current_process()._config["semprefix"] = f"/mp-{mark}"
