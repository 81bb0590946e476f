import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.schema import ShardError
from nitrogen_train.viewing.predictions import open_predictions, read_predictions


def random_rows(num_rows: int) -> ActionRows:
    rng = np.random.default_rng(num_rows)
    return ActionRows(
        buttons=rng.random((num_rows, len(GAMEPAD.buttons))) < 0.5,
        sticks=rng.uniform(-1, 1, (num_rows, len(GAMEPAD.sticks))).astype(np.float32),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_predictions(tmp_path / "p.parquet", GAMEPAD) as writer:
        writer.write("a", np.array([0, 2, 4]), random_rows(3))
        writer.write("b", np.array([1, 7]), random_rows(2))
    return tmp_path / "p.parquet"


@pytest.mark.parametrize(("clip_id", "rows"), [("a", [0, 2, 4]), ("b", [1, 7])])
def test_what_is_written_is_read_again(path: Path, clip_id: str, rows: list[int]) -> None:
    predictions = read_predictions(path, clip_id, space=GAMEPAD)

    assert predictions.rows.tolist() == rows
    expected = random_rows(len(rows))
    np.testing.assert_array_equal(predictions.actions.buttons, expected.buttons)
    np.testing.assert_array_equal(predictions.actions.sticks, expected.sticks)


def test_a_file_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), open_predictions(tmp_path / "p", GAMEPAD) as file:
        file.write("a", np.array([0]), random_rows(1))
        raise KeyboardInterrupt

    assert list(tmp_path.iterdir()) == []


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    with open_predictions(tmp_path / "p", GAMEPAD) as writer:
        writer.write("a", np.array([0]), random_rows(1))
        with pytest.raises(ValueError, match="clip a comes twice"):
            writer.write("a", np.array([0]), random_rows(1))


def change(path: Path, edit: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(edit(pq.read_table(path)), path)


def swap(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


FAULTS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "other space": (
        lambda t: t.replace_schema_metadata({"schema_version": "1", "action_space": "keys"}),
        "is of the action space 'keys'",
    ),
    "newer": (lambda t: t.replace_schema_metadata({"schema_version": "99"}), "up to"),
    "no version": (lambda t: t.replace_schema_metadata({}), "schema_version"),
    "no column": (lambda t: t.drop_columns(["south"]), "lacks the columns ['south']"),
    "other type": (
        lambda t: swap(t, "south", t["row"]),
        "lacks the columns ['south'], or has them of another type",
    ),
    "no value": (lambda t: swap(t, "row", pa.array([0, None, 4, 1, 7], pa.int32())), "missing"),
    "disorder": (lambda t: swap(t, "row", pa.array([0, 4, 2, 1, 7], pa.int32())), "out of order"),
    "range": (
        lambda t: swap(t, "left_stick_x", pa.array([0, 2, 0, 0, 0], pa.float32())),
        "outside [-1, 1]",
    ),
    "not a number": (
        lambda t: swap(t, "left_stick_x", pa.array([0, float("nan"), 0, 0, 0], pa.float32())),
        "outside [-1, 1]",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_other_files_are_refused(path: Path, name: str) -> None:
    edit, expected = FAULTS[name]
    change(path, edit)

    with pytest.raises(ShardError) as refused:
        read_predictions(path, "a", space=GAMEPAD)

    assert expected in str(refused.value)


def test_damaged_and_missing_files_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ShardError, match="not readable as parquet"):
        read_predictions(path, "a", space=GAMEPAD)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="predictions=true"):
        read_predictions(path, "a", space=GAMEPAD)
