"""The parquet that the OBS plugin `input-rec` writes beside each recording.

A row is the whole pad, up to 500 a second: `time` in microseconds since OBS said that the recording
had started, SDL3's buttons as booleans (`LEFT_STICK` is the stick's button), its axes as 16-bit
numbers, y down, triggers from 0. While no pad is connected there are no rows. Its columns as of
src/device/gamepad.cpp and src/writer/parquet.cpp of github.com/loicmagne/input-rec.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.ingest.recording.conventions import Conventions, to_nanoseconds
from data_tools.ingest.recording.logged_play import LoggedPlay
from data_tools.ingest.recording.table_log import read_table_log
from data_tools.names import has_suffix
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_numbers

_TIME = "time"
_MUST_HAVE = {_TIME, "SOUTH", "LEFTX", "LEFTY", "RIGHTX", "RIGHTY", "LEFT_TRIGGER", "RIGHT_TRIGGER"}
_CONVENTIONS = Conventions(
    time_unit="us", stick_range="short", stick_y_axis="down", trigger_range="short"
)
_UNPLUGGED_NS = 250_000_000


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
