"""The comparison of policies: what it would run, and what it makes of the results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from data_tools.watching.judge_reading import JudgedReading
from examples.compare import (
    COMPARISONS,
    HELDOUT_EPISODES,
    SEEDS,
    Run,
    format_reading,
    format_rows,
)
from examples.demo import EPISODES
from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.evaluate import EvaluateConfig
from nitrogen_train.games import load_game
from nitrogen_train.models.visual_policy import VisualPolicy

NAMES = [(what, name) for what, each in COMPARISONS.items() for name in each.contenders]


def _runs(what: str, tmp_path: Path) -> list[Run]:
    return COMPARISONS[what].plan_runs(tmp_path / "compare", shards_dir=tmp_path / "shards")


def _words(run: Run, verb: str) -> list[list[str]]:
    return [each.arguments[2:] for each in run.commands if each.arguments[1].endswith(verb)]


@pytest.mark.parametrize(("what", "name"), NAMES)
def test_every_contender_is_a_config_that_builds(what: str, name: str, tmp_path: Path) -> None:
    register_schema()
    run = next(run for run in _runs(what, tmp_path) if run.name == name)
    (words,) = _words(run, "train")

    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        cfg = compose("train", overrides=words)

    assert set(cfg.data.sources) == set(COMPARISONS[what].episodes)
    strict = [game for game, source in cfg.data.sources.items() if not source.get("any_fps")]
    assert len({load_game(game).info.fps for game in strict}) == 1, "their rows last otherwise"
    with torch.device("meta"):
        assert isinstance(instantiate(cfg.model, _convert_="all"), VisualPolicy)


@pytest.mark.parametrize("what", COMPARISONS)
def test_every_policy_is_trained_from_every_seed_and_played(what: str, tmp_path: Path) -> None:
    runs, contenders = _runs(what, tmp_path), COMPARISONS[what].contenders

    assert len({run.run_dir for run in runs}) == len(runs) == len(contenders) * len(SEEDS)
    known = EvaluateConfig.__dataclass_fields__
    for run in runs:
        (train,) = _words(run, "train")
        assert f"seed={run.seed}" in train
        evaluations = _words(run, "evaluate")
        assert len(evaluations) == len(contenders[run.name].num_sampling_steps)
        assert {word.split("=")[0] for words in evaluations for word in words} <= known.keys()


def _write_scores(run: Run, num_steps: int, scores: list[float]) -> None:
    folder = run.run_dir / f"sampling-steps-{num_steps}"
    folder.mkdir(parents=True)
    game = {"policy_scores": scores, "random": 10.0, "reference": 30.0}
    content = {"games": dict.fromkeys(EPISODES, game)}
    (folder / "scores.json").write_text(json.dumps(content))
    if num_steps == 1:
        macro = {"frame_f1": 0.5 + run.seed / 10, "onset_f1": 0.4, "stick_mae": 0.125}
        offline = {"players": {"policy": {"macro": macro}}}
        (folder / "offline.json").write_text(json.dumps(offline))


def test_scores_are_normalized_and_averaged_over_seeds_and_episodes(tmp_path: Path) -> None:
    comparison = COMPARISONS["policies"]
    runs = _runs("policies", tmp_path)
    name = runs[0].name
    for run in runs:
        for num_steps in comparison.contenders[run.name].num_sampling_steps:
            # Half the way from random to reference, give or take, and better with the seed.
            scores = [20.0 + run.seed + (-1.0) ** i for i in range(HELDOUT_EPISODES)]
            _write_scores(run, num_steps, scores)

    rows = list(comparison.summarize(name, runs))

    assert [row["num_sampling_steps"] for row in rows] == [1, 2, 4, 16]
    mean = rows[0]["scores"]["mean"]
    assert mean["seeds"] == pytest.approx([0.5, 0.55, 0.6])
    assert mean["mean"] == pytest.approx(0.55)
    # Wider than the three seeds alone are apart, narrower than their extremes and episodes.
    assert 0.45 <= mean["low"] < 0.52
    assert 0.58 < mean["high"] <= 0.65
    table = format_rows(rows)
    assert "**0.55**" in table
    assert "0.50, 0.55, 0.60" in table
    assert "0.60, 0.125" in table
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_only_what_was_watched_is_judged(tmp_path: Path) -> None:
    assert COMPARISONS["policies"].judge_watched(tmp_path) == {}
    with pytest.raises(FileNotFoundError, match="watched"):
        COMPARISONS["watched"].judge_watched(tmp_path)


def test_how_well_each_game_was_read_is_a_line() -> None:
    pressed = JudgedReading(
        num_rows=100,
        readable=0.994,
        controls=("RIGHT_TRIGGER",),
        accuracy=0.99,
        press_f1=0.9706,
        onsets=1.0,
        stick_r2={"RIGHT_STICK_X": 0.931},
        stick_error=0.02,
    )
    idle = replace(pressed, press_f1=None, stick_r2={})

    assert format_reading({"doom_defend": pressed, "doom_gather": idle}) == (
        "doom_defend: 99.4% of its rows were read; press F1 0.971; R² RIGHT_STICK_X 0.93\n"
        "doom_gather: 99.4% of its rows were read; nothing pressed; R² –\n"
    )
