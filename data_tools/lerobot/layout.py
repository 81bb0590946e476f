"""Define where a LeRobotDataset v3.0 keeps what, and how our rows become its features.

    meta/info.json, stats.json, tasks.parquet, episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                   rows of many episodes
    videos/CAMERA/chunk-000/file-000.mp4              pictures of many episodes

A table of the episodes says which file holds one, and from when to when. The last two paths are
templates in `info.json`, which may come from a stranger; so may every parquet file, of which only
the columns asked for are read, up to a bound. Rows of ours become features and come back bit by
bit. What LeRobot has no place for is a line of JSON beside each episode that was a clip of ours.
The library lerobot is not used: it needs torch, and trusts the files it reads.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import (
    SPLITS,
    ClipMetadata,
    ShardError,
    Split,
    parse_json_object,
)
from nitrogen_train.data.values import to_booleans, to_vectors, to_whole_numbers

TRIGGER_CONTROLS = {
    "left_trigger_value": "LEFT_TRIGGER",
    "right_trigger_value": "RIGHT_TRIGGER",
}
"""Columns of `ClipActions` and of the exported rows, and the controls that they belong to."""

CODEBASE_VERSION = "v3.0"
INFO_PATH = "meta/info.json"
STATISTICS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_DIR = "meta/episodes"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

CLIP_COLUMN = "nitrogen_train"
"""Column of the table of episodes for what LeRobot has no place for; see `EpisodeClip`."""

_FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
_MIB = 1024**2

_MAX_BYTES = 2 * 1024**3
"""Size of the columns of one file, unpacked: its footer tells."""
_UNREADABLE = "a table cannot be read"


@dataclass(frozen=True, kw_only=True)
class EpisodeClip:
    """A clip but for its rows and its pictures."""

    metadata: ClipMetadata
    split: Split
    analogue_triggers: tuple[str, ...]
    """Columns of triggers whose pull was recorded; where not, the column repeats the button."""

    def to_json(self) -> str:
        """Write one canonical line."""
        return json.dumps(
            {
                "metadata": json.loads(self.metadata.to_json()),
                "split": self.split,
                "analogue_triggers": self.analogue_triggers,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, *, what: str) -> "EpisodeClip":
        """Read what may have been edited since.

        Args:
            text: The line.
            what: Whose it is, for messages.

        Raises:
            ShardError: If it is not what `to_json` writes.
        """
        values = parse_json_object(text.encode(), what)
        if values.keys() != {"metadata", "split", "analogue_triggers"}:
            raise ShardError(f"{what} has the fields {sorted(values)}, it was written by others")
        split, triggers = values["split"], cast("Any", values["analogue_triggers"])
        if split not in SPLITS:
            raise ShardError(f"{what}: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not isinstance(triggers, list) or any(name not in TRIGGER_CONTROLS for name in triggers):
            raise ShardError(f"{what}: analogue_triggers may hold {', '.join(TRIGGER_CONTROLS)}")
        try:
            metadata = ClipMetadata.from_json(json.dumps(values["metadata"]).encode())
        except ShardError as error:
            raise ShardError(f"{what}: {error}") from error
        return cls(metadata=metadata, split=cast("Split", split), analogue_triggers=tuple(triggers))


def list_analogue_triggers(actions: ClipActions) -> tuple[str, ...]:
    """Name the columns of triggers whose pull was recorded."""
    return tuple(name for name in TRIGGER_CONTROLS if getattr(actions, name) is not None)


class FilePlace(NamedTuple):
    """The number of one file of a kind: `chunk-CHUNK/file-FILE`."""

    chunk_index: int
    file_index: int


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """The sizes at which a file is full; LeRobot's own defaults."""

    data_mb: float = 100.0
    """Size of a table, in MiB."""
    video_mb: float = 200.0
    """Size of a video, in MiB."""
    files_per_chunk: int = 1000

    def __post_init__(self) -> None:
        if not (self.data_mb > 0 and self.video_mb > 0 and self.files_per_chunk >= 1):
            raise ValueError(
                f"file sizes and files per chunk must lie above 0, got {self.data_mb} MiB, "
                f"{self.video_mb} MiB and {self.files_per_chunk}"
            )

    @property
    def data_bytes(self) -> int:
        """Return `data_mb` in bytes."""
        return int(self.data_mb * _MIB)

    @property
    def video_bytes(self) -> int:
        """Return `video_mb` in bytes."""
        return int(self.video_mb * _MIB)

    def place(self, number: int) -> FilePlace:
        """Find where the `number`-th file of a kind lies."""
        return FilePlace(*divmod(number, self.files_per_chunk))


def fill_template(template: str, place: FilePlace, *, video_key: str = "") -> str:
    """Find a file's path inside the data set's folder.

    Args:
        template: Such as `VIDEO_PATH`.
        place: Which file.
        video_key: Which camera, if it is a video.

    Raises:
        ShardError: If the template has other fields, or leads out of the folder.

    Example:
        >>> fill_template(DATA_PATH, FilePlace(0, 12))
        'data/chunk-000/file-012.parquet'
    """
    # Not `str.format`: a stranger's template may ask it for attributes, or for a gigabyte of zeros.
    values = {
        "chunk_index": str(place.chunk_index),
        "file_index": str(place.file_index),
        "video_key": video_key,
    }

    def fill(field: re.Match[str]) -> str:
        name, width = field[1], int(field[2] or 0)
        if name not in values:
            raise ShardError(
                f"the path {template[:200]!r} has a field {name!r}, expected {', '.join(values)}"
            )
        return values[name].zfill(width) if width else values[name]

    filled = _FIELD.sub(fill, template)
    path = PurePosixPath(filled)
    if (
        not filled.isprintable()
        or any(brace in filled for brace in "{}\\")
        or path.is_absolute()
        or ".." in path.parts
        or not 0 < len(filled) <= 500
    ):
        raise ShardError(
            f"the path {template[:200]!r} must lead to a file inside the data set's folder, "
            f"got {filled[:200]!r}"
        )
    return filled


