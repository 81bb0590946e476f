"""Pack a clip's three members into a record of consecutive tar entries, and unpack it.

A shard is the plain concatenation of its records and a tar's end mark, so `webdataset` and `tar`
read it with no help from us, and one ranged read gets a record whole. webdataset's writer lays a
record out, with fixed times and owners: the same clips give the same bytes.

The member `KEY.actions.parquet` has one row per frame of a clip. The gamepad has the columns of
NitroGen's public labels: 17 booleans named like the buttons in lower case, and `j_left` and
`j_right`, lists of [x, y]. Another space has one column per control. Beside them may stand the
analogue value of each trigger, and `valid`; without it every row is valid. The public labels store
them in several types: see `values`.
"""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32

from nitrogen_train.actions import GAMEPAD, ActionRows, ActionSpace
from nitrogen_train.data.schema import (
    MAX_CLIP_FRAMES,
    MAX_METADATA_BYTES,
    ClipMetadata,
    ShardError,
    check_key,
    get_space,
)
from nitrogen_train.data.values import to_booleans, to_vectors

MAX_ACTIONS_BYTES = 16 * 1024 * 1024
"""Size of the file, and of its columns unpacked, at most."""

DEAD_ZONE = 0.1
"""An axis this near its centre counts as released."""

_TRIGGER_COLUMNS = ("left_trigger_value", "right_trigger_value")
_ROOM = 1e-6
"""Distance above its range to which a value may be rounded."""

MAX_RECORD_BYTES = 1024**3
SHARD_END = bytes(2 * tarfile.BLOCKSIZE)
"""Closes a tar."""

_MEMBER_LIMITS = {
    "actions.parquet": MAX_ACTIONS_BYTES,
    "json": MAX_METADATA_BYTES,
    "mp4": MAX_RECORD_BYTES,
}


@dataclass(frozen=True, kw_only=True)
class ClipActions:
    """A clip's rows, and which of them may be learned from."""

    rows: ActionRows
    valid: Bool[np.ndarray, " rows"]
    """False where a row is not the player's choice, or not known."""
    left_trigger_value: Float32[np.ndarray, " rows"] | None = None
    """Largest pull in the row, in [0, 1]; None where the trigger was recorded as a button."""
    right_trigger_value: Float32[np.ndarray, " rows"] | None = None
    """Analogue value of the right trigger, as `left_trigger_value`."""

    def __len__(self) -> int:
        return len(self.valid)

    def cut(self, start: int, stop: int) -> "ClipActions":
        """Keep the rows from `start` up to `stop` (excluded)."""
        triggers = {
            name: values[start:stop]
            for name in _TRIGGER_COLUMNS
            if (values := getattr(self, name)) is not None
        }
        return ClipActions(
            rows=ActionRows(
                buttons=self.rows.buttons[start:stop], sticks=self.rows.sticks[start:stop]
            ),
            valid=self.valid[start:stop],
            **triggers,
        )

    def join(self, rows_per_action: int, space: ActionSpace) -> "ClipActions":
        """Reduce the rate: each `rows_per_action` rows become one, what is left at the end goes.

        A button is down if it was at any moment, a stick is where it was at first, a motion is the
        sum, a trigger's value is the largest; a row is valid if all that it is made of are.
        """
        if rows_per_action == 1:
            return self
        num_rows = len(self) // rows_per_action

        def group(values: np.ndarray) -> np.ndarray:
            kept = values[: num_rows * rows_per_action]
            return kept.reshape(num_rows, rows_per_action, *values.shape[1:])

        triggers = {
            name: group(values).max(axis=1)
            for name in _TRIGGER_COLUMNS
            if (values := getattr(self, name)) is not None
        }
        axes = group(self.rows.sticks)
        sticks = axes[:, 0].copy()
        for name, scale in space.motions.items():
            index = space.sticks.index(name)
            sticks[:, index] = scale.encode(scale.decode(axes[:, :, index]).sum(axis=1))
        return ClipActions(
            rows=ActionRows(
                buttons=np.logical_or.reduce(group(self.rows.buttons), axis=1), sticks=sticks
            ),
            valid=np.logical_and.reduce(group(self.valid), axis=1),
            **triggers,
        )


def idle_rows(rows: ActionRows, *, dead_zone: float = DEAD_ZONE) -> Bool[np.ndarray, " rows"]:
    """Mark the rows with no button down and every axis inside the dead zone around its centre."""
    is_centred = (np.abs(rows.sticks) <= dead_zone).all(axis=-1)
    return np.logical_and(~rows.buttons.any(axis=-1), is_centred)


def valid_runs(valid: Bool[np.ndarray, " rows"]) -> list[int]:
    """List the runs of valid rows as flattened [start, stop) pairs.

    Example:
        >>> valid_runs(np.array([True, True, False, True]))
        [0, 2, 3, 4]
    """
    edges = np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8))
    return np.flatnonzero(edges).tolist()


