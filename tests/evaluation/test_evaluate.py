import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from range_server import serve_ranges
from ready import run_ready
from tiny_policy import build_tiny_policy

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.cli import commands
from nitrogen_train.evaluate import EvaluateConfig, choose_output_dir, evaluate
from nitrogen_train.models.load import find_usage
from nitrogen_train.pretrained.places import Usage, find_policy
from nitrogen_train.viewing.predictions import read_predictions

HERE = Path(__file__).parent


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    build_tiny_policy().save_pretrained(tmp_path / "run" / "policy")
    (tmp_path / "run" / "config.yaml").write_text(
        "data: {frame_stride: 2, action_offset: 1, action_hz: 10.0}"
    )
    return tmp_path / "run"


@pytest.fixture
def dataset(tmp_path: Path, write_dataset, clip_plan) -> Path:
    plans = [clip_plan(clip_id=split, session_id=split, split=split) for split in ("train", "val")]
    return write_dataset(tmp_path / "data", plans)


def run_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return run_ready(
        "nitrogen_train.evaluate", *arguments, cwd=cwd, env={**os.environ, "PYTHONPATH": path}
    )


def test_a_policy_is_found_in_its_own_folder_and_in_a_run_folder(run_dir: Path):
    assert find_policy(run_dir) == find_policy(run_dir / "policy") == run_dir / "policy"


def test_a_folder_without_a_policy_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="expected a folder with config"):
        find_policy(tmp_path)


def test_the_results_of_two_policies_lie_in_two_folders(run_dir: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "ng.pt").touch()

    assert choose_output_dir(run_dir / "policy") == run_dir / "eval"
    assert choose_output_dir(tmp_path / "mine") == tmp_path / "mine" / "eval"
    assert choose_output_dir(tmp_path / "ng.pt") == tmp_path / "eval"


def test_an_evaluation_of_nothing_is_refused(run_dir: Path):
    with pytest.raises(ValueError, match="give games="):
        evaluate(EvaluateConfig(policy=str(run_dir)))


def find(
    run_dir: Path,
    *,
    num_frames: int = 3,
    usage: Usage | None = None,
    is_offline: bool = False,
    **asked: Any,
) -> Usage:
    policy = build_tiny_policy(num_frames=num_frames)
    policy.usage = usage or Usage()
    return find_usage(Usage(**asked), policy, policy_dir=run_dir / "policy", is_offline=is_offline)


def test_a_policy_is_used_as_it_says_unless_something_else_is_asked_for(run_dir: Path):
    (run_dir / "config.yaml").unlink()
    said = Usage(frame_stride=2, action_offset=3, action_hz=10.0, num_sampling_steps=1)

    assert find(run_dir, usage=said, is_offline=True) == said
    asked = {"action_offset": 0, "action_hz": 30.0, "num_sampling_steps": 4}
    assert find(run_dir, usage=said, **asked) == Usage(frame_stride=2, **asked)


def test_a_policy_of_an_older_version_is_used_as_its_run_says(run_dir: Path):
    assert find(run_dir) == Usage(frame_stride=2, action_offset=1, action_hz=10.0)
    assert find(run_dir, usage=Usage(action_offset=0)).action_offset == 0


def test_what_nothing_says_must_be_given_where_it_matters(run_dir: Path):
    (run_dir / "config.yaml").unlink()

    assert find(run_dir, num_frames=1) == Usage()
    given = {"frame_stride": 2, "action_offset": 3}
    assert find(run_dir, is_offline=True, **given) == Usage(**given)
    with pytest.raises(ValueError, match="does not say its frame_stride: give frame_stride=N"):
        find(run_dir)
    with pytest.raises(ValueError, match="does not say its action_offset"):
        find(run_dir, num_frames=1, is_offline=True)


def test_results_are_written_and_printed(
    run_dir: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
):
    evaluate(
        EvaluateConfig(
            policy=str(run_dir),
            games=["chase_game:ChaseGame"],
            datasets=[str(dataset)],
            episodes=3,
            execution_horizon=2,
            num_sampling_steps=1,
            num_processes=1,
        )
    )

    scores = json.loads((run_dir / "eval" / "scores.json").read_text())
    game = scores["games"]["chase_game:ChaseGame"]
    fields = {"score", "low", "high", "random", "expert", "policy", "episodes", "reference"}
    assert fields <= game.keys()
    assert scores["settings"]["execution_horizon"] == 2
    offline = json.loads((run_dir / "eval" / "offline.json").read_text())
    assert (offline["settings"]["frame_stride"], offline["settings"]["action_offset"]) == (2, 1)
    assert offline["datasets"] == {"0": {"any_fps": True, "path": str(dataset), "where": None}}
    assert offline["players"]["repeat"]["macro"]["onset_f1"] == 0
    printed = capsys.readouterr().out
    assert f"{game['score']:.3f}" in printed
    assert "score: 0 is random, 1 the reference, here the expert on the same seeds" in printed
    assert "an interval of 3 episodes says little: give episodes=20 or more" in printed
    assert f"{offline['players']['policy']['macro']['stick_mae']:.3f}" in printed


def test_data_that_is_not_there_is_told_before_anything_is_played(run_dir: Path):
    with serve_ranges() as server:
        config = EvaluateConfig(
            policy=str(run_dir), games=["chase_game:ChaseGame"], datasets=[f"{server.url}/none"],
            episodes=2, execution_horizon=1,
        )  # fmt: skip
        with pytest.raises(ValueError, match=r"datasets\.0 .*manifest.parquet is missing") as told:
            evaluate(config)

    assert "\n" not in str(told.value)
    assert not (run_dir / "eval").exists()


def test_predictions_are_written_if_asked_for(run_dir: Path, dataset: Path):
    evaluate(
        EvaluateConfig(
            policy=str(run_dir),
            datasets=[str(dataset)],
            episodes=1,
            execution_horizon=1,
            num_sampling_steps=1,
            predictions=True,
        )
    )

    path = run_dir / "eval" / "predictions.parquet"
    predictions = read_predictions(path, "val", space=GAMEPAD)
    assert predictions.rows.tolist() == list(range(1, 30))
    with pytest.raises(ValueError, match="only clips of split val are predicted"):
        read_predictions(path, "train", space=GAMEPAD)


@pytest.mark.full
def test_the_command_leaves_nothing_but_its_results(run_dir: Path, tmp_path: Path):
    cwd = tmp_path / "here"
    cwd.mkdir()

    result = run_command(
        f"policy={run_dir}",
        "games=['chase_game:ChaseGame']",
        "episodes=4",
        "group_size=2",
        "num_processes=2",
        "num_sampling_steps=1",
        "videos=true",
        cwd=cwd,
    )

    assert result.returncode == 0, result.stderr
    assert "95 % interval" in result.stdout
    assert list(cwd.iterdir()) == []
    written = {str(p.relative_to(run_dir)) for p in (run_dir / "eval").rglob("*") if p.is_file()}
    assert written == {
        "eval/episodes.jsonl", "eval/scores.json", "eval/videos/chase.mp4"
    }  # fmt: skip


def test_a_data_set_that_is_not_there_ends_in_one_clear_line(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    # What is found out before torch is imported is in tests/test_hydra_commands.py.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nitrogen-eval", f"policy={run_dir}", "datasets=[nowhere]"])

    with pytest.raises(SystemExit) as caught:
        commands.evaluate()

    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert "nowhere/manifest.parquet does not exist" in line
    assert not any("Traceback" in line for line in lines)
