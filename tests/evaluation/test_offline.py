from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from range_server import serve_ranges
from tiny_policy import build_tiny_policy

from nitrogen_train.actions import ActionRows
from nitrogen_train.actions.space import GAMEPAD, KEYBOARD_MOUSE
from nitrogen_train.config import EvaluateConfig
from nitrogen_train.data.manifest import read_manifest, write_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.evaluation import offline
from nitrogen_train.evaluation.offline import (
    PLAYERS,
    MostCommonAction,
    OfflineSettings,
    evaluate_offline,
)
from nitrogen_train.models.playing import SamplingSettings
from nitrogen_train.run.data_of_run import open_datasets

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


def evaluate(*datasets: object, on_predicted: Any = None, where: str | None = None, **changes):
    return evaluate_named([str(each) for each in datasets], on_predicted, where, **changes)


def evaluate_named(named: Any, on_predicted: Any = None, where: str | None = None, **changes):
    policy, settings = build_tiny_policy(), replace(SETTINGS, **changes)
    config = EvaluateConfig(datasets=named, where=where)
    sources = open_datasets(config, settings.shape_windows(policy))
    return evaluate_offline(policy, sources=sources, settings=settings, on_predicted=on_predicted)


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
    assert players["most_common"]["games"]["doom_defend"]["frame_f1"] == 1


def test_invalid_training_rows_are_not_counted(tmp_path: Path, write_dataset, clip_plan):
    plans = [
        clip_plan(clip_id="train", invalid_rows=range(25)),
        clip_plan(clip_id="val", num_frames=20, split="val"),
    ]

    players = evaluate(write_dataset(tmp_path / "data", plans))

    # The median of 0.25 ... 0.29 against 0.01 ... 0.19.
    assert players["most_common"]["macro"]["stick_mae"] == pytest.approx(0.17, abs=0.01)


def test_the_games_of_all_data_sets_are_judged(
    dataset: Path, tmp_path: Path, write_dataset, clip_plan
):
    plans = [clip_plan(clip_id=split, game="pong", split=split) for split in ("train", "val")]

    players = evaluate(dataset, write_dataset(tmp_path / "pong", plans))

    assert {name for each in players.values() for name in each["games"]} == {"doom_defend", "pong"}


def test_a_button_that_is_down_in_half_of_the_rows_is_not_pressed():
    common = MostCommonAction(space=GAMEPAD)
    rows = ActionRows(
        buttons=np.zeros((4, len(GAMEPAD.buttons)), bool),
        sticks=np.zeros((4, len(GAMEPAD.sticks)), np.float32),
    )
    rows.buttons[:2, 0] = rows.buttons[:3, 1] = True

    common.update("doom", rows)

    assert common.predict("doom", num_rows=1).buttons[0, :2].tolist() == [False, True]


def test_a_windows_noise_is_its_own_and_comes_again():
    policy = build_tiny_policy()

    def draw(clip_id: str, frame: int, seed: int = 0) -> torch.Tensor:
        settings = replace(SETTINGS, seed=seed)
        shape = settings.shape_windows(policy)
        return offline._Predictor(policy, settings=settings, window=shape)._draw_noise(
            clip_id, frame
        )

    assert torch.equal(draw("a", 3), draw("a", 3))
    assert len({draw(*each)[0, 0].item() for each in (("a", 3), ("a", 4), ("b", 3))}) == 3
    assert not torch.equal(draw("a", 3), draw("a", 3, seed=1))


