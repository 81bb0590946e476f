import numpy as np
import pyarrow as pa
import pytest

from data_tools.lerobot.layout import describe_features, lay_out_rows, read_rows, to_columns
from nitrogen_train.actions import GAMEPAD, ActionRows, ActionSpace
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ShardError

PADDLE = ActionSpace(name="paddle", buttons=("FIRE",), sticks=("WHEEL",))


def make_actions(space: ActionSpace, **pulls: np.ndarray) -> ClipActions:
    rng = np.random.default_rng(0)
    sticks = rng.uniform(-1, 1, (9, len(space.sticks))).astype(np.float32)
    sticks[0], sticks[1] = 1, -1
    return ClipActions(
        rows=ActionRows(buttons=rng.random((9, len(space.buttons))) < 0.5, sticks=sticks),
        valid=rng.random(9) < 0.5,
        **pulls,
    )


@pytest.mark.parametrize("space", [GAMEPAD, PADDLE])
def test_rows_come_back_bit_by_bit(space: ActionSpace) -> None:
    actions = make_actions(space)
    features = lay_out_rows(actions, space)

    back = read_rows(pa.table(to_columns(features)), space, analogue_triggers=(), what="it")

    assert features.keys() == describe_features(space).keys()
    assert back.rows.buttons.tobytes() == actions.rows.buttons.tobytes()
    assert back.rows.sticks.tobytes() == actions.rows.sticks.tobytes()
    assert back.valid.tobytes() == actions.valid.tobytes()
    assert back.left_trigger_value is None


def test_a_measured_pull_is_kept_and_a_button_stands_for_another() -> None:
    pull = np.linspace(0, 1, 9, dtype=np.float32)
    actions = make_actions(GAMEPAD, left_trigger_value=pull)

    features = lay_out_rows(actions, GAMEPAD)

    np.testing.assert_array_equal(features["left_trigger_value"], pull)
    pressed = actions.rows.buttons[:, GAMEPAD.index("RIGHT_TRIGGER")]
    np.testing.assert_array_equal(features["right_trigger_value"], pressed)


def test_a_layout_without_triggers_has_no_columns_for_them() -> None:
    assert describe_features(PADDLE).keys() == {"action", "valid"}


def test_rows_that_were_changed_to_what_no_clip_holds_are_refused() -> None:
    features = lay_out_rows(make_actions(PADDLE), PADDLE)
    features["action"][3, 1] = 1.5

    with pytest.raises(ShardError, match=r"WHEEL must lie in \[-1, 1\], got 1.5 at row 3"):
        read_rows(pa.table(to_columns(features)), PADDLE, analogue_triggers=(), what="it")


@pytest.mark.parametrize("pull", [-0.1, 1.1])
def test_a_pull_out_of_range_is_refused(pull: float) -> None:
    features = lay_out_rows(make_actions(GAMEPAD), GAMEPAD)
    features["left_trigger_value"][5] = pull

    with pytest.raises(ShardError, match=r"left_trigger_value must lie in \[0, 1\]"):
        read_rows(
            pa.table(to_columns(features)),
            GAMEPAD,
            analogue_triggers=("left_trigger_value",),
            what="it",
        )