def encode_actions(actions: ClipActions, space: ActionSpace) -> bytes:
    """Write a clip's rows as parquet; the same rows give the same bytes."""
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(space.buttons):
        if name not in space.unlabelled:
            columns[name.lower()] = pa.array(actions.rows.buttons[:, index], type=pa.bool_())
    for name, indices in _axis_columns(space).items():
        values = pa.array(actions.rows.sticks[:, indices].ravel(), type=pa.float32())
        if len(indices) > 1:
            values = pa.FixedSizeListArray.from_arrays(values, len(indices))
            values = values.cast(pa.list_(pa.float32()))
        columns[name] = values
    for name in _TRIGGER_COLUMNS:
        if getattr(actions, name) is not None:
            columns[name] = pa.array(getattr(actions, name), type=pa.float32())
    columns["valid"] = pa.array(actions.valid, type=pa.bool_())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def decode_actions(data: bytes, space: ActionSpace) -> ClipActions:
    """Read a clip's rows, which may come from a stranger; unknown columns are left unread.

    Raises:
        ShardError: If it is not parquet, too large, or a column is missing or holds a value that
            is missing, no boolean or number, not finite or out of range.
    """
    table = _read_table(data)
    num_rows = table.num_rows
    buttons = np.zeros((num_rows, len(space.buttons)), dtype=bool)
    for index, name in enumerate(space.buttons):
        if name not in space.unlabelled:
            buttons[:, index] = _bools(table, name.lower())
    sticks = np.zeros((num_rows, len(space.sticks)), dtype=np.float32)
    for name, indices in _axis_columns(space).items():
        sticks[:, indices] = _floats(table, name, low=-1.0, width=len(indices))
    triggers = {
        name: _floats(table, name, low=0.0, width=1)[:, 0]
        for name in _TRIGGER_COLUMNS
        if name in table.column_names
    }
    has_valid = "valid" in table.column_names
    return ClipActions(
        rows=ActionRows(buttons=buttons, sticks=sticks),
        valid=_bools(table, "valid") if has_valid else np.ones(num_rows, dtype=bool),
        **triggers,
    )


def _axis_columns(space: ActionSpace) -> dict[str, list[int]]:
    """Name the columns of the axes, each with the axes that it holds."""
    if space is GAMEPAD:
        return {"j_left": [0, 1], "j_right": [2, 3]}
    return {name.lower(): [index] for index, name in enumerate(space.sticks)}


def _read_table(data: bytes) -> pa.Table:
    if len(data) > MAX_ACTIONS_BYTES:
        raise ShardError(f"actions have {len(data)} bytes, expected up to {MAX_ACTIONS_BYTES}")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        # The footer tells the sizes: a small file may claim to unpack to anything.
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        unpacked = sum(group.total_byte_size for group in groups)
        if not 0 < file.metadata.num_rows <= MAX_CLIP_FRAMES or unpacked > MAX_ACTIONS_BYTES:
            raise ShardError(
                f"actions have {file.metadata.num_rows} rows in {unpacked} bytes, expected 1 to "
                f"{MAX_CLIP_FRAMES} rows in up to {MAX_ACTIONS_BYTES} bytes"
            )
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(
            f"actions are not readable as parquet: {error}", cause="parquet"
        ) from error


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    places = table.schema.get_all_field_indices(name)
    if len(places) != 1:
        raise ShardError(
            f"actions have {len(places)} columns {name!r}, expected one; "
            f"there are {', '.join(table.column_names)[:400]}"
        )
    return table.column(places[0])


def _bools(table: pa.Table, name: str) -> Bool[np.ndarray, " rows"]:
    return to_booleans(_column(table, name), what=f"actions column {name!r}", cause="range")


def _floats(
    table: pa.Table, name: str, *, low: float, width: int
) -> Float32[np.ndarray, "rows width"]:
    values = to_vectors(
        _column(table, name),
        what=f"actions column {name!r}",
        width=width,
        low=low - _ROOM,
        high=1 + _ROOM,
        cause="range",
    )
    return values.astype(np.float32).clip(low, 1)


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
    return decode_members(data, list_members(data))


def decode_members(data: bytes, listed: Sequence[tarfile.TarInfo]) -> Record:
    """Read a clip from a record's tar entries, as `decode_record`.

    Raises:
        ShardError: As `decode_record`.
    """
    key, members = _split_members(data, listed)
    metadata = ClipMetadata.from_json(members["json"])
    if metadata.clip_id != key:
        raise ShardError(f"record {key!r} holds the metadata of clip {metadata.clip_id!r}")
    actions = decode_actions(members["actions.parquet"], get_space(metadata.action_space))
    record = Record(metadata=metadata, actions=actions, video=members["mp4"])
    _check_lengths(record)
    return record


def list_members(data: bytes) -> list[tarfile.TarInfo]:
    """List a record's tar entries, of which all lie within it.

    Raises:
        ShardError: If it is cut short, or not readable as a tar.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            entries = archive.getmembers()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ShardError(f"a record is not readable as tar entries: {error}") from error
    if any(entry.offset_data + entry.size > len(data) for entry in entries if entry.isreg()):
        raise ShardError("a record is not readable as tar entries: unexpected end of data")
    return entries


def read_member(data: bytes, entry: tarfile.TarInfo) -> bytes:
    """Copy a member of a record, once, out of memory."""
    return data[entry.offset_data : entry.offset_data + entry.size]


def _split_members(data: bytes, listed: Sequence[tarfile.TarInfo]) -> tuple[str, dict[str, bytes]]:
    """Find the key and the members by suffix; nothing is extracted to a path.

    Raises:
        ShardError: If they are not the members of one record.
    """
    members: dict[str, bytes] = {}
    keys: set[str] = set()
    for entry in listed:
        key, _, suffix = entry.name.partition(".")
        keys.add(check_key(key))
        is_file = entry.isreg() and not entry.issparse()
        if not is_file or suffix in members or entry.size > _MEMBER_LIMITS.get(suffix, 0):
            raise ShardError(
                f"a record holds one regular file for each of {', '.join(_MEMBER_LIMITS)}, "
                f"got another {entry.name[:100]!r} of {entry.size} bytes"
            )
        members[suffix] = read_member(data, entry)
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
