import subprocess
import sys

import numpy as np
import pytest

from nitrogen_train.actions import GAMEPAD, ActionRows, ActionSpace, get_action_space

NG_PT_ORDER = [
    "BACK", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT", "DPAD_UP", "EAST", "GUIDE", "LEFT_SHOULDER",
    "LEFT_THUMB", "LEFT_TRIGGER", "NORTH", "RIGHT_BOTTOM", "RIGHT_LEFT", "RIGHT_RIGHT",
    "RIGHT_SHOULDER", "RIGHT_THUMB", "RIGHT_TRIGGER", "RIGHT_UP", "SOUTH", "START", "WEST",
    "LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X", "RIGHT_STICK_Y",
]  # fmt: skip


def rows(num_rows: int, seed: int = 0) -> ActionRows:
    rng = np.random.default_rng(seed)
    return ActionRows(
        buttons=rng.random((num_rows, 21)) > 0.5,
        sticks=rng.uniform(-1, 1, (num_rows, 4)).astype(np.float32),
    )


def test_the_gamepad_has_the_order_of_the_released_checkpoint() -> None:
    assert list(GAMEPAD.controls) == NG_PT_ORDER
    assert [GAMEPAD.index(name) for name in NG_PT_ORDER] == list(range(25))


def test_the_four_controls_without_labels_are_out_of_the_label_mask() -> None:
    masked = {
        n for n, labelled in zip(GAMEPAD.controls, GAMEPAD.label_mask, strict=True) if not labelled
    }

    assert masked == {"RIGHT_BOTTOM", "RIGHT_LEFT", "RIGHT_RIGHT", "RIGHT_UP"}


def test_decoding_inverts_encoding() -> None:
    original = rows(50)

    decoded = GAMEPAD.decode(GAMEPAD.encode(original))

    np.testing.assert_array_equal(decoded.buttons, original.buttons)
    np.testing.assert_allclose(decoded.sticks, original.sticks, atol=1e-6)


def test_a_centred_stick_is_one_half_in_model_space() -> None:
    neutral = GAMEPAD.rows_from_controls([{}])

    values = GAMEPAD.encode(neutral)

    np.testing.assert_array_equal(values[0, :21], 0)
    np.testing.assert_array_equal(values[0, 21:], 0.5)


def test_a_button_is_down_above_one_half_and_axes_are_clamped() -> None:
    values = np.zeros((1, 25), np.float32)
    values[0, GAMEPAD.index("SOUTH")] = 0.5001
    values[0, GAMEPAD.index("EAST")] = 0.5
    values[0, GAMEPAD.index("LEFT_STICK_X")] = 1.7

    state = GAMEPAD.controls_at(GAMEPAD.decode(values), 0)

    assert state["SOUTH"] is True
    assert state["EAST"] is False
    assert state["LEFT_STICK_X"] == 1.0
    assert state["LEFT_STICK_Y"] == -1.0


def test_named_states_become_rows_and_come_back() -> None:
    state = {"LEFT_STICK_Y": -0.25, "RIGHT_TRIGGER": True}

    laid_out = GAMEPAD.rows_from_controls([state, {}])

    assert len(laid_out) == 2
    assert GAMEPAD.controls_at(laid_out, 0) == {
        name: state.get(name, False if name in GAMEPAD.buttons else 0.0)
        for name in GAMEPAD.controls
    }


@pytest.mark.parametrize(("value", "down"), [(0.49, False), (0.5, False), (0.51, True)])
def test_an_analogue_trigger_is_down_above_the_threshold(value: float, down: bool) -> None:
    laid_out = GAMEPAD.rows_from_controls([{"RIGHT_TRIGGER": value}])

    assert laid_out.buttons[0, GAMEPAD.index("RIGHT_TRIGGER")] == down


@pytest.mark.parametrize("value", [1.01, -1.5, float("nan"), float("inf")])
def test_a_stick_out_of_range_is_refused_by_name(value: float) -> None:
    with pytest.raises(ValueError, match="RIGHT_STICK_Y must lie in"):
        GAMEPAD.rows_from_controls([{"RIGHT_STICK_Y": value}])


def test_encoding_refuses_rows_of_another_layout_and_values_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"expects \(buttons, axes\)=\(21, 4\), got \(17, 4\)"):
        GAMEPAD.encode(
            ActionRows(buttons=np.zeros((1, 17), bool), sticks=np.zeros((1, 4), np.float32))
        )
    with pytest.raises(ValueError, match="LEFT_STICK_X"):
        GAMEPAD.encode(
            ActionRows(buttons=np.zeros((1, 21), bool), sticks=np.full((1, 4), 2, np.float32))
        )


def test_decoding_refuses_nan_and_another_width() -> None:
    with pytest.raises(ValueError, match="NaN"):
        GAMEPAD.decode(np.full((1, 25), np.nan))
    with pytest.raises(ValueError, match="expects 25 values, got 21"):
        GAMEPAD.decode(np.zeros((1, 21)))


@pytest.mark.parametrize(
    ("name", "closest"), [("right_triger", "RIGHT_TRIGGER"), ("LEFT_STICK_Z", "LEFT_STICK_Y")]
)
def test_an_unknown_control_names_the_closest(name: str, closest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {closest}"):
        GAMEPAD.index(name)


def test_an_unknown_action_space_names_the_known() -> None:
    assert get_action_space("gamepad") is GAMEPAD
    with pytest.raises(ValueError, match="known: gamepad"):
        get_action_space("keyboard")


def test_a_second_layout_is_a_second_space() -> None:
    wheel = ActionSpace(name="wheel", buttons=("GAS",), sticks=("STEER",))

    values = wheel.encode(wheel.rows_from_controls([{"GAS": True, "STEER": 1.0}]))

    np.testing.assert_array_equal(values, [[1, 1]])


def test_actions_and_games_import_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import nitrogen_train.actions, nitrogen_train.games, nitrogen_train.data.order"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
