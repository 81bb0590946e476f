"""Turn an input log into one row per frame, by the one rule of time.

Row t covers the time from frame t (included) to frame t+1 (excluded). A button is down in it if it
was down at any moment of it; a stick is its last value at or before frame t. Nothing at or after
frame t+1 enters.

A row of a log names controls and their values from `t_ns` on. A control that it does not name
keeps its value, so a log may hold whole states or changes alone, at any rate. It reaches from the
first frame to the last; a log of changes ends with an empty row, which says that it was running.

A text log is read in whatever encoding a program wrote it, up to where it was cut: PowerShell
writes UTF-16, many editors a mark at the start; a program that is killed leaves half a row at the
end, a machine that loses its power leaves zeros there.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float64, Int64

from data_tools.names import has_suffix
from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import as_number, as_whole_number

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def find_encoding(path: Path) -> str:
    """Find out how a text is encoded: by its mark, or by the zeros beside plain letters.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, letters = start[first::2], start[1 - first :: 2]
        if zeros == b"\0\0" and 0 not in letters:
            return encoding
    return "utf-8"


def read_text(path: Path) -> bytes:
    """Read a text as UTF-8, without a mark and without zeros at its end.

    Raises:
        OSError: If it cannot be read.
    """
    data = path.read_bytes()
    encoding = find_encoding(path)
    if encoding == "utf-8" and not _is_utf8(data):
        # Excel of Western Europe: all that a log is read by is plain letters, in either.
        encoding = "cp1252"
    if encoding != "utf-8":
        # Half a letter at the end, and what is no text, become signs that no number has.
        data = data.decode(encoding, "replace").encode()
    return data.rstrip(b"\0")


def _is_utf8(data: bytes) -> bool:
    try:
        # A letter that was cut at the end is no other encoding.
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def iter_lines(path: Path) -> Iterator[str]:
    """Read a text's lines, a few at a time, each with its end unless it is cut there.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open(encoding=find_encoding(path), errors="replace", newline="\n") as file:
        for line in file:
            if line := line.rstrip("\0"):
                yield line


# Loggers that divide XInput's -32768 by 32767 overshoot by this much.
_OVERSHOOT = 1e-4


@dataclass(frozen=True, kw_only=True)
class Track:
    """The values that one control took."""

    times_ns: Int64[np.ndarray, " events"]
    """Times of the events, not decreasing."""
    values: Float64[np.ndarray, " events"]
    """Buttons and triggers in [0, 1], axes in [-1, 1], y down-positive."""

    def at(self, times_ns: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, " rows"]:
        """Find the last value at or before each time; 0 before the first."""
        last = np.searchsorted(self.times_ns, times_ns, side="right")
        return np.concatenate([[0.0], self.values])[last]

    def peaks(self, edges_ns: Int64[np.ndarray, " edges"]) -> Float64[np.ndarray, " rows"]:
        """Find the largest value at any moment between each edge and the next (excluded)."""
        peaks = self.at(edges_ns[:-1])
        rows = np.searchsorted(edges_ns, self.times_ns, side="right") - 1
        inside = (rows >= 0) & (rows < len(peaks))
        np.maximum.at(peaks, rows[inside], self.values[inside])
        return peaks


@dataclass(frozen=True, kw_only=True)
class InputLog:
    """A log, sorted by control."""

    tracks: dict[str, Track]
    first_ns: int
    last_ns: int
    lost: str = ""
    """Description of what was cut off at the log's end."""

    def rows(self, edges_ns: Int64[np.ndarray, " edges"], space: ActionSpace) -> ClipActions:
        """Lay the log out as rows, all valid.

        Args:
            edges_ns: Times of the frames, and the end of the last one's row.
            space: The layout that the log's names belong to.
        """
        num_rows = len(edges_ns) - 1
        buttons = np.zeros((num_rows, len(space.buttons)), dtype=bool)
        sticks = np.zeros((num_rows, len(space.sticks)), dtype=np.float32)
        triggers: dict[str, Any] = {}
        for name, track in self.tracks.items():
            if name in space.sticks:
                sticks[:, space.sticks.index(name)] = track.at(edges_ns[:-1])
                continue
            peaks = track.peaks(edges_ns)
            buttons[:, space.buttons.index(name)] = peaks > space.trigger_threshold
            if (
                name in ("LEFT_TRIGGER", "RIGHT_TRIGGER")
                and not np.isin(track.values, (0, 1)).all()
            ):
                triggers[f"{name.lower()}_value"] = peaks.astype(np.float32)
        return ClipActions(
            rows=ActionRows(buttons=buttons, sticks=sticks),
            valid=np.ones(num_rows, dtype=bool),
            **triggers,
        )


