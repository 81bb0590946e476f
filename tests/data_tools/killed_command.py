"""`nitrogen-data`, killed at an exact point: when a file is about to get its name or a line.

A test that watches a folder and then sends a signal comes too late on a busy machine.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence

_COMMAND = """
import os, re, signal, sys

def kill_at_name(event, arguments):
    # Raised by os.rename and os.replace, in every forked worker too; a ledger's file is added to.
    is_added_to = event == "open" and "a" in str(arguments[1])
    path = arguments[0] if is_added_to else arguments[1] if event == "os.rename" else ""
    if path and re.search(sys.argv[1], os.fspath(path)):
        os.killpg(0, signal.SIGKILL)

sys.addaudithook(kill_at_name)
from data_tools.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def run_until_named(pattern: str, arguments: Sequence[str]) -> None:
    """Run a verb, and kill it with its workers instead of a rename, or an addition, to a path."""
    killed = subprocess.run(
        [sys.executable, "-c", _COMMAND, pattern, *arguments],
        capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, (pattern, killed.stderr[-2000:])
