"""Files derived from a data set once per node, which all processes of the node then map.

A name holds a hash of all that its content depends on, so a file is never out of date and may be
removed at any time: who needs it makes it again.
"""

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def default_index_dir() -> Path:
    """Name the folder for derived files: `$XDG_CACHE_HOME/nitrogen-train`, or under `~/.cache`."""
    cache_dir = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache_dir) / "nitrogen-train"


def build_once(path: Path, build: Callable[[], None]) -> None:
    """Build a file unless it exists; of processes that ask at once, one builds, the others wait.

    Args:
        path: The file, which exists only when all that belongs to it is whole.
        build: Writes it atomically.

    Raises:
        ValueError: If its folder cannot be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The kernel frees the lock of a process that was killed.
        with FileLock(path.parent / f".{path.name}.lock"):
            if not path.exists():
                build()
    # NotImplementedError: some network file systems have no locks.
    except (OSError, NotImplementedError) as error:
        raise ValueError(
            f"the index {path} cannot be written ({error}); set data.index_dir to a folder on "
            "this node's own disk with room for about 300 bytes per clip"
        ) from error
