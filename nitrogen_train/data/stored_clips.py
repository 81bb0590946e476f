"""Read clips from the records of any writer: ours, or a foreign one's with a manifest of ours.

    record's members ─► ours: `actions.parquet`, `json` with our schema, `mp4`, all of it checked
                     └► foreign: one picture (mp4, jpg, jpeg), one `ACTION_DECODERS` knows, others
                        left unread; what it does not say is in its manifest's row

The record itself says which of them it is. Other writers store actions, beside `actions.parquet`,
as

    actions.json    rows [{"SOUTH": true, "LEFT_STICK_X": -0.4}, …] or columns {"SOUTH": [true, …]}
    npy, npz        an array (rows, controls), in the order of the action space

All are in physical units: buttons from 0 to 1, axes in [-1, 1], y down-positive. Names are those of
the controls, in any case; a control that is not named is released or centred. JSON and npz may hold
`valid` as well. Nothing is ever unpickled.
"""

import io
import json
import math
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Bool

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import (
    MAX_ACTIONS_BYTES,
    MAX_RECORD_BYTES,
    ClipActions,
    decode_actions,
    decode_members,
    list_members,
    read_member,
)
from nitrogen_train.data.schema import (
    MAX_CLIP_FRAMES,
    MAX_METADATA_BYTES,
    ShardError,
    parse_json_object,
)
from nitrogen_train.data.values import as_number, check_booleans

_CAUSE = "actions"

PICTURES = ("mp4", "jpg", "jpeg")
"""Suffixes; FFmpeg reads a JPEG as a video of one frame."""

_OURS = {"actions.parquet", "json", "mp4"}
# As webdataset cuts names; the first dot after the last slash ends the key.
_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


def decode_json_actions(data: bytes, space: ActionSpace) -> ClipActions:
    """Read named controls, as rows or as columns.

    Raises:
        ShardError: If it is neither, a control is unknown, or a value is no number in its range.
    """
    try:
        content: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"actions.json is not JSON: {error}", cause=_CAUSE) from error
    columns = _find_columns(content)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise ShardError(
            f"the columns of actions.json must be of one length, got {sorted(lengths)}",
            cause=_CAUSE,
        )
    num_rows = _check_length(lengths.pop())
    valid = np.ones(num_rows, bool)
    values = np.zeros((num_rows, space.action_dim))
    for name, column in columns.items():
        numbers = _read_numbers(name, column)
        if name == "valid":
            valid = check_booleans(numbers, what="'valid' in actions.json", cause=_CAUSE)
        else:
            values[:, _find_control(space, name)] = numbers
    return _build(values, valid, space)


def decode_npy_actions(data: bytes, space: ActionSpace) -> ClipActions:
    """Read an array of the whole layout.

    Raises:
        ShardError: If it is none, of another shape, or a value is out of range.
    """
    values = _read_npy(data)
    return _build(values, np.ones(len(values), bool), space)


def decode_npz_actions(data: bytes, space: ActionSpace) -> ClipActions:
    """Read an array of the whole layout: the one named `actions`, or the only one.

    Raises:
        ShardError: As `decode_npy_actions`.
    """
    arrays = _read_npz(data)
    valid = arrays.pop("valid", None)
    values = arrays.get("actions")
    if values is None and len(arrays) == 1:
        (values,) = arrays.values()
    if values is None:
        raise ShardError(
            f"an npz of actions holds an array `actions`, or a single one, got {sorted(arrays)}",
            cause=_CAUSE,
        )
    if valid is None:
        valid = np.ones(len(values), bool)
    if valid.shape != values.shape[:1]:
        raise ShardError(
            f"`valid` must have one value a row, got the shapes {valid.shape}, {values.shape}",
            cause=_CAUSE,
        )
    return _build(values, check_booleans(valid, what="`valid`", cause=_CAUSE), space)


ACTION_DECODERS: dict[str, Callable[[bytes, ActionSpace], ClipActions]] = {
    "actions.parquet": decode_actions,
    "actions.json": decode_json_actions,
    "actions.npy": decode_npy_actions,
    "actions.npz": decode_npz_actions,
    "npy": decode_npy_actions,
    "npz": decode_npz_actions,
}
"""Decoders by the member's suffix."""


def _build(values: np.ndarray, valid: Bool[np.ndarray, " rows"], space: ActionSpace) -> ClipActions:
    if values.ndim != 2 or values.shape[1] != space.action_dim:
        raise ShardError(
            f"actions must have the shape (rows, {space.action_dim}) of the action space "
            f"{space.name!r}, got {values.shape}",
            cause=_CAUSE,
        )
    _check_length(len(values))
    try:
        rows = space.rows_from_values(values.astype(np.float32))
    except ValueError as error:
        raise ShardError(str(error), cause=_CAUSE) from error
    return ClipActions(rows=rows, valid=valid)


def _check_length(num_rows: int) -> int:
    if not 1 <= num_rows <= MAX_CLIP_FRAMES:
        raise ShardError(
            f"actions have {num_rows} rows, expected 1 to {MAX_CLIP_FRAMES}", cause=_CAUSE
        )
    return num_rows