def read_input_log(
    path: Path, space: ActionSpace, *, stick_y_axis: Literal["up", "down"]
) -> InputLog:
    """Read a log of any rate.

    Args:
        path: `.jsonl` or `.parquet`, whose column `controls` is a struct or a map.
        space: The layout that its names belong to.
        stick_y_axis: Where positive y points in the log.

    Raises:
        ShardError: If a line is malformed, a control unknown, a value out of range, or the log is
            empty or runs backwards.
    """
    events: dict[str, tuple[list[int], list[float]]] = {}
    times: list[int] = []
    lost: list[str] = []
    for number, (time_ns, controls) in enumerate(_iter_rows(path, lost), start=1):
        if times and time_ns < times[-1]:
            raise ShardError(f"{path}, row {number}: t_ns runs backwards to {time_ns}")
        times.append(time_ns)
        for name, value in controls.items():
            if name not in events:
                _check_name(name, space, f"{path}, row {number}")
                events[name] = ([], [])
            events[name][0].append(time_ns)
            events[name][1].append(_to_number(name, value, space, f"{path}, row {number}"))
    if not times:
        raise ShardError(f"{path} is empty: expected a row of t_ns and controls for every frame")
    tracks = {
        name: _track(name, *columns, up=stick_y_axis == "up") for name, columns in events.items()
    }
    return InputLog(tracks=tracks, first_ns=times[0], last_ns=times[-1], lost=" ".join(lost))


def overlapping(
    edges_ns: Int64[np.ndarray, " edges"], intervals_ns: tuple[tuple[int, int], ...]
) -> Bool[np.ndarray, " rows"]:
    """Mark the rows that share time with one of the [start, stop) intervals."""
    marked = np.zeros(len(edges_ns) - 1, dtype=bool)
    for start, stop in intervals_ns:
        marked |= (edges_ns[:-1] < stop) & (edges_ns[1:] > start)
    return marked


def _track(name: str, times: list[int], values: list[float], *, up: bool) -> Track:
    flip = -1.0 if up and name.endswith("_STICK_Y") else 1.0
    return Track(times_ns=np.array(times, dtype=np.int64), values=flip * np.array(values))


def _iter_rows(path: Path, lost: list[str]) -> Iterator[tuple[int, dict[str, object]]]:
    is_parquet = has_suffix(path, (".parquet",))
    entries = _iter_parquet(path) if is_parquet else _iter_jsonl(path, lost)
    for number, entry in enumerate(entries, start=1):
        time_ns, controls = as_whole_number(entry.get("t_ns")), entry.get("controls")
        if time_ns is None or not isinstance(controls, dict):
            raise ShardError(
                f'{path}, row {number}: expected {{"t_ns": whole nanoseconds, "controls": '
                f"{{NAME: value}}}}, got {str(entry)[:200]}"
            )
        yield time_ns, cast("dict[str, object]", controls)


def _iter_jsonl(path: Path, lost: list[str]) -> Iterator[dict[str, object]]:
    for number, line in enumerate(iter_lines(path), start=1):
        if not line.strip():
            continue
        try:
            entry: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number > 1 and not line.endswith("\n"):
                lost.append(f"the last row is cut and left out: {line[:60]!r}")
                return
            raise ShardError(f"{path}, row {number} is not JSON: {error}") from error
        yield cast("dict[str, object]", entry) if isinstance(entry, dict) else {}


def _iter_parquet(path: Path) -> Iterator[dict[str, object]]:
    try:
        batches = pq.ParquetFile(path).iter_batches(columns=["t_ns", "controls"])
        for batch in batches:
            for entry in batch.to_pylist():
                # A struct gives a dict with None for what a row does not name, a map gives pairs.
                controls = dict(entry.get("controls") or {})
                named = {name: value for name, value in controls.items() if value is not None}
                yield {"t_ns": entry.get("t_ns"), "controls": named}
    except (pa.ArrowException, OSError, TypeError) as error:
        raise ShardError(f"{path} is not readable as a parquet log: {error}") from error


def _check_name(name: str, space: ActionSpace, where: str) -> None:
    try:
        space.index(name)
    except ValueError as error:
        raise ShardError(f"{where}: {error}") from error


def _to_number(name: str, value: object, space: ActionSpace, where: str) -> float:
    low = -1.0 if name in space.sticks else 0.0
    number = as_number(value)
    if number is not None:
        inside = min(max(number, low), 1.0)
        if abs(inside - number) <= _OVERSHOOT:
            return inside
    raise ShardError(f"{where}: {name} must lie in [{low:g}, 1], got {value!r}")