def test_the_policy_is_told_the_game_and_which_frames_there_are(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    policy = build_tiny_policy(num_frames=2, games=("pong", "doom_defend"))
    settings = replace(SETTINGS, action_offset=1)
    told: list[dict[str, Any]] = []

    def note(policy, frames, **values):
        told.append(values)
        chunks = np.zeros((len(frames), 4, policy.action_space.action_dim), np.float32)
        chunks[:, 1:, : len(policy.action_space.buttons)] = 1
        return chunks

    monkeypatch.setattr(offline, "sample_chunks", note)
    shape = settings.shape_windows(policy)
    sources = open_datasets(EvaluateConfig(datasets=[str(dataset)]), shape)

    def check(_clip_id, _rows, actions):
        assert not actions.buttons.any()

    evaluate_offline(policy, sources=sources, settings=settings, on_predicted=check)

    assert {game_id for values in told for game_id in values["game_ids"]} == {2}
    masks = np.concatenate([values["frame_mask"] for values in told])
    assert masks[0].tolist() == [False, True]
    assert masks[1:].all()


def test_another_action_space_than_that_of_the_policy_is_refused(dataset: Path):
    policy = build_tiny_policy()
    sources = open_datasets(EvaluateConfig(datasets=[str(dataset)]), SETTINGS.shape_windows(policy))
    policy.action_space = KEYBOARD_MOUSE

    with pytest.raises(ValueError, match="action space 'gamepad', the policy 'keyboard_mouse'"):
        evaluate_offline(policy, sources=sources, settings=SETTINGS)


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

    with pytest.raises(ValueError, match="no clip is in 'val', and evaluation needs train") as told:
        evaluate(only_train)
    assert str(told.value).startswith(f"datasets.0 ({only_train}): ")
    assert "without validation" not in str(told.value)


def test_what_the_policy_predicted_is_told_clip_by_clip(dataset: Path):
    told = {}

    players = evaluate(
        dataset,
        on_predicted=lambda clip_id, rows, actions: told.update({clip_id: (rows, actions)}),
        action_offset=2,
        every_nth_frame=3,
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

    evaluate(
        dataset,
        on_predicted=lambda _clip_id, rows, _actions: told.extend(rows.tolist()),
        action_hz=5.0,
    )

    # Pairs of the 20 rows at 10 Hz; rows 10 and 11, and those behind them, are out.
    assert told == [2, 4, 6, 8, 14, 16, 18]


def test_a_url_gives_what_its_folder_gives(dataset: Path):
    with serve_ranges() as server:
        server.files |= {f"/set/{path.name}": path.read_bytes() for path in dataset.iterdir()}

        assert evaluate(f"{server.url}/set") == evaluate(dataset)


def test_only_the_clips_that_are_in_use_are_read(tmp_path: Path, write_dataset, clip_plan):
    splits = {"train": "train", "one": "val", "other": "val"}
    plans = [clip_plan(clip_id=name, split=split) for name, split in splits.items()]
    folder, told = write_dataset(tmp_path / "data", plans), []

    def note(clip_id, _rows, _actions):
        told.append(clip_id)

    evaluate(folder, on_predicted=note, where="clip_id != other")
    by_name = {"mine": {"path": str(folder), "where": "clip_id != one"}}
    evaluate_named(by_name, note)
    assert told == ["one", "other"]
    with pytest.raises(
        ValueError, match=r"datasets\.mine .*no clip is left by '\(\(clip_id == one\) and"
    ):
        evaluate_named(by_name, note, where="clip_id == one")


def at_rate(folder: Path, fps: float) -> Path:
    write_manifest(folder, [replace(row, fps=fps) for row in read_manifest(folder).rows()])
    return folder


def test_other_rates_are_reduced_to_that_of_the_policy_or_refused(
    tmp_path: Path, write_dataset, clip_plan
):
    plans = [clip_plan(clip_id=split, split=split) for split in ("train", "val")]
    slow = write_dataset(tmp_path / "slow", plans)
    fast = at_rate(write_dataset(tmp_path / "fast", plans), 20.0)

    def count(**settings) -> int:
        return evaluate(slow, fast, **settings)["policy"]["games"]["doom_defend"]["rows"]

    assert count(action_hz=10.0) == 29 + 14
    # Nobody knows the policy's rate: each is predicted at its own.
    assert count() == 29 + 29
    with pytest.raises(ValueError, match=r"datasets\.0 .*slow.*10 frames per second are no multip"):
        count(action_hz=4.0)
    strict = {name: {"path": str(tmp_path / name), "any_fps": False} for name in ("slow", "fast")}
    with pytest.raises(ValueError, match=r"datasets: the clips' frames .* differ .* by action_hz,"):
        evaluate_named(strict)


def test_an_offset_of_a_data_set_is_its_own(dataset: Path):
    named = {"mine": {"path": str(dataset), "action_offset": 3}}

    assert evaluate_named(named, every_nth_frame=4) == evaluate(
        dataset, action_offset=3, every_nth_frame=4
    )


def test_a_clip_that_cannot_be_read_is_named_and_ends_it(dataset: Path):
    row = read_manifest(dataset).row(1)
    shard = bytearray((dataset / row.shard).read_bytes())
    shard[row.offset + 600] ^= 1
    (dataset / row.shard).write_bytes(shard)

    with pytest.raises(ShardError, match=r"clip val cannot be read: .*checksum differs.*!= 'val'"):
        evaluate(dataset)
