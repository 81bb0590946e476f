"""Parquet files of strangers: only the columns that are asked for, of bounded size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_whole_numbers

_MAX_BYTES = 2 * 1024**3
"""Of the columns of one file, unpacked: its footer tells."""
_UNREADABLE = "a table cannot be read"


def read_column_names(path: Path) -> list[str]:
    """List the columns of a file.

    Raises:
        ShardError: If it is not readable.
    """
    with _refuse_damage(path):
        return pq.read_schema(path).names


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
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
