import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.recordings.input_log import InputLog, overlapping, read_input_log
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ShardError

# Frames at 0, 100, 200 and 300 ns; the last one's row ends at 400.
EDGES_NS = np.array([0, 100, 200, 300, 400])


def write_log(folder: Path, *events: tuple[Any, dict[str, Any]]) -> Path:
    path = folder / "run.inputs.jsonl"
    lines = [json.dumps({"t_ns": time, "controls": controls}) for time, controls in events]
    path.write_text("\n".join(lines) + "\n" if lines else "")
    return path


def read(path: Path, *, up: bool = False) -> InputLog:
    return read_input_log(path, GAMEPAD, stick_y_axis="up" if up else "down")


def rows(folder: Path, *events: tuple[Any, dict[str, Any]], up: bool = False) -> ClipActions:
    return read(write_log(folder, *events), up=up).rows(EDGES_NS, GAMEPAD)


def values(actions: ClipActions, name: str) -> list[float]:
    return [float(GAMEPAD.controls_at(actions.rows, row)[name]) for row in range(len(actions))]


def test_numbers_count_and_not_their_types(tmp_path: Path) -> None:
    typed = [(0, {"SOUTH": True, "LEFT_STICK_X": 0}), (200, {"SOUTH": False, "LEFT_STICK_X": 1})]
    loose = [
        (0.0, {"SOUTH": 1.0, "LEFT_STICK_X": "0.0"}),
        ("200", {"SOUTH": "false", "LEFT_STICK_X": "1"}),
    ]

    expected, got = (rows(tmp_path, *events) for events in (typed, loose))

    assert values(got, "SOUTH") == values(expected, "SOUTH") == [1, 1, 0, 0]
    assert values(got, "LEFT_STICK_X") == values(expected, "LEFT_STICK_X") == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(0, True), (99, False)], [1, 0, 0, 0]),
        ([(99, True), (100, False)], [1, 0, 0, 0]),
        ([(100, True), (101, False)], [0, 1, 0, 0]),
        ([(120, True), (130, False)], [0, 1, 0, 0]),
        ([(50, True), (250, False)], [1, 1, 1, 0]),
        ([(-50, True), (0, False)], [0, 0, 0, 0]),
        ([(-50, True)], [1, 1, 1, 1]),
        ([(399, True)], [0, 0, 0, 1]),
        ([(400, True)], [0, 0, 0, 0]),
        ([(150, True), (150, False)], [0, 1, 0, 0]),
    ],
    ids=str,
)
def test_a_button_is_down_if_it_was_down_at_any_moment_of_the_row(
    tmp_path: Path, events: list[tuple[int, bool]], expected: list[int]
) -> None:
    actions = rows(tmp_path, *[(time, {"SOUTH": down}) for time, down in events])

    assert values(actions, "SOUTH") == expected


def test_a_stick_is_its_last_value_at_or_before_the_frame(tmp_path: Path) -> None:
    events = [(-10, 0.1), (99, 0.2), (100, 0.3), (101, 0.4), (299, 0.5), (300, 0.6), (301, 0.7)]

    actions = rows(tmp_path, *[(time, {"LEFT_STICK_X": value}) for time, value in events])

    assert values(actions, "LEFT_STICK_X") == pytest.approx([0.1, 0.3, 0.4, 0.6])


def test_a_stick_is_centred_before_its_first_value(tmp_path: Path) -> None:
    assert values(rows(tmp_path, (150, {"LEFT_STICK_X": 1})), "LEFT_STICK_X") == [0, 0, 1, 1]


def test_a_control_that_is_not_named_keeps_its_value(tmp_path: Path) -> None:
    actions = rows(tmp_path, (0, {"SOUTH": True, "LEFT_STICK_X": -1}), (150, {"EAST": True}))

    assert values(actions, "SOUTH") == [1, 1, 1, 1]
    assert values(actions, "LEFT_STICK_X") == [-1, -1, -1, -1]


def test_y_points_down_whatever_the_log_says(tmp_path: Path) -> None:
    event = (0, {"LEFT_STICK_Y": 1.0, "RIGHT_STICK_X": 1.0})

    assert values(rows(tmp_path, event, up=True), "LEFT_STICK_Y") == [-1, -1, -1, -1]
    assert values(rows(tmp_path, event, up=True), "RIGHT_STICK_X") == [1, 1, 1, 1]
    assert values(rows(tmp_path, event), "LEFT_STICK_Y") == [1, 1, 1, 1]


def test_an_analogue_trigger_keeps_its_largest_pull_beside_the_button(tmp_path: Path) -> None:
    pulls = [(0, 0.2), (50, 0.9), (60, 0.1), (210, 0.5)]

    actions = rows(tmp_path, *[(time, {"RIGHT_TRIGGER": pull}) for time, pull in pulls])

    assert actions.right_trigger_value is not None
    assert actions.right_trigger_value.tolist() == pytest.approx([0.9, 0.1, 0.5, 0.5])
    assert values(actions, "RIGHT_TRIGGER") == [1, 0, 0, 0]


def test_a_trigger_that_is_a_button_has_no_pull(tmp_path: Path) -> None:
    assert rows(tmp_path, (0, {"RIGHT_TRIGGER": True})).right_trigger_value is None


