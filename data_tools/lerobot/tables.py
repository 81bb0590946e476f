"""Parquet files of strangers: only the columns that are asked for, of bounded size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64

from nitrogen_train.data.schema import ShardError

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


def to_vectors(column: pa.ChunkedArray, *, what: str) -> Float64[np.ndarray, "rows width"]:
    """Read a column of numbers, or of lists of as many numbers in every row.

    Raises:
        ShardError: If it is anything else, or a value is missing.
    """
    array = column.combine_chunks()
    num_rows = len(array)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        if array.null_count or len(array.value_lengths().unique()) > 1:
            raise ShardError(f"{what} must hold lists of one length", cause=_UNREADABLE)
        array = array.flatten()
    elif pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    kind = array.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if not is_number or array.null_count or not num_rows or len(array) % num_rows:
        raise ShardError(
            f"{what} must hold numbers, none missing, got {column.type} with "
            f"{column.null_count} missing",
            cause=_UNREADABLE,
        )
    # A boolean goes by way of a number.
    values = array.cast(pa.int8()) if pa.types.is_boolean(kind) else array
    return values.to_numpy(zero_copy_only=False).astype(np.float64).reshape(num_rows, -1)


def to_whole_numbers(column: pa.ChunkedArray, *, what: str) -> Int64[np.ndarray, " rows"]:
    """Read a column of whole numbers.

    Raises:
        ShardError: If it is anything else, or a value is missing.
    """
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ShardError(f"{what} must hold whole numbers, got {column.type}", cause=_UNREADABLE)
    return column.combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)


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
