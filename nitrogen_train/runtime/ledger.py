"""Keep what is done in a file of lines, so that work that was interrupted goes on where it stopped.

    what is done ─► a line of JSON, on disk before `add` returns ─► read again by the next start

The first line may say what the work is of: lines that were written for anything else do not count.
A line that a kill or a full disk has cut short is as if it never was, and the next one is written
behind it. Several processes may add lines to one file; who wants it alone holds it.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from filelock import FileLock, Timeout

from nitrogen_train.runtime.atomic_files import sync
from nitrogen_train.runtime.progress import write_line

Record = TypeVar("Record")

_OF = "of"
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


class Ledger(Generic[Record]):
    """A file of what is done, a dataclass per line; iterate over it to read them in order."""

    def __init__(
        self,
        path: Path,
        decode: Callable[..., Record],
        *,
        of: object = None,
        earlier: str | None = None,
    ) -> None:
        """Find out what the file is of; nothing is written before the first `add`.

        Args:
            path: The file.
            decode: Makes a record of its fields: the dataclass, or what builds one of nested ones.
            of: Settings, as JSON, that must be the same to go on; else `add` begins a new file.
            earlier: Pattern of the files beside it in which an earlier version kept what was done;
                where only these are, a line says that it is done again.
        """
        self._path, self._decode = path, decode
        self._of = json.loads(json.dumps(of))
        if earlier is not None and not path.exists() and any(path.parent.glob(earlier)):
            write_line(f"{path.parent} is of an earlier version: what it lists is done again")

    @property
    def settings(self) -> Any:  # noqa: ANN401 - as JSON has them
        """Return the settings that lines must be of, as JSON has them."""
        return self._of

    def read_settings(self) -> Any:  # noqa: ANN401 - as JSON has them
        """Read the settings that the file was begun with; None if there are none.

        Raises:
            ValueError: If they are of another kind than those of now.
        """
        settings = next(self._read(), (0, {}))[1].get(_OF)
        if settings is not None and type(settings) is not type(self._of):
            raise self._refuse(1, "settings of another kind")
        return settings

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from the same work for the block.

        Raises:
            ValueError: If one is at it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ValueError(
                f"another process is at the same work in {self._path.parent.parent}: wait for it"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def __iter__(self) -> Iterator[Record]:
        """Read what is done, in the order in which it was added; nothing of other settings.

        Raises:
            ValueError: If a line is no such record.
        """
        if self.read_settings() != self._of:
            return
        for number, values in self._read():
            if _OF in values:
                continue
            try:
                yield self._decode(**values)
            except TypeError as error:
                raise self._refuse(number, "other fields") from error
            except ValueError as error:
                raise self._refuse(number, error) from error

    def add(self, *records: Record) -> None:
        """Keep records, on disk before this returns; without any, just the settings.

        Raises:
            OSError: If they cannot be written; those of before are kept.
        """
        lines = [json.dumps(asdict(cast("Any", record))).encode() + b"\n" for record in records]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+", buffering=0) as file:
            # Whoever began the file between our look at its settings and our line would lose it.
            _lock(file.fileno())
            if self.read_settings() != self._of:
                file.truncate(0)
            size = file.seek(0, os.SEEK_END)
            if not size and self._of is not None:
                lines.insert(0, json.dumps({_OF: self._of}).encode() + b"\n")
            elif size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                lines.insert(0, b"\n")
            data = b"".join(lines)
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        if not size:
            sync(self._path.parent)

    def _read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    values = json.loads(line)
                except ValueError as error:
                    # Cut short, or never written by a machine that lost its power.
                    if line.strip(b"\0\n")[:1] in (b"{", b""):
                        continue
                    raise self._refuse(number, error) from error
                if not isinstance(values, dict):
                    raise self._refuse(number, "no object")
                yield number, values

    def _refuse(self, number: int, reason: object) -> ValueError:
        return ValueError(
            f"{self._path}, line {number} is not of this file's kind ({reason}); move the file "
            "away to begin anew"
        )


def name_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say which settings are no longer what something was made with; empty if all are.

    Example:
        >>> name_changes({"min_active": 0.5, "--fps": None}, {"min_active": 0.9, "--fps": 30})
        'was made with --min-active 0.5, now 0.9; --fps (none), now 30'
    """

    def say(value: object) -> object:
        return "(none)" if value is None else value

    def option(name: str) -> str:
        is_field = name.isidentifier() and name.islower()
        return f"--{name.replace('_', '-')}" if is_field else name

    changed = [
        f"{option(name)} {say(before[name])}, now {say(now[name])}"
        for name in now
        if name in before and before[name] != now[name]
    ]
    return f"was made with {'; '.join(changed)}" if changed else ""


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed, where its file system has locks.

    Without them, lines of several processes still follow each other: only two that begin one file
    at the same moment could lose one.

    Raises:
        OSError: If the lock fails for another reason.
    """
    try:
        flock(descriptor, LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
