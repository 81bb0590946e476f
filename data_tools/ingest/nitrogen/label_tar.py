"""The pieces of a tarball of labels, in one pass, without anything being written to disk.

    .../VIDEO_ID/VIDEO_ID_chunk_NNNN/{actions_raw.parquet, actions_processed.parquet, metadata.json}

Members of a piece are neighbours. A tarball comes from a stranger: names are only ever compared,
never used as paths, and a member, a header or a piece is read into memory only up to a bound.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from data_tools.foreign.tar_records import Reads
from nitrogen_train.data.action_file import MAX_ACTIONS_BYTES
from nitrogen_train.data.schema import MAX_METADATA_BYTES

_MAX_BYTES = {
    "metadata.json": MAX_METADATA_BYTES,
    "actions_raw.parquet": MAX_ACTIONS_BYTES,
    "actions_processed.parquet": MAX_ACTIONS_BYTES,
}
_BUFFER_BYTES = 2**16
_MAX_HEADER_BYTES = 2**20
_MAX_PASSED_BYTES = 2**28
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_CHUNK = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class RawPiece:
    """The files of one piece, unread."""

    video_id: str
    chunk: int
    files: dict[str, bytes] = field(repr=False)
    """By name in the piece's folder."""

    @property
    def name(self) -> str:
        """What the tarball calls it."""
        return f"{self.video_id}_chunk_{self.chunk:04d}"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a piece, a member or the tarball, which gives no labels then."""

    name: str
    """Of the piece or the member, shortened to what can be printed."""
    reason: str
    """A few words, the same for all that is wrong in this way."""
    detail: str
    """What was expected and what came."""


def iter_pieces(path: Path) -> Iterator[RawPiece | Fault]:
    """Read a tarball from its start to its end, or to where it is damaged.

    Args:
        path: A tar, compressed with gzip or not.

    Raises:
        OSError: If the file cannot be read.
    """
    seen: set[tuple[str, int]] = set()
    current: tuple[str, int] | None = None
    piece: RawPiece | None = None
    for member in _iter_members(path):
        if isinstance(member, Fault):
            yield member
            continue
        (video_id, chunk, file_name), data = member
        if current != (video_id, chunk):
            if piece is not None:
                yield piece
            current, piece = (video_id, chunk), None
            fresh = RawPiece(video_id=video_id, chunk=chunk, files={})
            if current in seen:
                yield _twice(fresh.name)
            else:
                seen.add(current)
                piece = fresh
        if piece is None:
            continue
        if file_name in piece.files:
            yield _twice(f"{piece.name}/{file_name}")
        else:
            piece.files[file_name] = data
    if piece is not None:
        yield piece


def _twice(name: str) -> Fault:
    return Fault(name=name, reason="it comes twice", detail="the first of two is used")


def _iter_members(path: Path) -> Iterator[tuple[tuple[str, int, str], bytes] | Fault]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if is_gzip else file
        bounded = _Bounded(cast("Reads", stream))
        try:
            with tarfile.open(
                fileobj=cast("IO[bytes]", bounded), mode="r|", bufsize=_BUFFER_BYTES
            ) as archive:
                while (entry := archive.next()) is not None:
                    # Python's own list of all members would only grow.
                    archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                    bounded.allow(entry.size)
                    if not entry.isdir():
                        yield _read_member(archive, entry)
                bounded.allow(0)
                # Tarfile stops at a damaged header as if that were the end.
                if any(cast("Reads", archive.fileobj).read(_BUFFER_BYTES)):
                    yield _tarball_fault(path, "a header makes no sense")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, _TooLargeError) as error:
            yield _tarball_fault(path, str(error))
        # What tarfile itself trips over in headers made to hurt.
        except (ValueError, OverflowError, RecursionError) as error:
            yield _tarball_fault(path, f"a header makes no sense: {error}")


def _tarball_fault(path: Path, detail: str) -> Fault:
    return Fault(
        name=path.name,
        reason="the tarball is damaged or cut short",
        detail=f"{path.name} ends where it is damaged, get it again: {detail}"[:300],
    )


def _read_member(
    archive: tarfile.TarFile, entry: tarfile.TarInfo
) -> tuple[tuple[str, int, str], bytes] | Fault:
    name = printable(entry.name)
    parts = entry.name.removeprefix("./").split("/")
    if not entry.isreg() or entry.issparse():
        return Fault(name=name, reason="not a plain file", detail="links and devices are not read")
    if entry.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return Fault(
            name=name,
            reason="hostile path",
            detail="a member's name leads out of the tarball; it is not read",
        )
    found = _parse_name(parts)
    if found is None:
        return Fault(
            name=name,
            reason="not in the card's layout",
            detail="expected VIDEO_ID/VIDEO_ID_chunk_NNNN/{actions_raw.parquet, "
            "actions_processed.parquet, metadata.json}",
        )
    if entry.size > (limit := _MAX_BYTES[found[2]]):
        return Fault(
            name=name,
            reason="the file is too large",
            detail=f"it has {entry.size} bytes, expected up to {limit}",
        )
    file = archive.extractfile(entry)
    return found, file.read() if file is not None else b""


def _parse_name(parts: list[str]) -> tuple[str, int, str] | None:
    if len(parts) < 3 or parts[-1] not in _MAX_BYTES:
        return None
    video_id, folder, file_name = parts[-3:]
    head, _, number = folder.rpartition("_chunk_")
    if head != video_id or not (_VIDEO_ID.fullmatch(video_id) and _CHUNK.fullmatch(number)):
        return None
    return video_id, int(number), file_name


def printable(text: str) -> str:
    """Shorten a stranger's text to what can go to a terminal and a report."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:120]) or "?"


class _TooLargeError(Exception):
    """More came than a header may take."""


class _Bounded:
    """Hands bytes through to tarfile, as many as the next header and what is before it may take."""

    def __init__(self, file: Reads) -> None:
        self._file = file
        self._left = 0
        self.allow(0)

    def allow(self, size: int) -> None:
        """Let through a member's data, which is passed over in small steps, and a header."""
        self._left = min(max(size, 0), _MAX_PASSED_BYTES) + _MAX_HEADER_BYTES + 2 * _BUFFER_BYTES

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError("a header or member is larger than any of labels")
        return data
