"""Tables with a column of times and one per control: CSV, and parquet of any writer."""

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from data_tools.ingest.recording.control_names import map_columns, recognize_time
from data_tools.ingest.recording.conventions import Conventions, TimeUnit, to_nanoseconds
from data_tools.ingest.recording.logged_play import (
    MAX_LOG_ROWS,
    LoggedPlay,
    check_size,
    to_input_log,
)
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_numbers, to_whole_numbers


def read_table_log(
    path: Path,
    space: ActionSpace,
    conventions: Conventions,
    *,
    columns: dict[str, str],
    time_column: str | None,
) -> LoggedPlay:
    """Read a `.csv` with a header, or a `.parquet`.

    Args:
        path: The table.
        space: The controls' layout.
        conventions: How the numbers are meant; the time's unit may come from its column's name.
        columns: Controls by column, in place of those that are recognized.
        time_column: The column of times, in place of the one that is recognized.

    Raises:
        ShardError: If the table is not readable, or something in it is not understood.
    """
    check_size(path.stat().st_size, str(path))
    names = _read_names(path)
    time_name, named_unit = _choose_time(path, names, time_column)
    unit = conventions.time_unit or named_unit
    if unit is None:
        raise ShardError(
            f"{path}: nothing says in which unit {time_name!r} is; give --time-unit s, ms, us or ns"
        )
    others = [name for name in names if name not in (time_name, "")]
    by_control = map_columns(others, columns, space, str(path))
    table = _read_columns(path, [time_name, *by_control.values()])
    times = _times(table.column(time_name), f"{path}, {time_name}")
    times_ns = to_nanoseconds(times, unit, str(path))
    log = to_input_log(
        times_ns,
        {
            control: to_numbers(table.column(column), what=f"{path}, {column}")
            for control, column in by_control.items()
        },
        conventions,
        space,
        str(path),
    )
    used = set(by_control.values())
    return LoggedPlay(log=log, ignored=tuple(name for name in others if name not in used))


def _read_names(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            if file.metadata.num_rows > MAX_LOG_ROWS:
                raise ShardError(f"{path} has {file.metadata.num_rows} rows, too many for a log")
            names: list[str] = file.schema_arrow.names
        else:
            with path.open("rb") as file:
                header = file.readline(65536)
            names = pa_csv.read_csv(pa.BufferReader(header)).column_names
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path} is not readable as a table: {error}") from error
    if len(set(names)) < len(names):
        raise ShardError(f"{path} has two columns of one name: {', '.join(names)[:300]}")
    return names


def _choose_time(path: Path, names: list[str], chosen: str | None) -> tuple[str, TimeUnit | None]:
    if chosen is not None:
        if chosen not in names:
            raise ShardError(f"{path} has no column {chosen!r}; it has {', '.join(names)[:300]}")
        return chosen, recognize_time(chosen)[1]
    found = [name for name in names if recognize_time(name)[0]]
    if len(found) != 1:
        raise ShardError(
            f"{path} has {len(found)} columns that are named after time; choose one with "
            f"--time-column, it has {', '.join(names)[:300]}"
        )
    return found[0], recognize_time(found[0])[1]


def _read_columns(path: Path, names: list[str]) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=names)
        options = pa_csv.ConvertOptions(include_columns=names, strings_can_be_null=True)
        return pa_csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{path} is not readable as a table: {error}") from error


def _times(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """Read times, exactly if they are whole: floats hold no nanoseconds of this century.

    Raises:
        ShardError: If one is no number.
    """
    if not pa.types.is_floating(column.type):
        # What is not whole may still be numbers.
        with contextlib.suppress(ShardError):
            return to_whole_numbers(column, what=what)
    return to_numbers(column, what=what)
