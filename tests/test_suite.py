"""The recipe that trains one policy for several games: its plan, and the number it ends with."""

import json
from pathlib import Path

import pytest

from examples.suite import EPISODES, average_games, describe_scores, plan_suite
from nitrogen_train.config import load_defaults
from nitrogen_train.games import GAMES, load_game


def score(policy: list[float]) -> dict[str, object]:
    mean = sum(policy) / len(policy)
    return {
        "random": 10.0, "reference": 20.0, "expert": 20.0, "policy": mean, "policy_scores": policy,
        "score": (mean - 10) / 10, "low": 0.0, "high": 1.0,
    }  # fmt: skip


def test_each_game_counts_alike_however_many_points_it_gives():
    scores = {"one": score([20.0] * 3), "other": score([10.0] * 3)}

    assert average_games(scores) == (0.5, 0.5, 0.5)


def test_the_interval_is_of_the_episodes_within_each_game():
    scores = {"one": score([10.0, 20.0] * 10), "other": score([20.0] * 20)}

    mean, low, high = average_games(scores)

    # Half of an interval of 20 draws of 0 or 1: 0.5 -+ 1.96 sqrt(0.25 / 20).
    assert mean == pytest.approx(0.75)
    assert (low, high) == pytest.approx((0.75 - 0.11, 0.75 + 0.11), abs=0.02)


def test_the_table_has_a_row_for_each_game_and_one_for_their_mean():
    table = describe_scores({"one": score([20.0, 20.0]), "other": score([10.0, 10.0])})

    assert table.splitlines()[2] == "| one | 10 | 20 | 20 | 1.00 (0.00 to 1.00) |"
    assert table.splitlines()[-1] == "| mean | | | | 0.50 (0.50 to 0.50) |"


def test_the_plan_names_each_stage_once_and_games_that_there_are(tmp_path):
    commands = plan_suite(tmp_path)

    assert len({command.name for command in commands}) == len(commands)
    assert set(EPISODES) <= set(GAMES)
    for game, number in EPISODES.items():
        assert number <= len(load_game(game).info.recording_seeds)


def test_its_training_is_a_config(tmp_path: Path):
    (train,) = (command for command in plan_suite(tmp_path) if command.name == "train")

    config = load_defaults(train.arguments[2:])

    assert set(config.data.sources) == set(EPISODES)


def test_the_page_shows_what_was_reached_and_it_is_enough():
    docs = Path(__file__).parents[1] / "docs"
    scores = json.loads((docs / "suite.json").read_text())["games"]

    assert list(scores) == list(EPISODES)
    assert describe_scores(scores) in (docs / "native_games.md").read_text()
    mean, low, _ = average_games(scores)
    assert mean >= 0.6
    assert low >= 0.5
