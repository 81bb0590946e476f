"""Read the records of a tar in one pass, with the bytes that each takes.

Members of a key are neighbours, so a record is a range of the tar, from the first header of its
first member to the end of its last. webdataset's own reader is not used, for it hands out the
members without their places in the tar, takes members of a key that are not neighbours for two
records, and a tar that is cut between members for a whole one.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast, runtime_checkable

from nitrogen_train.data.clip_record import MAX_RECORD_BYTES
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.stored_clips import split_member_name

_CHUNK = 2**20


@runtime_checkable
class Reads(Protocol):
    """A file that is read from its start."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """The members of one key, as they lie in the tar."""

    key: str
    offset: int
    """Place of the record in the tar, in bytes."""
    data: bytes


def iter_records(file: Reads) -> Iterator[RawRecord]:
    """Find the records of a tar; members without a suffix belong to none.

    Raises:
        ShardError: If it is no plain tar, ends early, a key's members are not neighbours, or
            its record is too large.
    """
    tee = _Tee(file)
    key, start, end = None, 0, 0
    finished: set[str] = set()
    try:
        # It only reads.
        stream = cast("IO[bytes]", tee)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
            while (entry := archive.next()) is not None:
                # Python's own list of all members would only grow.
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                named = split_member_name(entry.name)
                if named is not None and named[0] != key:
                    if key is not None:
                        yield RawRecord(key=key, offset=start, data=tee.take(start, end))
                        finished.add(key)
                    key, start = named[0], entry.offset
                    if key in finished:
                        raise ShardError(
                            f"the members of key {key[:100]!r} are not neighbours: others lie "
                            f"between them and byte {entry.offset}; write the tar sorted by key",
                            cause="order",
                        )
                if named is not None:
                    end = archive.offset
        if key is not None:
            yield RawRecord(key=key, offset=start, data=tee.take(start, end))
        tee.check_end(max(end, archive.offset))
    except (tarfile.TarError, EOFError) as error:
        raise ShardError(f"it is not readable as a tar, or cut short: {error}") from error


class _Tee:
    """Hands bytes through to tarfile, and keeps those of the record that is being read."""

    def __init__(self, file: Reads) -> None:
        self._file = file
        self._kept = bytearray()
        self._first = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._kept += data
        if len(self._kept) > MAX_RECORD_BYTES + _CHUNK:
            raise ShardError(
                f"the record at byte {self._first} is larger than {MAX_RECORD_BYTES} bytes"
            )
        return data

    def take(self, start: int, end: int) -> bytes:
        data = bytes(self._kept[start - self._first : end - self._first])
        if len(data) < end - start:
            raise ShardError(f"it ends early, within the record at byte {start}")
        self.forget(end)
        return data

    def forget(self, until: int) -> None:
        """Drop what lies before a byte of the file."""
        if until > self._first:
            del self._kept[: until - self._first]
            self._first = until

    def check_end(self, end: int) -> None:
        """Refuse what tarfile passes over: anything but zeros after the last member.

        Raises:
            ShardError: If there is more, or not even a tar's end mark.
        """
        self.forget(end)
        tail, num_zeros = bytes(self._kept), 0
        while tail:
            if any(tail):
                raise ShardError(f"it is no tar from byte {end} on; what follows cannot be read")
            num_zeros += len(tail)
            tail = self._file.read(_CHUNK)
        if not num_zeros:
            raise ShardError(f"it ends at byte {end} without a tar's end mark: cut short?")
