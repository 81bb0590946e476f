"""Write and read what a policy would have pressed in the rows of clips, as a parquet file.

A row per prediction: `clip_id`, `row` (of the clip as it is stored), and each control by its name
in lower case, in physical units: buttons bool, axes in [-1, 1]. `nitrogen-eval` writes it,
`nitrogen-data preview` draws it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.data.schema import (
    MAX_CLIP_FRAMES,
    SCHEMA_VERSION,
    ShardError,
    check_version,
)
from nitrogen_train.runtime.atomic_files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Those of one clip."""

    rows: Int64[np.ndarray, " n"]
    """Rows of the clip, increasing."""
    actions: ActionRows
    """Rows that were predicted, one for each."""


class PredictionWriter:
    """Writes clip by clip; `open_predictions` makes one."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        """Take an open file.

        Args:
            writer: It writes `schema`.
            schema: Of the whole file.
        """
        self._writer, self._schema = writer, schema
        self._clip_ids: set[str] = set()

    def write(self, clip_id: str, rows: Int64[np.ndarray, " n"], actions: ActionRows) -> None:
        """Append a clip's predictions.

        Args:
            clip_id: The clip.
            rows: Which of its rows, increasing.
            actions: What is predicted for each.

        Raises:
            ValueError: If the clip has been written before.
        """
        if clip_id in self._clip_ids:
            raise ValueError(
                f"clip {clip_id} comes twice: two data sets use one name; predict them one by one"
            )
        self._clip_ids.add(clip_id)
        columns = [
            pa.array([clip_id] * len(rows), pa.string()),
            pa.array(rows, pa.int32()),
            *(pa.array(values, pa.bool_()) for values in actions.buttons.T),
            *(pa.array(values, pa.float32()) for values in actions.sticks.T),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


@contextmanager
def open_predictions(path: Path, space: ActionSpace) -> Iterator[PredictionWriter]:
    """Open a file for writing; it appears whole once the block has succeeded.

    Args:
        path: The parquet file.
        space: Of all predictions.
    """
    facts = {"schema_version": str(SCHEMA_VERSION), "action_space": space.name}
    schema = pa.schema(_columns(space), metadata=facts)
    with write_atomically(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        yield PredictionWriter(writer, schema)


def list_predicted(path: Path, *, space: ActionSpace) -> set[str]:
    """Name the clips that a file has predictions for.

    Args:
        path: A file that `open_predictions` wrote.
        space: That it must be of.

    Raises:
        FileNotFoundError: If there is no such file.
        ShardError: If it is not such a file, or of another action space.
    """
    return set(_read(path, space, columns=["clip_id"])["clip_id"].to_pylist())


def read_predictions(path: Path, clip_id: str, *, space: ActionSpace) -> Predictions:
    """Read what was predicted for one clip.

    Args:
        path: A file that `open_predictions` wrote.
        clip_id: The clip.
        space: That it must be of.

    Raises:
        FileNotFoundError: If there is no such file.
        ShardError: If it is not such a file, of another action space, a value is missing or out of
            range, or it says nothing of this clip.
    """
    table = _read(path, space, filters=[("clip_id", "=", clip_id)])
    if not 0 < table.num_rows <= MAX_CLIP_FRAMES:
        raise ShardError(
            f"{path} has {table.num_rows} predictions for clip {clip_id}, expected 1 to "
            f"{MAX_CLIP_FRAMES}; only clips of split val are predicted"
        )
    if any(column.null_count for column in table.columns):
        raise ShardError(f"{path} has missing values for clip {clip_id}; predict it again")
    rows = table["row"].to_numpy().astype(np.int64)
    if rows[0] < 0 or (np.diff(rows) <= 0).any():
        raise ShardError(f"{path} has rows of clip {clip_id} out of order; predict it again")
    buttons = [table[name.lower()].to_numpy() for name in space.buttons]
    sticks = np.stack([table[name.lower()].to_numpy() for name in space.sticks], axis=1)
    # Written so that NaN fails too.
    if not (np.abs(sticks) <= 1).all():
        raise ShardError(f"{path} has axes outside [-1, 1] for clip {clip_id}; predict it again")
    return Predictions(
        rows=rows, actions=ActionRows(buttons=np.stack(buttons, axis=1), sticks=sticks)
    )


def _columns(space: ActionSpace) -> dict[str, pa.DataType]:
    return {
        "clip_id": pa.string(),
        "row": pa.int32(),
        **{name.lower(): pa.bool_() for name in space.buttons},
        **{name.lower(): pa.float32() for name in space.sticks},
    }


def _read(path: Path, space: ActionSpace, **choice: Any) -> pa.Table:  # noqa: ANN401 - pyarrow's
    """Read a file of predictions, all of it or what `pq.read_table` is told to choose.

    Raises:
        FileNotFoundError: If there is no such file.
        ShardError: If it is not such a file, or of another action space.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; `nitrogen-eval policy=... datasets=[...] predictions=true` "
            "writes a predictions.parquet"
        )
    try:
        _check_schema(pq.read_schema(path), path, space)
        return pq.read_table(path, use_threads=False, **choice)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path} is not readable as parquet: {error}") from error


def _check_schema(schema: pa.Schema, path: Path, space: ActionSpace) -> None:
    facts = schema.metadata or {}
    version, name = facts.get(b"schema_version", b""), facts.get(b"action_space", b"").decode()
    check_version(int(version) if version.isdigit() else None, str(path))
    if name != space.name:
        raise ShardError(f"{path} is of the action space {name!r}, the clip of {space.name!r}")
    wrong = [
        column
        for column, kind in _columns(space).items()
        if schema.names.count(column) != 1 or schema.field(column).type != kind
    ]
    if wrong:
        raise ShardError(f"{path} lacks the columns {wrong}, or has them of another type")
