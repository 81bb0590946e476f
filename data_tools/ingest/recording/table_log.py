"""Tables with a column of times and one per control: CSV, and parquet of any writer."""

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from data_tools.ingest.recording.control_names import (
    ButtonLabels,
    choose_labels,
    map_columns,
    recognize_time,
)
from data_tools.ingest.recording.conventions import (
    Conventions,
    TimeUnit,
    check_conventions,
    to_nanoseconds,
)
from data_tools.ingest.recording.logged_play import (
    MAX_LOG_ROWS,
    LoggedPlay,
    check_size,
    to_input_log,
)
from data_tools.names import has_suffix
from data_tools.text_log import read_text
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
    labels: ButtonLabels | None = None,
) -> LoggedPlay:
    """Read a `.csv` with a header, or a `.parquet`.

    Args:
        path: The table.
        space: The controls' layout.
        conventions: How the numbers are meant; the time's unit may come from its column's name.
        columns: Controls by column, in place of those that are recognized.
        time_column: The column of times, in place of the one that is recognized.
        labels: Whose names A, B, X and Y are; None: as the other columns tell.

    Raises:
        ShardError: If the table is not readable, or something in it is not understood.
        OSError: If the file cannot be read.
    """
    check_size(path.stat().st_size, str(path))
    source = _Parquet(path) if has_suffix(path, (".parquet",)) else _Csv(path)
    names = source.names
    _check_header(path, names)
    if len(set(names)) < len(names):
        raise ShardError(f"{path} has two columns of one name: {', '.join(names)[:300]}")
    time_name, named_unit = _choose_time(path, names, time_column)
    others = [name for name in names if name not in (time_name, "")]
    notes: list[str] = []
    if not columns:
        labels, note = choose_labels(others, labels, str(path))
        notes += [note] * bool(note)
    by_control = map_columns(others, columns, space, str(path), labels=labels or "xbox")
    table, lost = source.read([time_name, *by_control.values()])
    notes += [lost] * bool(lost)
    column, unit = table.column(time_name), conventions.time_unit or named_unit
    if pa.types.is_temporal(column.type):
        column, unit = _as_nanoseconds(column), "ns"
    times = _times(column, f"{path}, {time_name}")
    numbers = {
        control: to_numbers(table.column(column), what=f"{path}, {column}")
        for control, column in by_control.items()
    }
    if not len(times):
        raise ShardError(f"{path} holds no row")
    unsaid = (time_name, times) if unit is None else None
    check_conventions(numbers, conventions, space, str(path), times=unsaid)
    times_ns = to_nanoseconds(times, cast("TimeUnit", unit), str(path))
    log = to_input_log(times_ns, numbers, conventions, space, str(path))
    used = set(by_control.values())
    ignored = tuple(name for name in others if name not in used)
    return LoggedPlay(log=log, ignored=ignored, notes=tuple(notes))


@dataclass(frozen=True)
class _Parquet:
    path: Path

    @property
    def names(self) -> list[str]:
        try:
            file = pq.ParquetFile(self.path)
        except pa.ArrowException as error:
            raise ShardError(f"{self.path} is not readable as a table: {error}") from error
        if file.metadata.num_rows > MAX_LOG_ROWS:
            raise ShardError(f"{self.path} has {file.metadata.num_rows} rows, too many for a log")
        return list(file.schema_arrow.names)

    def read(self, names: list[str]) -> tuple[pa.Table, str]:
        try:
            return pq.read_table(self.path, columns=names), ""
        except (pa.ArrowException, OSError) as error:
            raise ShardError(f"{self.path} is not readable as a table: {error}") from error


@dataclass(frozen=True)
class _Csv:
    path: Path

    @cached_property
    def _text(self) -> bytes:
        return read_text(self.path)

    @cached_property
    def _delimiter(self) -> str:
        header = self._text.partition(b"\n")[0].decode(errors="replace")
        return max(",;\t", key=header.count)

    @property
    def names(self) -> list[str]:
        return self._parse(self._text[: self._text.find(b"\n") + 1] or self._text).column_names

    def read(self, names: list[str]) -> tuple[pa.Table, str]:
        """Read columns, and say what was lost at the end."""
        rows, last = self._split_last()
        header = rows[: rows.find(b"\n") + 1]
        is_ended = self._text.endswith(b"\n")
        if not last or self._is_whole(header + last, names, must_be_numbers=not is_ended):
            return self._parse(self._text, names), ""
        lost = f"the last row is cut and left out: {last.decode(errors='replace')[:60]!r}"
        return self._parse(rows, names), lost

    def _split_last(self) -> tuple[bytes, bytes]:
        text = self._text.rstrip()
        start = text.rfind(b"\n") + 1
        return (text[:start], text[start:]) if start else (text, b"")

    def _is_whole(self, text: bytes, names: list[str], *, must_be_numbers: bool) -> bool:
        try:
            table = self._parse(text, names)
        except ShardError:
            return False
        is_text = any(pa.types.is_string(table.column(name).type) for name in names)
        return not (must_be_numbers and is_text)

    def _parse(self, text: bytes, names: list[str] | None = None) -> pa.Table:
        options = pa_csv.ConvertOptions(
            include_columns=names,
            strings_can_be_null=True,
            # As Excel writes it where the comma is a number's.
            decimal_point="," if self._delimiter == ";" and b"," in self._text else ".",
        )
        parse = pa_csv.ParseOptions(delimiter=self._delimiter)
        try:
            return pa_csv.read_csv(io.BytesIO(text), parse_options=parse, convert_options=options)
        except pa.ArrowException as error:
            raise ShardError(f"{self.path} is not readable as a table: {error}") from error


def _check_header(path: Path, names: list[str]) -> None:
    """Refuse a table whose first line holds values: no control is called 0.25.

    Raises:
        ShardError: If it does.
    """
    if sum(_is_number(name) for name in names) * 2 > len(names):
        raise ShardError(
            f"{path} has no header: its first line must name the columns, such as "
            f"time_ms,LX,LY,A, and is {','.join(names)[:80]!r}"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def _as_nanoseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read times of a type that knows its unit: a date with its time, a duration, a time of day."""
    exact = pa.time64("ns") if pa.types.is_time(column.type) else None
    if pa.types.is_duration(column.type):
        exact = pa.duration("ns")
    return column.cast(exact or pa.timestamp("ns")).cast(pa.int64())


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
