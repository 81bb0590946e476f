"""Read an input log of another program, by the adapter that recognizes it.

    file ─► adapter ─► columns, units, ranges ─► InputLog

* jsonl: rows of `t_ns` and `controls`, which already keep the contract;
* CSV, and parquet of any writer: a column of times and one per control, which the user may name;
* parquet of the OBS plugin `input-rec`, which it writes beside each recording.

A row of `input-rec` is the whole pad, up to 500 a second: `time` in microseconds since OBS said
that the recording had started, SDL3's buttons as booleans (`LEFT_STICK` is the stick's button), its
axes as 16-bit numbers, y down, triggers from 0. While no pad is connected there are no rows. The
columns are those of src/device/gamepad.cpp and src/writer/parquet.cpp of
github.com/loicmagne/input-rec.
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import yaml
from jaxtyping import Int64

from data_tools.ingest.recording.controls import (
    ButtonLabels,
    Conventions,
    TimeUnit,
    check_conventions,
    choose_labels,
    map_columns,
    recognize_time,
    to_control,
    to_nanoseconds,
)
from data_tools.names import has_suffix
from data_tools.recordings.input_log import InputLog, Track, read_input_log, read_text
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_numbers, to_whole_numbers

MAX_LOG_BYTES = 4 * 2**30
MAX_LOG_ROWS = 100_000_000
"""More than two days at 500 Hz."""

_TIME = "time"
_MUST_HAVE = {_TIME, "SOUTH", "LEFTX", "LEFTY", "RIGHTX", "RIGHTY", "LEFT_TRIGGER", "RIGHT_TRIGGER"}
_CONVENTIONS = Conventions(
    time_unit="us", stick_range="short", stick_y_axis="down", trigger_range="short"
)
_UNPLUGGED_NS = 250_000_000


@dataclass(frozen=True, kw_only=True)
class LoggedPlay:
    """A log in our conventions, on its own clock."""

    log: InputLog
    gaps_ns: tuple[tuple[int, int], ...] = ()
    """[start, stop) times in which the pad was not there."""
    ignored: tuple[str, ...] = ()
    """Columns that are no control of ours."""
    device: str = "unknown"
    notes: tuple[str, ...] = ()
    """Notes on what was assumed, and what was lost."""


def to_input_log(
    times_ns: Int64[np.ndarray, " rows"],
    columns: Mapping[str, np.ndarray],
    conventions: Conventions,
    space: ActionSpace,
    what: str,
) -> InputLog:
    """Make a log of a table: a row says what is held from its time on, NaN that nothing changed.

    Args:
        times_ns: Not decreasing.
        columns: Values by control.
        conventions: How they are meant.
        space: The controls' layout.
        what: The log's name, for messages.

    Raises:
        ShardError: If a column does not fit its convention.
    """
    tracks: dict[str, Track] = {}
    for control, values in columns.items():
        converted = to_control(control, values, conventions, space, f"{what}, {control}")
        said = ~np.isnan(converted)
        if said.any():
            tracks[control] = keep_changes(Track(times_ns=times_ns[said], values=converted[said]))
    return InputLog(tracks=tracks, first_ns=int(times_ns[0]), last_ns=int(times_ns[-1]))


def keep_changes(track: Track) -> Track:
    """Leave out what repeats the value before."""
    changes = np.diff(track.values, prepend=np.nan) != 0
    return Track(times_ns=track.times_ns[changes], values=track.values[changes])


def check_size(num_bytes: int, what: str) -> None:
    """Refuse a log that is too large to be one.

    Raises:
        ShardError: If it is.
    """
    if num_bytes > MAX_LOG_BYTES:
        raise ShardError(f"{what} has {num_bytes} bytes, a log has up to {MAX_LOG_BYTES}")


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


def is_input_rec(path: Path) -> bool:
    """Say whether a parquet has the plugin's columns."""
    if not has_suffix(path, (".parquet",)):
        return False
    try:
        return set(pq.read_schema(path).names) >= _MUST_HAVE
    except (pa.ArrowException, OSError):
        return False


def read_input_rec(path: Path, space: ActionSpace) -> LoggedPlay:
    """Read the plugin's file.

    Raises:
        ShardError: If it is another file, or damaged.
    """
    if not is_input_rec(path):
        raise ShardError(
            f"{path} is no parquet of input-rec, which has {', '.join(sorted(_MUST_HAVE))}; for "
            "another table use --format table"
        )
    play = read_table_log(path, space, _CONVENTIONS, columns={}, time_column=_TIME)
    column = pq.read_table(path, columns=[_TIME]).column(_TIME)
    times_ns = to_nanoseconds(to_numbers(column, what=f"{path}, {_TIME}"), "us", str(path))
    pauses = np.flatnonzero(np.diff(times_ns) > _UNPLUGGED_NS)
    gaps = tuple((int(times_ns[at]), int(times_ns[at + 1])) for at in pauses)
    return replace(play, gaps_ns=gaps, device="gamepad by OBS input-rec")


def is_own_log(path: Path) -> bool:
    """Say whether a file looks like one."""
    if has_suffix(path, (".jsonl",)):
        return True
    try:
        is_parquet = has_suffix(path, (".parquet",))
        return is_parquet and {"t_ns", "controls"} <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def read_own_log(path: Path, space: ActionSpace, conventions: Conventions) -> LoggedPlay:
    """Read `.jsonl` or `.parquet`.

    Raises:
        ShardError: If it breaks the contract, or nothing says where its y axis points.
    """
    check_size(path.stat().st_size, str(path))
    if conventions.stick_y_axis is None:
        raise ShardError(
            f"{path}: nothing says where positive y points; give --stick-y up (XInput) or "
            "--stick-y down (SDL, evdev, browsers)"
        )
    log = read_input_log(path, space, stick_y_axis=conventions.stick_y_axis)
    return LoggedPlay(log=log, notes=(log.lost,) if log.lost else ())


def parse_columns(text: str) -> dict[str, str]:
    """Read `COLUMN=CONTROL,...`, or a YAML file that maps columns to controls.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> parse_columns("Jump=SOUTH, Stick H=LEFT_STICK_X")
        {'Jump': 'SOUTH', 'Stick H': 'LEFT_STICK_X'}
    """
    if text.lower().endswith((".yaml", ".yml")):
        return _read_yaml(Path(text))
    pairs = [[side.strip() for side in pair.split("=")] for pair in text.split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"columns are written COLUMN=CONTROL,..., got {text!r}")
    return {pair[0]: pair[1] for pair in pairs}


def _read_yaml(path: Path) -> dict[str, str]:
    try:
        found: object = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in found.items()
    ):
        raise ValueError(f"{path} must map columns to controls, such as `Jump: SOUTH`")
    return found
