from dataclasses import replace
from pathlib import Path

import pytest
from tiny_policy import build_tiny_policy

from nitrogen_train.evaluation.offline import PLAYERS, OfflineSettings, evaluate_offline
from nitrogen_train.models.playing import SamplingSettings

SETTINGS = OfflineSettings(
    frame_stride=1,
    action_offset=0,
    every_nth_frame=1,
    micro_batch_size=7,
    action_hz=None,
    sampling=SamplingSettings(num_sampling_steps=1),
    seed=0,
)


@pytest.fixture
def dataset(tmp_path: Path, write_dataset, clip_plan) -> Path:
    """In row t, SOUTH is down where t is odd and the left stick's x is t / 100."""
    plans = [
        clip_plan(clip_id="train", session_id="a", num_frames=30),
        clip_plan(clip_id="val", session_id="b", num_frames=20, split="val", invalid_rows=[10]),
    ]
    return write_dataset(tmp_path / "data", plans)


def evaluate(dataset: Path, **changes) -> dict:
    return evaluate_offline(
        build_tiny_policy(), datasets=[dataset], settings=replace(SETTINGS, **changes)
    )


def test_every_player_is_judged_on_the_valid_rows_with_a_valid_row_before(dataset: Path):
    players = evaluate(dataset)

    # Rows 1 to 19, without the invalid row 10 and row 11 behind it.
    assert tuple(players) == PLAYERS
    assert {metrics["games"]["doom_defend"]["rows"] for metrics in players.values()} == {17}


def test_the_baselines_have_the_metrics_that_the_recording_implies(dataset: Path):
    players = evaluate(dataset)

    assert players["repeat"]["macro"]["onset_f1"] == 0
    assert players["repeat"]["macro"]["stick_mae"] == pytest.approx(0.01, rel=1e-5)
    # The median of 0, 0.01 ... 0.29 in the training split.
    assert players["most_common"]["macro"]["stick_mae"] == pytest.approx(0.05, abs=0.02)
    assert players["idle"]["macro"]["frame_f1"] == 0


def test_at_half_the_rate_rows_are_joined_in_pairs(dataset: Path):
    players = evaluate(dataset, action_hz=5.0)

    # 10 joined rows, of which 5 holds the invalid row 10.
    assert {metrics["games"]["doom_defend"]["rows"] for metrics in players.values()} == {7}
    # SOUTH is down in every second row, so in every pair; the stick goes two steps a pair.
    assert players["repeat"]["games"]["doom_defend"]["frame_f1"] == 1
    assert players["repeat"]["macro"]["stick_mae"] == pytest.approx(0.02, rel=1e-5)


def test_the_result_does_not_depend_on_the_batch_size(dataset: Path):
    small, large = evaluate(dataset, micro_batch_size=3), evaluate(dataset, micro_batch_size=64)

    assert small["policy"]["macro"] == pytest.approx(large["policy"]["macro"], rel=1e-4)


def test_the_row_judged_follows_the_offset_and_the_frames_are_thinned(dataset: Path):
    # Frames 0, 4, 8, 12 and 16 predict rows 3, 7, 11, 15 and 19; row 10, before 11, is invalid.
    players = evaluate(dataset, action_offset=3, every_nth_frame=4)

    toy = players["policy"]["games"]["doom_defend"]
    assert toy["rows"] == 4
    assert toy["buttons"]["SOUTH"]["frame"]["support"] == 4


def test_a_data_set_without_heldout_clips_is_refused(tmp_path: Path, write_dataset, clip_plan):
    only_train = write_dataset(tmp_path / "data", [clip_plan(clip_id="train")])

    with pytest.raises(ValueError, match="no clip has split in"):
        evaluate(only_train)


def test_what_the_policy_predicted_is_told_clip_by_clip(dataset: Path):
    told = {}

    players = evaluate_offline(
        build_tiny_policy(),
        datasets=[dataset],
        settings=replace(SETTINGS, action_offset=2, every_nth_frame=3),
        on_predicted=lambda clip_id, rows, actions: told.update({clip_id: (rows, actions)}),
    )

    rows, actions = told.pop("val")
    assert not told
    # Frames 0, 3 ... 15, two rows on; row 11 follows the invalid row 10.
    assert rows.tolist() == [2, 5, 8, 14, 17]
    truth = rows / 100
    mae = players["policy"]["games"]["doom_defend"]["sticks"]["LEFT_STICK_X"]["mae"]
    assert abs(actions.sticks[:, 0] - truth).mean() == pytest.approx(mae, rel=1e-4)


def test_of_rows_that_were_joined_the_first_is_told(dataset: Path):
    told = []

    evaluate_offline(
        build_tiny_policy(),
        datasets=[dataset],
        settings=replace(SETTINGS, action_hz=5.0),
        on_predicted=lambda _clip_id, rows, _actions: told.extend(rows.tolist()),
    )

    # Pairs of the 20 rows at 10 Hz; rows 10 and 11, and those behind them, are out.
    assert told == [2, 4, 6, 8, 14, 16, 18]
