"""Clips in the records of any writer: ours, or a foreign one's that a manifest was made for.

    record's members ─► ours: `actions.parquet`, `json` with our schema, `mp4`, all of it checked
                     └► foreign: one picture (mp4, jpg, jpeg), one `ACTION_DECODERS` knows, others
                        left unread; what it does not say is in its manifest's row

Which of them it is, the record itself says.
"""

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import MAX_ACTIONS_BYTES, ClipActions
from nitrogen_train.data.foreign_actions import ACTION_DECODERS
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.records import MAX_RECORD_BYTES, decode_record, read_record
from nitrogen_train.data.schema import MAX_METADATA_BYTES, ShardError, get_space, parse_json_object
from nitrogen_train.data.storage import Storage

PICTURES = ("mp4", "jpg", "jpeg")
"""Suffixes; FFmpeg reads a JPEG as a video of one frame."""

_OURS = {"actions.parquet", "json", "mp4"}
# As webdataset cuts names; the first dot after the last slash ends the key.
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


@runtime_checkable
class StoredClip(Protocol):
    """What reading needs of a record."""

    @property
    def actions(self) -> ClipActions:
        """One row per frame."""
        ...

    @property
    def video(self) -> bytes:
        """Still encoded."""
        ...


@dataclass(frozen=True, kw_only=True)
class ForeignClip:
    """A record that another writer laid out."""

    actions: ClipActions
    video: bytes
    is_picture: bool
    """A single one, which has no rate of its own."""


def split_member_name(name: str) -> tuple[str, str] | None:
    """Cut a tar member's name into key and suffix; None if it has no suffix."""
    match = _MEMBER.fullmatch(name)
    return None if match is None else (match[1], match[2].lower())


def read_clip(storage: Storage, row: ManifestRow) -> StoredClip:
    """Read a clip with one ranged read, and check all of it but the video.

    Raises:
        ShardError: If it cannot be had, however often one tries.
        OSError: If it could not be had now.
    """
    return read_record(
        storage,
        row.shard,
        offset=row.offset,
        size=row.size,
        sha256=row.sha256,
        decode=partial(_decode_row, row=row),
    )


def decode_clip(data: bytes, space: ActionSpace) -> StoredClip:
    """Read a record of any writer.

    Raises:
        ShardError: If it is not a record, or breaks the contract of its layout.
    """
    members = _read_members(data)
    if is_ours(members):
        return decode_record(data)
    pictures = [name for name in members if name in PICTURES]
    actions = [name for name in members if name in ACTION_DECODERS]
    for what, found, known in (
        ("picture", pictures, PICTURES),
        ("actions", actions, ACTION_DECODERS),
    ):
        if len(found) != 1:
            raise ShardError(
                f"a record holds one of {', '.join(known)}, got {found or 'none'}", cause=what
            )
    (picture,), (name,) = pictures, actions
    return ForeignClip(
        actions=ACTION_DECODERS[name](members[name], space),
        video=members[picture],
        is_picture=picture != "mp4",
    )


def is_ours(members: Mapping[str, bytes]) -> bool:
    """Whether a record's members are those that `encode_record` writes."""
    if members.keys() != _OURS:
        return False
    try:
        return "schema_version" in parse_json_object(members["json"], "a clip's metadata")
    except ShardError:
        return False


def _decode_row(data: bytes, *, row: ManifestRow) -> StoredClip:
    clip = decode_clip(data, get_space(row.action_space))
    if len(clip.actions) != row.num_frames:
        raise ShardError(
            f"the record has {len(clip.actions)} rows of actions, the manifest expects "
            f"{row.num_frames}: index or shard again"
        )
    return clip


def _read_members(data: bytes) -> dict[str, bytes]:
    """Read the members that matter, by suffix; nothing is extracted to a path.

    Raises:
        ShardError: If they are not tar entries of one key, or one comes twice or is too large.
    """
    members: dict[str, bytes] = {}
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                named = split_member_name(entry.name)
                if named is None or not entry.isreg() or entry.issparse():
                    continue
                key, suffix = named
                keys.add(key)
                file = archive.extractfile(entry) if suffix in _LIMITS else None
                if file is None or (suffix == "json" and entry.size > MAX_METADATA_BYTES):
                    continue
                if suffix in members or entry.size > _LIMITS[suffix]:
                    raise ShardError(
                        f"a record holds one {suffix} of up to {_LIMITS[suffix]} bytes, got "
                        f"another {entry.name[:100]!r} of {entry.size}"
                    )
                members[suffix] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(f"a record is not readable as tar entries: {error}") from error
    if len(keys) != 1:
        raise ShardError(f"a record holds members of one key, got {sorted(keys)[:3]}")
    return members


_LIMITS = {
    "json": MAX_METADATA_BYTES,
    **dict.fromkeys(PICTURES, MAX_RECORD_BYTES),
    **dict.fromkeys(ACTION_DECODERS, MAX_ACTIONS_BYTES),
}
