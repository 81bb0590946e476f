from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.ingest.recording.controls import Conventions
from data_tools.ingest.recording.read_log import read_input_rec, read_table_log
from data_tools.recordings.input_log import Track
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError

CONVENTIONS = Conventions(stick_range="unit", stick_y_axis="down")
SHORT = {"LEFTX", "LEFTY", "RIGHTX", "RIGHTY", "LEFT_TRIGGER", "RIGHT_TRIGGER"}


def read(path: Path) -> dict[str, Track]:
    """Read a table's tracks; `A` is a button, `LX` a stick's axis."""
    columns = {"A": "SOUTH", "LX": "LEFT_STICK_X"}
    return read_table_log(
        path, GAMEPAD, CONVENTIONS, columns=columns, time_column=None
    ).log.tracks  # fmt: skip


@pytest.mark.parametrize("text", ["1 0", "true false", "True False", "1.0 0.0", "TRUE 0"])
def test_a_button_in_a_csv_is_read_however_it_is_written(tmp_path: Path, text: str) -> None:
    down, up = text.split()
    path = tmp_path / "run.csv"
    path.write_text(f"t_ns,A,LX\n0,{up},0\n10,{down},1\n20,,\n30,{up},0\n")

    south = read(path)["SOUTH"]

    assert (south.times_ns.tolist(), south.values.tolist()) == ([0, 10, 30], [0, 1, 0])


@pytest.mark.parametrize(
    ("button", "axis", "time"),
    [
        (pa.string(), pa.int8(), pa.int64()),
        (pa.uint8(), pa.float16(), pa.uint64()),
        (pa.float32(), pa.decimal128(5, 2), pa.decimal128(20, 0)),
        (pa.dictionary(pa.int8(), pa.int64()), pa.string(), pa.string()),
    ],
    ids=str,
)
def test_a_parquet_is_read_whatever_its_types(
    tmp_path: Path, button: pa.DataType, axis: pa.DataType, time: pa.DataType
) -> None:
    start = 1_700_000_000_123_456_789

    def column(values: list[int], kind: pa.DataType) -> pa.Array:
        makers: dict[Any, Any] = {pa.string(): str, pa.float16(): np.float16}
        return pa.array([makers.get(kind, int)(value) for value in values], kind)

    table = {
        "t_ns": column([start, start + 1], time),
        "A": column([0, 1], button),
        "LX": column([0, -1], axis),
    }
    pq.write_table(pa.table(table), tmp_path / "run.parquet")

    tracks = read(tmp_path / "run.parquet")

    assert tracks["SOUTH"].times_ns.tolist() == [start, start + 1]
    assert tracks["SOUTH"].values.tolist() == [0, 1]
    assert tracks["LEFT_STICK_X"].values.tolist() == [0, -1]


def test_a_word_is_named_by_column_row_and_value(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("t_ns,A,LX\n0,0,0\n10,pressed,1\n")

    with pytest.raises(ShardError, match=r"run.csv, A, row 2: .* got 'pressed'"):
        read(path)


def test_a_file_of_input_rec_is_read_whatever_its_types(tmp_path: Path) -> None:
    times = np.array([0, 2000, 500_000, 502_000])
    table = {"time": pa.array(times, pa.int32()), "SOUTH": pa.array([0, 1, 0, 0], pa.int64())}
    table |= {name: pa.array([0.0] * 4) for name in SHORT}
    # In nanoseconds these times are more than 32 bits hold.
    times[2:] += 5_000_000
    table["time"] = pa.array(times, pa.int32())
    pq.write_table(pa.table(table), tmp_path / "run.parquet")

    play = read_input_rec(tmp_path / "run.parquet", GAMEPAD)

    assert play.log.tracks["SOUTH"].values.tolist() == [0, 1, 0]
    assert play.gaps_ns == ((2_000_000, 5_500_000_000),)