@pytest.mark.parametrize("seed", range(20))
def test_no_row_looks_ahead(tmp_path: Path, seed: int) -> None:
    """Rows before frame t + 1 stay the same whatever is logged from frame t + 1 on."""
    rng = np.random.default_rng(seed)

    def events(low: int, high: int) -> list[tuple[int, dict[str, Any]]]:
        times = sorted(rng.integers(low, high, 12).tolist())
        names = rng.choice(GAMEPAD.controls, 12)
        return [
            (time, {str(name): float(rng.random())})
            for time, name in zip(times, names, strict=True)
        ]

    row = int(rng.integers(0, 4))
    past = events(-100, int(EDGES_NS[row + 1]))
    left, right = (rows(tmp_path, *past, *events(int(EDGES_NS[row + 1]), 600)) for _ in range(2))

    np.testing.assert_array_equal(left.rows.buttons[: row + 1], right.rows.buttons[: row + 1])
    np.testing.assert_array_equal(left.rows.sticks[: row + 1], right.rows.sticks[: row + 1])


@pytest.mark.parametrize("seed", range(20))
def test_rows_agree_with_a_walk_through_time(tmp_path: Path, seed: int) -> None:
    """The vectorised rule against one that steps through every nanosecond."""
    rng = np.random.default_rng(seed)
    times = sorted(rng.integers(-50, 450, 15).tolist())
    events = [
        (time, {"SOUTH": bool(rng.random() < 0.5), "LEFT_STICK_X": float(rng.uniform(-1, 1))})
        for time in times
    ]

    actions = rows(tmp_path, *events)

    south, stick = np.zeros(4, bool), np.zeros(4)
    state: dict[str, Any] = {"SOUTH": False, "LEFT_STICK_X": 0.0}
    for now in range(-50, 400):
        seen = [controls for time, controls in events if time == now]
        state |= seen[-1] if seen else {}
        if now >= 0:
            south[now // 100] |= state["SOUTH"] or any(c["SOUTH"] for c in seen)
            if now % 100 == 0:
                stick[now // 100] = state["LEFT_STICK_X"]
    assert values(actions, "SOUTH") == south.astype(float).tolist()
    assert values(actions, "LEFT_STICK_X") == pytest.approx(stick.tolist())


@pytest.mark.parametrize("kind", ["struct", "map"])
def test_a_parquet_log_says_the_same(tmp_path: Path, kind: str) -> None:
    events = [(0, {"SOUTH": 1.0}), (100, {"LEFT_STICK_X": -0.5}), (150, {"SOUTH": 0.0}), (300, {})]
    controls: Any = [controls for _, controls in events]
    if kind == "map":
        pairs = [list(named.items()) for named in controls]
        controls = pa.array(pairs, pa.map_(pa.string(), pa.float64()))
    path = tmp_path / "run.inputs.parquet"
    pq.write_table(pa.table({"t_ns": [time for time, _ in events], "controls": controls}), path)

    actions = read(path).rows(EDGES_NS, GAMEPAD)

    assert values(actions, "SOUTH") == [1, 1, 0, 0]
    assert values(actions, "LEFT_STICK_X") == pytest.approx([0, -0.5, -0.5, -0.5])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"t_ns": 0, "controls": {"RIGHT_TRIGER": 1}}', "did you mean RIGHT_TRIGGER"),
        ('{"t_ns": 0, "controls": {"LEFT_STICK_X": NaN}}', r"must lie in \[-1, 1\], got nan"),
        ('{"t_ns": 0, "controls": {"LEFT_STICK_X": 1.01}}', r"must lie in \[-1, 1\], got 1.01"),
        ('{"t_ns": 0, "controls": {"SOUTH": -1}}', r"must lie in \[0, 1\], got -1"),
        ('{"t_ns": 0, "controls": {"SOUTH": "yes"}}', "got 'yes'"),
        ('{"t_ns": 0, "controls": {"SOUTH": null}}', "got None"),
        ('{"t_ns": 0.5, "controls": {}}', "expected .*whole nanoseconds"),
        ('{"t_ns": 0}', "expected .*controls"),
        ("[1, 2]", "expected .*controls"),
        ("{", "is not JSON"),
        ('{"t_ns": 0, "controls": {}}\n{"t_ns": -1, "controls": {}}', "row 2: t_ns runs backwards"),
        ("", "is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "run.inputs.jsonl"
    path.write_text(line)

    with pytest.raises(ShardError, match=message):
        read(path)


def test_an_overshoot_of_a_16_bit_stick_is_clipped(tmp_path: Path) -> None:
    overshoot = -32768 / 32767

    assert values(rows(tmp_path, (0, {"LEFT_STICK_X": overshoot})), "LEFT_STICK_X")[0] == -1.0


@pytest.mark.parametrize("data", [b"", b"PAR1" + bytes(50)])
def test_a_damaged_parquet_log_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.inputs.parquet"
    path.write_bytes(data)

    with pytest.raises(ShardError, match="not readable as a parquet log"):
        read(path)


def test_a_row_that_shares_time_with_an_interval_is_marked() -> None:
    assert overlapping(EDGES_NS, ((100, 200),)).tolist() == [False, True, False, False]
    assert overlapping(EDGES_NS, ((99, 100), (399, 500))).tolist() == [True, False, False, True]
    assert not overlapping(EDGES_NS, ()).any()
