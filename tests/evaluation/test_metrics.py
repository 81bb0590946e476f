import numpy as np
import pytest

from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.evaluation.metrics import OfflineMetrics
from nitrogen_train.evaluation.offline import MostCommonAction, predict_idle, predict_repeat


def make_rows(num_rows: int, *, seed: int = 0) -> ActionRows:
    generator = np.random.default_rng(seed)
    return ActionRows(
        buttons=generator.random((num_rows, 21)) < 0.3,
        sticks=generator.uniform(-1, 1, (num_rows, 4)).astype(np.float32),
    )


def rows_of(states: list[dict[str, float | bool]]) -> ActionRows:
    return GAMEPAD.rows_from_controls(list(states))


def take(rows: ActionRows, where: np.ndarray | slice) -> ActionRows:
    return ActionRows(buttons=rows.buttons[where], sticks=rows.sticks[where])


def measure(
    predicted: ActionRows,
    labels: ActionRows,
    previous: ActionRows | None,
    valid: np.ndarray | None = None,
) -> dict:
    metrics = OfflineMetrics(space=GAMEPAD)
    valid = np.ones(len(labels), dtype=bool) if valid is None else valid
    metrics.update("toy", predicted=predicted, labels=labels, previous=previous, valid=valid)
    return metrics.compute()


def test_perfect_prediction_has_f1_and_r2_of_one_and_no_error():
    rows = make_rows(200)
    labels, previous = take(rows, slice(1, None)), take(rows, slice(-1))

    macro = measure(labels, labels, previous)["macro"]

    assert macro == {
        "frame_f1": 1, "onset_f1": 1, "release_f1": 1, "stick_r2": 1, "stick_mae": 0
    }  # fmt: skip


def test_repeat_scores_in_frames_and_never_at_a_change():
    held = rows_of([{"SOUTH": down} for down in [False, True, True, True, False, False]])
    labels, previous = take(held, slice(1, None)), take(held, slice(-1))

    south = measure(predict_repeat(previous), labels, previous)["games"]["toy"]["buttons"]["SOUTH"]

    assert south["frame"]["f1"] == pytest.approx(2 / 3)
    assert south["onset"] == {
        "precision": None, "recall": 0, "f1": 0, "support": 1, "false_alarms": 0
    }  # fmt: skip
    assert south["release"]["f1"] == 0


def test_onset_counts_a_press_only_where_the_button_was_up_before():
    previous = rows_of([{}, {}, {"SOUTH": True}, {}])
    labels = rows_of([{"SOUTH": True}, {}, {"SOUTH": True}, {"SOUTH": True}])
    predicted = rows_of([{"SOUTH": True}, {"SOUTH": True}, {"SOUTH": True}, {}])

    onset = measure(predicted, labels, previous)["games"]["toy"]["buttons"]["SOUTH"]["onset"]

    assert onset == {
        "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2, "false_alarms": 1
    }  # fmt: skip


def test_without_the_rows_before_only_frames_and_sticks_are_judged():
    rows, predicted = make_rows(200), make_rows(199, seed=1)
    labels, previous = take(rows, slice(1, None)), take(rows, slice(-1))

    macro, expected = (measure(predicted, labels, before)["macro"] for before in (None, previous))

    assert macro == expected | {"onset_f1": None, "release_f1": None}


def test_idle_has_no_hit_and_its_error_is_the_mean_deflection():
    rows = make_rows(300)
    labels, previous = take(rows, slice(1, None)), take(rows, slice(-1))

    macro = measure(predict_idle(previous), labels, previous)["macro"]

    assert macro["frame_f1"] == macro["onset_f1"] == 0
    assert macro["stick_mae"] == pytest.approx(np.abs(labels.sticks).mean(), rel=1e-6)
    assert macro["stick_r2"] == pytest.approx(0, abs=0.03)


def test_an_axis_that_does_not_vary_has_no_r2_and_stays_out_of_the_mean():
    labels = rows_of([{"LEFT_STICK_X": x, "RIGHT_STICK_X": 0.3} for x in (-1.0, 0.0, 1.0)])
    predicted = rows_of([{"LEFT_STICK_X": x} for x in (-1.0, 0.0, 1.0)])

    toy = measure(predicted, labels, labels)["games"]["toy"]

    assert toy["sticks"]["RIGHT_STICK_X"] == {"r2": None, "mae": pytest.approx(0.3)}
    assert (toy["stick_r2"], toy["stick_mae"]) == (1, 0)
    assert "LEFT_STICK_Y" not in toy["sticks"]