def _find_columns(content: object) -> dict[str, list[object]]:
    if isinstance(content, list):
        rows = cast("list[dict[str, object]]", content)
        if not all(isinstance(row, dict) for row in rows):
            raise ShardError("a row of actions.json must be an object", cause=_CAUSE)
        names = {name for row in rows for name in row}
        if len(names) * len(rows) > MAX_ACTIONS_BYTES:
            raise ShardError(f"actions.json names {len(names)} controls", cause=_CAUSE)
        # Rows that do not say whether they are valid are.
        return {name: [row.get(name, name == "valid") for row in rows] for name in names}
    columns = cast("dict[str, list[object]]", content)
    if not isinstance(content, dict) or not all(isinstance(c, list) for c in columns.values()):
        raise ShardError("actions.json must be a list of rows or lists by control", cause=_CAUSE)
    return columns


def _read_numbers(name: str, column: list[object]) -> np.ndarray:
    numbers = np.zeros(len(column))
    for row, value in enumerate(column):
        number = as_number(value)
        if number is None:
            raise ShardError(
                f"{name[:100]!r} in actions.json, row {row + 1}: expected a finite number, or true "
                f"or false, got {value!r:.60}",
                cause=_CAUSE,
            )
        numbers[row] = number
    return numbers


def _find_control(space: ActionSpace, name: str) -> int:
    try:
        return space.index(name.upper())
    except ValueError as error:
        raise ShardError(str(error)[:400], cause=_CAUSE) from error


def _read_npy(data: bytes) -> np.ndarray:
    """Read an array whose header has been checked against the bytes that follow it.

    Raises:
        ShardError: If it is none, holds anything but numbers, or not as many as it says.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file)
    except (ValueError, KeyError, EOFError) as error:
        raise ShardError(f"actions are not readable as npy: {error}", cause=_CAUSE) from error
    num_bytes = math.prod(shape) * dtype.itemsize
    if (
        dtype.kind not in "biuf"
        or min(shape, default=0) < 0
        or num_bytes != len(data) - file.tell()
    ):
        raise ShardError(
            f"an npy of actions holds numbers, got {dtype} of shape {shape} in {len(data)} bytes",
            cause=_CAUSE,
        )
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def _read_npz(data: bytes) -> dict[str, np.ndarray]:
    left, arrays = MAX_ACTIONS_BYTES, dict[str, np.ndarray]()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    # Not by the size that it claims: it may unpack to anything.
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise ShardError(
                        f"actions unpack to more than {MAX_ACTIONS_BYTES} bytes", cause=_CAUSE
                    )
                arrays[entry.filename.removesuffix(".npy")] = _read_npy(content)
    # RuntimeError: it is encrypted; NotImplementedError is one as well.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ShardError(f"actions are not readable as npz: {error}", cause=_CAUSE) from error
    return arrays


@runtime_checkable
class StoredClip(Protocol):
    """The parts of a record that reading needs."""

    @property
    def actions(self) -> ClipActions:
        """Return one row per frame."""
        ...

    @property
    def video(self) -> bytes:
        """Return the video, still encoded."""
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


def decode_clip(data: bytes, space: ActionSpace) -> StoredClip:
    """Read a record of any writer.

    Raises:
        ShardError: If it is not a record, or breaks the contract of its layout.
    """
    listed = list_members(data)
    members = _choose_members(listed)
    if _is_ours(data, members):
        return decode_members(data, listed)
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
        actions=ACTION_DECODERS[name](read_member(data, members[name]), space),
        video=read_member(data, members[picture]),
        is_picture=picture != "mp4",
    )


def _is_ours(data: bytes, members: Mapping[str, tarfile.TarInfo]) -> bool:
    """Tell whether a record's members are those that `encode_record` writes."""
    if members.keys() != _OURS:
        return False
    try:
        metadata = parse_json_object(read_member(data, members["json"]), "a clip's metadata")
    except ShardError:
        return False
    return "schema_version" in metadata


def _choose_members(listed: Sequence[tarfile.TarInfo]) -> dict[str, tarfile.TarInfo]:
    """Choose the members that matter, by suffix; nothing is extracted to a path.

    Raises:
        ShardError: If they are not tar entries of one key, or one comes twice or is too large.
    """
    members: dict[str, tarfile.TarInfo] = {}
    keys: set[str] = set()
    for entry in listed:
        named = split_member_name(entry.name)
        if named is None or not entry.isreg() or entry.issparse():
            continue
        key, suffix = named
        keys.add(key)
        if suffix not in _LIMITS or (suffix == "json" and entry.size > MAX_METADATA_BYTES):
            continue
        if suffix in members or entry.size > _LIMITS[suffix]:
            raise ShardError(
                f"a record holds one {suffix} of up to {_LIMITS[suffix]} bytes, got "
                f"another {entry.name[:100]!r} of {entry.size}"
            )
        members[suffix] = entry
    if len(keys) != 1:
        raise ShardError(f"a record holds members of one key, got {sorted(keys)[:3]}")
    return members


_LIMITS = {
    "json": MAX_METADATA_BYTES,
    **dict.fromkeys(PICTURES, MAX_RECORD_BYTES),
    **dict.fromkeys(ACTION_DECODERS, MAX_ACTIONS_BYTES),
}
