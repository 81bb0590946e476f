"""Pack a clip's three members into a record of consecutive tar entries, and unpack it.

A shard is the plain concatenation of its records and a tar's end mark, so `webdataset` and `tar`
read it with no help from us, and one ranged read gets a record whole. webdataset's writer lays a
record out, with fixed times and owners: the same clips give the same bytes.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from nitrogen_train.data.action_file import (
    MAX_ACTIONS_BYTES,
    ClipActions,
    decode_actions,
    encode_actions,
)
from nitrogen_train.data.schema import (
    MAX_METADATA_BYTES,
    ClipMetadata,
    ShardError,
    check_key,
    get_space,
)
from nitrogen_train.data.storage import Storage

MAX_RECORD_BYTES = 1024**3
SHARD_END = bytes(2 * tarfile.BLOCKSIZE)
"""Closes a tar."""

_MEMBER_LIMITS = {
    "actions.parquet": MAX_ACTIONS_BYTES,
    "json": MAX_METADATA_BYTES,
    "mp4": MAX_RECORD_BYTES,
}


Decoded = TypeVar("Decoded")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A clip as it is stored, its video still encoded."""

    metadata: ClipMetadata
    actions: ClipActions
    video: bytes
    """An H.264 mp4."""


def encode_record(record: Record) -> bytes:
    """Lay a clip out as tar entries, ready to be appended to a shard.

    The first call imports webdataset, which imports torch where it is installed: two seconds and
    260 MB, so one process encodes the records of many that encode videos.

    Raises:
        ShardError: If metadata and actions disagree on the number of frames.
    """
    from webdataset.writer import TarWriter

    _check_lengths(record)
    space = get_space(record.metadata.action_space)
    members = {
        "__key__": record.metadata.clip_id,
        "actions.parquet": encode_actions(record.actions, space),
        "json": record.metadata.to_json(),
        "mp4": record.video,
    }
    file = io.BytesIO()
    with TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as writer:
        writer.write(members)
        size = writer.tarstream.offset
    # What follows is a tar's end, and a shard has only one.
    return file.getvalue()[:size]


def decode_record(data: bytes) -> Record:
    """Read a clip from its tar entries, in memory, with every part checked but the video.

    Raises:
        ShardError: If a member is missing, unknown, truncated or breaks the contract.
    """
    key, members = _split_members(data)
    metadata = ClipMetadata.from_json(members["json"])
    if metadata.clip_id != key:
        raise ShardError(f"record {key!r} holds the metadata of clip {metadata.clip_id!r}")
    actions = decode_actions(members["actions.parquet"], get_space(metadata.action_space))
    record = Record(metadata=metadata, actions=actions, video=members["mp4"])
    _check_lengths(record)
    return record


def read_record_bytes(
    storage: Storage, shard: str, *, offset: int, size: int, fresh: bool = False
) -> bytes:
    """Read a record's bytes from its shard with one ranged read.

    Raises:
        ShardError: If the shard is missing or ends too early, or the size is absurd.
        TransientReadError: If it could not be read now.
    """
    if not 0 < size <= MAX_RECORD_BYTES:
        raise ShardError(f"a record in {shard} has {size} bytes, expected 1 to {MAX_RECORD_BYTES}")
    return storage.read(shard, offset=offset, size=size, fresh=fresh)


def read_record(
    storage: Storage,
    shard: str,
    *,
    offset: int,
    size: int,
    sha256: str | None = None,
    decode: Callable[[bytes], Decoded] = decode_record,
) -> Decoded:
    """Read a clip with one ranged read.

    Args:
        storage: Where the shards lie.
        shard: File name of the tar.
        offset: Of the record in the tar, in bytes.
        size: Of the record, in bytes.
        sha256: If given, the bytes must have this checksum.
        decode: What the bytes become.

    Raises:
        ShardError: If the record cannot be read, or breaks the contract.
        TransientReadError: If it could not be read now.
    """
    data = read_record_bytes(storage, shard, offset=offset, size=size)
    if sha256 is not None and storage.is_cached and _sha256(data) != sha256:
        # The data set may have been sharded again since the cache got these bytes.
        data = read_record_bytes(storage, shard, offset=offset, size=size, fresh=True)
    if sha256 is not None and _sha256(data) != sha256:
        raise ShardError(
            f"{shard}, byte {offset}: checksum differs from the manifest's; "
            "the shard was damaged or changed: copy it again or shard again",
            cause="checksum",
        )
    try:
        return decode(data)
    except ShardError as error:
        raise ShardError(f"{shard}, byte {offset}: {error}", cause=error.cause) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _split_members(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Find the key and the members by suffix; nothing is extracted to a path.

    Raises:
        ShardError: If they are not the members of one record.
    """
    members: dict[str, bytes] = {}
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                key, _, suffix = entry.name.partition(".")
                keys.add(check_key(key))
                limit = _MEMBER_LIMITS.get(suffix, 0)
                file = archive.extractfile(entry) if entry.isreg() else None
                if file is None or suffix in members or entry.size > limit:
                    raise ShardError(
                        f"a record holds one regular file for each of {', '.join(_MEMBER_LIMITS)}, "
                        f"got another {entry.name[:100]!r} of {entry.size} bytes"
                    )
                members[suffix] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(f"a record is not readable as tar entries: {error}") from error
    if len(keys) != 1 or members.keys() != _MEMBER_LIMITS.keys():
        raise ShardError(
            f"a record holds {', '.join(_MEMBER_LIMITS)} of one key, "
            f"got {sorted(members)} of {sorted(keys)}"
        )
    return keys.pop(), members


def _check_lengths(record: Record) -> None:
    if len(record.actions) != record.metadata.num_frames:
        raise ShardError(
            f"clip {record.metadata.clip_id!r} has {record.metadata.num_frames} frames and "
            f"{len(record.actions)} rows of actions, expected as many of both"
        )
