import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nitrogen_train.actions import GAMEPAD, ActionRows, ActionSpace
from nitrogen_train.data.clip_record import (
    ClipActions,
    decode_actions,
    encode_actions,
    idle_rows,
    valid_runs,
)
from nitrogen_train.data.schema import MAX_CLIP_FRAMES, ShardError

PUBLIC_BUTTONS = (
    "back", "dpad_down", "dpad_left", "dpad_right", "dpad_up", "east", "guide", "left_shoulder",
    "left_thumb", "left_trigger", "north", "right_shoulder", "right_thumb", "right_trigger",
    "south", "start", "west",
)  # fmt: skip
WHEEL = ActionSpace(name="wheel", buttons=("HORN",), sticks=("STEER", "GAS", "BRAKE"))


def random_actions(space: ActionSpace, num_rows: int = 50, **changes: Any) -> ClipActions:
    rng = np.random.default_rng(0)
    buttons = rng.random((num_rows, len(space.buttons))) < 0.3
    sticks = rng.uniform(-1, 1, (num_rows, len(space.sticks))).astype(np.float32)
    values: dict[str, Any] = {
        "rows": ActionRows(buttons=buttons & space.label_mask[: len(space.buttons)], sticks=sticks),
        "valid": rng.random(num_rows) < 0.9,
    }
    return ClipActions(**(values | changes))


def assert_same(left: ClipActions, right: ClipActions) -> None:
    np.testing.assert_array_equal(left.rows.buttons, right.rows.buttons)
    np.testing.assert_array_equal(left.rows.sticks, right.rows.sticks)
    np.testing.assert_array_equal(left.valid, right.valid)
    for name in ("left_trigger_value", "right_trigger_value"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def public_table(**changes: Any) -> pa.Table:
    """Labels as they are published: doubles in lists, no `valid`."""
    columns: dict[str, Any] = {name: [True, False, False] for name in PUBLIC_BUTTONS}
    columns |= {"j_left": [[0.0, -1.0], [0.5, 0.5], [1.0, 1.0]], "j_right": [[0.0, 0.0]] * 3}
    columns |= changes
    return pa.table({name: column for name, column in columns.items() if column is not None})


def as_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("space", [GAMEPAD, WHEEL], ids=lambda space: space.name)
def test_actions_survive_parquet(space: ActionSpace) -> None:
    actions = random_actions(space)

    assert_same(decode_actions(encode_actions(actions, space), space), actions)


def test_analogue_triggers_survive_parquet() -> None:
    pull = np.linspace(0, 1, 50, dtype=np.float32)
    actions = random_actions(GAMEPAD, left_trigger_value=pull, right_trigger_value=1 - pull)

    assert_same(decode_actions(encode_actions(actions, GAMEPAD), GAMEPAD), actions)


def test_the_columns_are_those_of_the_public_labels() -> None:
    table = pq.read_table(io.BytesIO(encode_actions(random_actions(GAMEPAD), GAMEPAD)))

    assert table.column_names == [*PUBLIC_BUTTONS, "j_left", "j_right", "valid"]


def test_public_labels_are_read_and_are_all_valid() -> None:
    actions = decode_actions(as_parquet(public_table()), GAMEPAD)

    assert actions.valid.all()
    assert GAMEPAD.controls_at(actions.rows, 0)["LEFT_STICK_Y"] == -1.0
    assert GAMEPAD.controls_at(actions.rows, 1)["LEFT_STICK_X"] == 0.5
    assert not GAMEPAD.controls_at(actions.rows, 0)["RIGHT_BOTTOM"]


def test_public_labels_are_read_from_integers() -> None:
    changes = {name: [1, 0, 0] for name in PUBLIC_BUTTONS}
    table = public_table(**changes, j_right=[[0, 0], [0, 1], [0, 0]])

    actions = decode_actions(as_parquet(table), GAMEPAD)

    expected = decode_actions(as_parquet(public_table()), GAMEPAD)
    np.testing.assert_array_equal(actions.rows.buttons, expected.rows.buttons)
    assert GAMEPAD.controls_at(actions.rows, 1)["RIGHT_STICK_Y"] == 1.0


def test_the_same_rows_give_the_same_bytes() -> None:
    first, second = (encode_actions(random_actions(GAMEPAD), GAMEPAD) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"south": None}, "0 columns 'south', expected one"),
        ({"south": [0, 2, 0]}, r"'south', row 2: expected true or false \(or 1 or 0\), got 2"),
        ({"south": [True, None, True]}, "'south', row 2: .* got nothing"),
        ({"valid": [1.0, 0.5, 1.0]}, "'valid', row 2: .* got 0.5"),
        ({"j_left": None}, "0 columns 'j_left'"),
        ({"j_left": [0.0, 0.0, 0.0]}, "'j_left', row 1: expected a list of 2 numbers"),
        ({"j_left": [["a", "b"]] * 3}, "'j_left', row 1: expected a number, .* got 'a'"),
        ({"j_left": [[0.0], [0.0, 0.0], [0.0, 0.0]]}, "'j_left', row 1: expected a list of 2"),
        ({"j_left": [[0.0] * 3, [0.0], [0.0, 0.0]]}, "'j_left', row 1: expected a list of 2"),
        ({"j_left": [[0.0, float("nan")], [0.0] * 2, [0.0] * 2]}, r"row 1: .*\[0.0, nan\]"),
        ({"j_left": [[0.0] * 2, [0.0, None], [0.0] * 2]}, "'j_left', row 2"),
        ({"j_right": [[0.0] * 2, [0.0] * 2, [0.0, 1.5]]}, r"row 3: .*\[0.0, 1.5\]"),
        ({"right_trigger_value": [0.0, -0.5, 0.0]}, "row 2: .* got -0.5"),
    ],
)
def test_a_wrong_column_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        decode_actions(as_parquet(public_table(**changes)), GAMEPAD)