def test_a_game_without_buttons_has_no_f1():
    labels = rows_of([{"LEFT_STICK_X": x} for x in (-1.0, 1.0)])

    assert measure(labels, labels, labels)["macro"]["frame_f1"] is None


def test_invalid_rows_do_not_count():
    labels, wrong = make_rows(50), make_rows(50, seed=1)
    valid = np.arange(50) < 20
    predicted = ActionRows(
        buttons=np.where(valid[:, None], labels.buttons, wrong.buttons),
        sticks=np.where(valid[:, None], labels.sticks, wrong.sticks),
    )

    result = measure(predicted, labels, wrong, valid)

    assert result["games"]["toy"]["rows"] == 20
    assert result["macro"]["frame_f1"] == result["macro"]["stick_r2"] == 1


def test_the_result_depends_neither_on_order_nor_on_batches_nor_on_processes():
    predicted, labels, previous = (make_rows(101, seed=seed) for seed in range(3))
    valid = np.random.default_rng(3).random(101) < 0.8
    whole = measure(predicted, labels, previous, valid)
    order = np.random.default_rng(4).permutation(101)
    halves = [OfflineMetrics(space=GAMEPAD), OfflineMetrics(space=GAMEPAD)]

    for half, pieces in zip(halves, (order[:40], order[40:]), strict=True):
        for piece in np.array_split(pieces, 7):
            half.update(
                "toy",
                predicted=take(predicted, piece),
                labels=take(labels, piece),
                previous=take(previous, piece),
                valid=valid[piece],
            )
    halves[0].merge(halves[1])

    assert halves[0].compute()["macro"] == pytest.approx(whole["macro"], rel=1e-12)
    assert halves[0].compute()["games"]["toy"]["buttons"] == whole["games"]["toy"]["buttons"]


def test_a_game_counts_once_in_the_macro_however_long_it_is():
    metrics = OfflineMetrics(space=GAMEPAD)
    up, down = rows_of([{}] * 10), rows_of([{"SOUTH": True}] * 10)
    long_up, long_down = rows_of([{}] * 90), rows_of([{"SOUTH": True}] * 90)

    metrics.update("a", predicted=down, labels=down, previous=up, valid=np.ones(10, bool))
    metrics.update(
        "b", predicted=long_up, labels=long_down, previous=long_up, valid=np.ones(90, bool)
    )

    assert metrics.compute()["macro"]["onset_f1"] == 0.5


def test_predictions_that_are_not_finite_are_refused():
    labels = make_rows(3)
    predicted = ActionRows(buttons=labels.buttons, sticks=np.full((3, 4), np.nan, np.float32))

    with pytest.raises(ValueError, match="not finite"):
        measure(predicted, labels, labels)


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        measure(make_rows(3), make_rows(4), make_rows(4))


def test_metrics_of_another_space_are_not_merged():
    other = OfflineMetrics(space=type(GAMEPAD)(name="other", buttons=("A",), sticks=()))

    with pytest.raises(ValueError, match="cannot merge 'other'"):
        OfflineMetrics(space=GAMEPAD).merge(other)


def test_the_most_common_action_is_the_mode_of_buttons_and_the_median_of_axes():
    common = MostCommonAction(space=GAMEPAD)
    common.update("toy", rows_of([{"SOUTH": True, "LEFT_STICK_X": 1.0}, {"LEFT_STICK_X": -0.5}]))
    common.update("toy", rows_of([{"SOUTH": True, "EAST": True, "LEFT_STICK_X": -0.5}]))

    rows = common.predict("toy", num_rows=2)

    assert rows.buttons[:, GAMEPAD.index("SOUTH")].all()
    assert rows.buttons.sum() == 2
    np.testing.assert_allclose(rows.sticks, [[-0.5, 0, 0, 0]] * 2, atol=1e-6)


def test_the_most_common_action_of_a_game_without_training_rows_is_refused():
    with pytest.raises(ValueError, match="no row of 'chess'"):
        MostCommonAction(space=GAMEPAD).predict("chess", num_rows=1)
