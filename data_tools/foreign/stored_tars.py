"""The tars of a folder or a URL, one after the other, as streams whose failures name them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_tools.foreign.tar_records import Reads
from data_tools.names import is_hidden
from nitrogen_train.data.files import describe_error
from nitrogen_train.data.remote import describe, list_folder, open_url
from nitrogen_train.data.storage import Storage

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\.tar")
_TIMEOUT_S = 60.0


def list_tars(storage: Storage) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Find the tars, by name, each with what changes when it is another one.

    Returns:
        The tars, and what is wrong with those that cannot be shards.

    Raises:
        OSError: If a URL cannot be listed.
        FileNotFoundError: If there is none.
    """
    tars: dict[str, list[Any]] = {}
    if storage.folder is None:
        try:
            sizes = list_folder(storage.root, timeout_s=_TIMEOUT_S)
        # The errors of the libraries behind fsspec share no base class.
        except Exception as error:
            raise OSError(f"cannot list {storage.root}: {describe(error)}") from error
        tars = {name: [size] for name, size in sizes.items() if name.lower().endswith(".tar")}
    else:
        for path in storage.folder.iterdir():
            if path.name.lower().endswith(".tar") and path.is_file():
                facts = path.stat()
                tars[path.name] = [facts.st_size, facts.st_mtime_ns]
    tars = {name: facts for name, facts in tars.items() if not is_hidden(Path(name))}
    if not tars:
        raise FileNotFoundError(f"{storage.root} holds no .tar")
    bad = {
        name: f"a shard's name is made of [A-Za-z0-9_-] and ends in .tar, got {name!r}; rename it"
        for name in sorted(tars)
        if not _SHARD_NAME.fullmatch(name)
    }
    return {name: tars[name] for name in sorted(tars) if name not in bad}, bad


def find_fault(storage: Storage, shard: str) -> str | None:
    """Say why a local tar cannot be opened at all; what a URL refuses may pass."""
    try:
        if storage.folder is not None:
            (storage.folder / shard).open("rb").close()
    except OSError as error:
        return describe_error(error)
    return None


@contextmanager
def open_tar(storage: Storage, shard: str) -> Iterator[Reads]:
    """Open a tar to be read from its start.

    Raises:
        OSError: If it cannot be opened or read now; start again, finished tars are kept.
    """
    with _open(storage, shard) as file:
        yield _Named(file, f"{storage.root}/{shard}")


def _open(storage: Storage, shard: str) -> Any:  # noqa: ANN401 - each library's own class
    if storage.folder is not None:
        return (storage.folder / shard).open("rb")
    url = f"{storage.root}/{shard}"
    try:
        return open_url(url, timeout_s=_TIMEOUT_S)
    # As in `list_tars`.
    except Exception as error:
        raise OSError(f"cannot open {url}: {describe(error)}") from error


class _Named:
    """A file whose failures name it."""

    def __init__(self, file: Reads, name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        # As in `list_tars`.
        except Exception as error:
            raise OSError(
                f"cannot read {self._name}: {describe(error)}; start again: finished tars are kept"
            ) from error
