"""Write files that are either whole or absent, and build files once per node for all processes.

    content ─► temporary file ─► synced ─► takes its name at once

A file that is built once per node is derived from a data set, and all processes of the node map it.
Its name holds a hash of all that its content depends on, so it is never out of date and may be
removed at any time: a process that needs it builds it again. Errors of the system, and names that
do not exist, are told in words.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_NUM_PARTS, _PART_BYTES = 16, 2**16
"""What tells one large file from another, besides its size."""


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Offer a temporary path beside `path`, which takes its name once the block has succeeded.

    The bytes are on disk before the name is. If the block fails, `path` stays as it was and the
    temporary file is removed; one left by a killed process is overwritten by the next try.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        # A rename is durable only once the folder is.
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Make sure that a folder can be written, or made, before any work is done for it.

    Raises:
        NotADirectoryError: If it, or a folder that it lies in, is a file.
        PermissionError: If it may not be written.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest} is a file: choose another folder than {folder}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{nearest} may not be written: choose another folder than {folder}")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def describe_error(error: Exception) -> str:
    """Say in one line what went wrong; of an error of the system, its file comes first.

    Example:
        >>> describe_error(FileNotFoundError(2, "No such file or directory", "a.csv"))
        'a.csv: no such file or directory'
    """
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        reason = error.strerror[:1].lower() + error.strerror[1:]
        names = [
            os.fsdecode(n)
            for n in (error.filename, error.filename2)
            if isinstance(n, str | bytes | os.PathLike)
        ]
        return f"{' and '.join(names)}: {reason}" if names else reason
    return " ".join(str(error).split())


def did_you_mean(name: str, known: Iterable[str], *, lead: str = "; ", otherwise: str = "") -> str:
    """Point to the closest right name, in words that go on a message.

    Args:
        name: What was given.
        known: What could have been.
        lead: What joins the words to the message.
        otherwise: The words if no name is close, with their own lead.

    Example:
        >>> did_you_mean("recor", ["record", "shard"])
        '; did you mean record?'
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"{lead}did you mean {close[0]}?" if close else otherwise


def hash_file(path: Path) -> bytes:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def hash_parts(path: Path) -> str:
    """Tell a large file from another one by its size and parts of it, in little time.

    Two files of one size that differ only between the parts are not told apart.

    Raises:
        OSError: If it cannot be read, or is a pipe, into which nobody may ever write.
    """
    if path.is_fifo():
        raise OSError(f"{path} is a pipe, expected a file")
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_NUM_PARTS):
            file.seek(max(0, size - _PART_BYTES) * number // (_NUM_PARTS - 1))
            digest.update(file.read(_PART_BYTES))
    return digest.hexdigest()[:32]


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
            "this node's own disk with room for about 300 bytes per clip; nitrogen-eval calls it "
            "index_dir"
        ) from error
