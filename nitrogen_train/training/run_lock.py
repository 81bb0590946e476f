"""One process writes to a run folder."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_WAIT_S = 10.0
"""A process that has just been killed may hold its files for a moment."""


class RunIsLockedError(ValueError):
    """Another process trains in the folder."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for the block; the kernel lets go of it however the process ends.

    A record lock of POSIX, not flock's: a loader's worker, forked from here, does not keep it when
    this process is killed, and NFS, Lustre and GPFS pass it between machines. Never open the file
    elsewhere in this process: closing it would drop the lock.

    Args:
        folder: The run's; made if it is missing.

    Raises:
        RunIsLockedError: If another process holds it.
        OSError: If the file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("a+", encoding="utf-8") as file:
        _wait_for_lock(file, folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def refuse_locked(folder: Path) -> None:
    """Refuse a run folder that another process holds, before this one has loaded anything.

    Args:
        folder: The run's; nothing is made or written in it.

    Raises:
        RunIsLockedError: If another process holds it.
        OSError: If the file system has no locks.
    """
    path = folder / "run.lock"
    if path.is_file():
        with path.open("r+", encoding="utf-8") as file:
            _wait_for_lock(file, folder)


def _wait_for_lock(file: TextIO, folder: Path) -> None:
    """Lock a file, which is closed to let go of it.

    Raises:
        RunIsLockedError: If another process holds it for long.
    """
    deadline = time.monotonic() + _WAIT_S
    while not _try_lock(file.fileno(), folder):
        if time.monotonic() > deadline:
            file.seek(0)
            raise RunIsLockedError(
                f"another process trains in {folder} ({file.read().strip()}): stop it first, "
                "or give another output_dir"
            )
        time.sleep(0.2)


def _try_lock(descriptor: int, folder: Path) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise OSError(
            f"{folder} lies on a file system without locks ({error}): mount it with them (NFS: "
            "without nolock; Lustre: with flock), or give an output_dir elsewhere"
        ) from error
    return True