def test_what_is_not_parquet_is_refused() -> None:
    whole = as_parquet(public_table())

    for data in (b"", b"PAR1", b"x" * 1000, whole[:-20], whole[:50] + whole[60:]):
        with pytest.raises(ShardError, match=r"not readable as parquet|actions column"):
            decode_actions(data, GAMEPAD)


@pytest.mark.parametrize("num_rows", [0, MAX_CLIP_FRAMES + 1, 50_000_000])
def test_an_absurd_number_of_rows_is_refused_before_unpacking(num_rows: int) -> None:
    table = pa.table({"valid": pa.array(np.zeros(num_rows, dtype=bool))})

    with pytest.raises(ShardError, match=f"actions have {num_rows} rows"):
        decode_actions(as_parquet(table), GAMEPAD)


def test_a_column_that_unpacks_to_gigabytes_is_refused_before_unpacking() -> None:
    bomb = as_parquet(pa.table({"note": ["a" * 30_000_000]}))
    assert len(bomb) < 2_000_000

    with pytest.raises(ShardError, match="rows in 3000"):
        decode_actions(bomb, GAMEPAD)


def test_a_row_within_the_dead_zone_is_idle() -> None:
    rows = GAMEPAD.rows_from_controls(
        [{}, {"LEFT_STICK_X": 0.1}, {"LEFT_STICK_X": -0.11}, {"SOUTH": True}]
    )

    assert idle_rows(rows).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("valid", "runs"),
    [([], []), ([0, 0], []), ([1, 1], [0, 2]), ([0, 1, 1, 0, 1], [1, 3, 4, 5])],
)
def test_runs_are_where_rows_are_valid(valid: list[int], runs: list[int]) -> None:
    assert valid_runs(np.array(valid, dtype=bool)) == runs


def test_a_cut_keeps_its_rows() -> None:
    pull = np.linspace(0, 1, 50, dtype=np.float32)
    actions = random_actions(GAMEPAD, left_trigger_value=pull)

    cut = actions.cut(10, 30)

    assert len(cut) == 20
    np.testing.assert_array_equal(cut.rows.sticks, actions.rows.sticks[10:30])
    np.testing.assert_array_equal(cut.left_trigger_value, pull[10:30])
    assert cut.right_trigger_value is None


def test_joined_rows_follow_the_rule_of_a_reduced_rate() -> None:
    pull = np.linspace(0, 1, 11, dtype=np.float32)
    actions = random_actions(GAMEPAD, 11, left_trigger_value=pull)

    joined = actions.join(3, GAMEPAD)

    assert len(joined) == 3
    for row in range(3):
        span = slice(3 * row, 3 * row + 3)
        np.testing.assert_array_equal(
            joined.rows.buttons[row], np.logical_or.reduce(actions.rows.buttons[span])
        )
        np.testing.assert_array_equal(joined.rows.sticks[row], actions.rows.sticks[3 * row])
        assert joined.valid[row] == actions.valid[span].all()
        assert joined.left_trigger_value is not None
        assert joined.left_trigger_value[row] == pull[3 * row + 2]
    assert actions.join(1, GAMEPAD) is actions
