"""Stops every Python process that has this folder in PYTHONPATH at an exact place.

STOP_AT is `import NAME`, `rename PATTERN` (of the new path), `open PATTERN` or `place NAME` (of
`places.py`). The first process that comes there makes the file STOP_FOLDER/reached, and then waits
for STOP_FOLDER/go, or, if STOP_BY is `raise`, fails.
"""

import os
import re
import sys
import time

_EVENTS = {"import": "import", "rename": "os.rename", "open": "open", "place": "place"}
_ARGUMENT = {"rename": 1}


def _install(stop_at: str, folder: str) -> None:
    kind, _, pattern = stop_at.partition(" ")
    event_name, position, compiled = _EVENTS[kind], _ARGUMENT.get(kind, 0), re.compile(pattern)
    reached = os.path.join(folder, "reached")

    def stop(event, arguments):
        if event != event_name or not compiled.search(_text(arguments[position])):
            return
        try:
            os.close(os.open(reached, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if os.environ.get("STOP_BY") == "raise":
            raise ValueError("on purpose")
        while not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.01)

    sys.addaudithook(stop)


def _text(argument) -> str:
    return os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else ""


if "STOP_AT" in os.environ:
    _install(os.environ["STOP_AT"], os.environ["STOP_FOLDER"])
