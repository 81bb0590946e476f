import numpy as np
import pytest

from data_tools.ingest.recording.controls import (
    Conventions,
    map_columns,
    recognize_control,
    to_control,
    to_nanoseconds,
)
from data_tools.ingest.recording.convert import apply_dead_zone
from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError


def convert(control: str, values: list[float], **conventions: str) -> list[float]:
    given = Conventions(**conventions)  # pyright: ignore[reportArgumentType]
    return to_control(control, np.array(values, dtype=float), given, GAMEPAD, "pad.csv").tolist()


@pytest.mark.parametrize(
    ("unit", "values"),
    [("unit", [-1, 0, 1]), ("byte", [0, 128, 255]), ("short", [-32768, 0, 32767])],
)
def test_sticks_reach_both_ends_and_rest_at_zero(unit: str, values: list[float]) -> None:
    assert convert("LEFT_STICK_X", values, stick_range=unit) == [-1, 0, 1]
    assert convert("LEFT_STICK_Y", values, stick_range=unit, stick_y_axis="up") == [1, 0, -1]
    assert convert("LEFT_STICK_Y", values, stick_range=unit, stick_y_axis="down") == [-1, 0, 1]


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("unit", [0, 1]),
        ("byte", [0, 255]),
        ("ten-bit", [0, 1023]),
        ("short", [0, 32767]),
        ("centred", [-1, 1]),
    ],
)
def test_triggers_run_from_0_to_1(unit: str, values: list[float]) -> None:
    assert convert("LEFT_TRIGGER", values, trigger_range=unit) == [0, 1]


def test_a_binary_trigger_needs_no_range() -> None:
    assert convert("RIGHT_TRIGGER", [0, 1, 1]) == [0, 1, 1]


@pytest.mark.parametrize(
    ("control", "values", "conventions", "message"),
    [
        ("LEFT_STICK_X", [-0.5, 0.5], {}, "give --stick-range unit"),
        ("LEFT_STICK_X", [3, 250], {}, "give --stick-range byte"),
        ("LEFT_STICK_X", [-30000, 9], {"stick_range": "unit"}, "use --stick-range short"),
        ("LEFT_STICK_X", [-0.5, 0.5], {"stick_range": "short"}, "fractions.*--stick-range unit"),
        ("LEFT_STICK_X", [0, 128, 255], {"stick_range": "short"}, "use --stick-range byte"),
        ("LEFT_STICK_X", [0, 3, 9], {"stick_range": "byte"}, "never comes near its rest at 128"),
        ("LEFT_STICK_Y", [-1, 0, 1], {"stick_range": "unit"}, "give --stick-y up"),
        ("LEFT_STICK_X", [0, np.inf], {"stick_range": "unit"}, "not finite"),
        ("LEFT_TRIGGER", [0, 0.4], {}, "give --trigger-range unit"),
        ("LEFT_TRIGGER", [0, 200], {"trigger_range": "unit"}, "use --trigger-range byte"),
        ("LEFT_TRIGGER", [0, 0.4], {"trigger_range": "byte"}, "fractions"),
        ("SOUTH", [0, 2], {}, "is a button, expected 0 and 1"),
    ],
)
def test_what_does_not_fit_its_convention_is_named(
    control: str, values: list[float], conventions: dict[str, str], message: str
) -> None:
    with pytest.raises(ShardError, match=message):
        convert(control, values, **conventions)


def test_a_stick_that_drifts_at_rest_is_no_fault() -> None:
    assert max(convert("RIGHT_STICK_X", [0, 300], stick_range="short")) < 0.01


def test_times_are_exact_and_checked() -> None:
    whole = to_nanoseconds(np.array([1_700_000_000_000_001, 1_700_000_000_000_002]), "us", "x")
    assert whole.tolist() == [1_700_000_000_000_001_000, 1_700_000_000_000_002_000]
    assert to_nanoseconds(np.array([0.0, 0.25]), "s", "x").tolist() == [0, 250_000_000]
    with pytest.raises(ShardError, match="row 2: time runs backwards"):
        to_nanoseconds(np.array([2, 1]), "ms", "x")
    with pytest.raises(ShardError, match="row 2: nan is no time"):
        to_nanoseconds(np.array([2, np.nan]), "ms", "x")
    with pytest.raises(ShardError, match="check --time-unit"):
        to_nanoseconds(np.array([1_700_000_000_000_000_000]), "s", "x")


@pytest.mark.parametrize(
    ("column", "control"),
    [
        ("A", "SOUTH"),
        ("Triangle", "NORTH"),
        ("XINPUT_GAMEPAD_DPAD_UP", "DPAD_UP"),
        ("SDL_GAMEPAD_BUTTON_LEFT_SHOULDER", "LEFT_SHOULDER"),
        ("LEFT_STICK", "LEFT_THUMB"),
        ("sThumbRY", "RIGHT_STICK_Y"),
        ("bLeftTrigger", "LEFT_TRIGGER"),
        ("left stick x", "LEFT_STICK_X"),
        ("R3", "RIGHT_THUMB"),
        ("frame", None),
        ("TOUCHPAD", None),
    ],
)
def test_usual_names_are_recognized(column: str, control: str | None) -> None:
    assert recognize_control(column) == control


def test_every_control_is_recognized_by_its_own_name() -> None:
    labelled = [name for name in GAMEPAD.controls if name not in GAMEPAD.unlabelled]
    assert [recognize_control(name) for name in labelled] == labelled


def test_a_choice_of_columns_is_checked() -> None:
    chosen = {"jump": "SOUTH"}
    assert map_columns(["jump", "A"], chosen, GAMEPAD, "x") == {"SOUTH": "jump"}
    with pytest.raises(ShardError, match="no column 'jump'"):
        map_columns(["A"], chosen, GAMEPAD, "x")
    with pytest.raises(ShardError, match="both mean SOUTH"):
        map_columns(["A", "cross"], {}, GAMEPAD, "x")
    with pytest.raises(ShardError, match="did you mean SOUTH"):
        map_columns(["A"], {"A": "SUTH"}, GAMEPAD, "x")
    with pytest.raises(ShardError, match="--columns COLUMN=CONTROL"):
        map_columns(["frame"], {}, GAMEPAD, "x")


def test_a_dead_zone_is_round_and_keeps_the_rim() -> None:
    def track(*values: float) -> Track:
        return Track(times_ns=np.arange(len(values)), values=np.array(values, dtype=float))

    log = InputLog(
        tracks={
            "LEFT_STICK_X": track(0.1, 0.6, 1.0, 0.15),
            "LEFT_STICK_Y": track(0.1, 0.8, 0.0, 0.15),
            "SOUTH": track(0, 1),
        },
        first_ns=0,
        last_ns=4,
    )

    moved = apply_dead_zone(log, 0.2, GAMEPAD)

    x, y = (moved.tracks[f"LEFT_STICK_{axis}"].at(np.arange(4)) for axis in "XY")
    assert x[0] == y[0] == 0
    assert (x[1], y[1]) == pytest.approx((0.6, 0.8))
    assert (x[2], y[2]) == (1, 0)
    assert x[3] == y[3] == pytest.approx((np.hypot(0.15, 0.15) - 0.2) / 0.8 / 2**0.5)
    assert moved.tracks["SOUTH"] == log.tracks["SOUTH"]
    assert apply_dead_zone(log, 0.0, GAMEPAD) == log
    with pytest.raises(ValueError, match="radius in"):
        apply_dead_zone(log, 1.0, GAMEPAD)