def lay_out_rows(actions: ClipActions, space: ActionSpace) -> dict[str, np.ndarray]:
    """Lay rows out as features; `read_rows` is the inverse.

    Returns:
        `action` in physical units, in the order of the layout; `valid`; and of each trigger that
        the layout has its pull, or 0 and 1 where it was recorded as a button.
    """
    buttons = actions.rows.buttons.astype(np.float32)
    features: dict[str, np.ndarray] = {
        "action": np.concatenate([buttons, actions.rows.sticks], axis=1),
        "valid": actions.valid,
    }
    for name, control in TRIGGER_CONTROLS.items():
        if control in space.buttons:
            pull = getattr(actions, name)
            features[name] = buttons[:, space.index(control)] if pull is None else pull
    return features


def describe_features(space: ActionSpace) -> dict[str, dict[str, object]]:
    """Describe the features of the rows, as `info.json` does."""
    triggers = [name for name, control in TRIGGER_CONTROLS.items() if control in space.buttons]
    return {
        "action": {
            "dtype": "float32",
            "shape": [space.action_dim],
            "names": list(space.controls),
        },
        "valid": {"dtype": "bool", "shape": [1], "names": None},
        **{name: {"dtype": "float32", "shape": [1], "names": None} for name in triggers},
    }


def to_columns(features: dict[str, np.ndarray]) -> dict[str, pa.Array]:
    """Turn features into columns, vectors into lists of fixed size."""
    columns: dict[str, pa.Array] = {}
    for name, values in features.items():
        flat = pa.array(values.ravel())
        columns[name] = (
            pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim > 1 else flat
        )
    return columns


def read_rows(
    table: pa.Table, space: ActionSpace, *, analogue_triggers: Sequence[str], what: str
) -> ClipActions:
    """Read rows that `lay_out_rows` laid out.

    Args:
        table: With the columns that `describe_features` names.
        space: Their layout.
        analogue_triggers: Columns of triggers whose pull was recorded.
        what: Whose rows, for messages.

    Raises:
        ShardError: If they have been changed to what no clip may hold.
    """
    columns = {
        name: to_vectors(table[name], what=f"{what}, {name}").astype(np.float32)
        for name in table.column_names
        if name in describe_features(space) and name != "valid"
    }
    valid = to_booleans(table["valid"], what=f"{what}, valid")
    try:
        rows = space.rows_from_values(columns["action"])
    except (ValueError, IndexError) as error:
        raise ShardError(f"{what}: {error}", cause="an action is out of range") from error
    pulls = {name: columns[name][:, 0] for name in analogue_triggers}
    for name, values in pulls.items():
        # Written so that NaN fails too.
        if not ((values >= 0) & (values <= 1)).all():
            raise ShardError(
                f"{what}: {name} must lie in [0, 1]", cause="an action is out of range"
            )
    return ClipActions(rows=rows, valid=valid, **pulls)


def read_column_names(path: Path) -> list[str]:
    """List the columns of a file.

    Raises:
        ShardError: If it is not readable.
    """
    with _refuse_damage(path):
        return pq.read_schema(path).names


def read_table_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read some columns of a file as rows.

    Raises:
        ShardError: If it is not readable or too large, or lacks a column.
    """
    with _refuse_damage(path):
        return _open(path, columns).read(list(columns), use_threads=False).to_pylist()


def read_episode_rows(
    path: Path, columns: Sequence[str], episodes: set[int]
) -> dict[int, pa.Table]:
    """Read some columns of a file, and sort its rows by episode.

    Args:
        path: A table of rows.
        columns: Without `episode_index`.
        episodes: Whose rows are wanted.

    Raises:
        ShardError: If it is not readable or too large, or lacks a column.
    """
    found: dict[int, list[pa.Table]] = {}
    with _refuse_damage(path):
        file = _open(path, [*columns, "episode_index"])
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group, [*columns, "episode_index"], use_threads=False)
            index = to_whole_numbers(table["episode_index"], what=f"{path}, episode_index")
            for episode in sorted(episodes.intersection(np.unique(index).tolist())):
                rows = table.filter(pa.array(index == episode))
                found.setdefault(episode, []).append(rows)
    return {episode: pa.concat_tables(tables) for episode, tables in found.items()}


def _open(path: Path, columns: Sequence[str]) -> pq.ParquetFile:
    file = pq.ParquetFile(path, pre_buffer=False)
    names = file.schema_arrow.names
    if missing := [name for name in columns if names.count(name) != 1]:
        raise ShardError(
            f"{path} must have one column {missing[0]!r}; it has {', '.join(names)[:400]}",
            cause=_UNREADABLE,
        )
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    wanted = [
        group.column(i)
        for group in groups
        for i in range(group.num_columns)
        # A list's column is named `action.list.element`, and a feature's name may hold dots.
        if f"{group.column(i).path_in_schema}.".startswith(tuple(f"{name}." for name in columns))
    ]
    # Repeated values take no space in the file, so they are counted too.
    unpacked = sum(max(column.total_uncompressed_size, 8 * column.num_values) for column in wanted)
    if unpacked > _MAX_BYTES:
        raise ShardError(
            f"{path} unpacks to {unpacked} bytes, expected up to {_MAX_BYTES}", cause=_UNREADABLE
        )
    return file


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ShardError(
            f"{path} is not readable as parquet: {error}", cause=_UNREADABLE
        ) from error
