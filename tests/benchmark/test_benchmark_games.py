"""What is measured of games: on a real one, kept game by game, and the committed results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import games
from benchmarks.games import GameCost, GameScores, MeasuredGame, describe_games, measure_games
from nitrogen_train.games import GAMES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "_COMPARED_FRAMES", 60)
    monkeypatch.setattr(games, "_TIMED_ROWS", 30)


def measure(ledger_path: Path, **changes: Any) -> list[MeasuredGame]:
    settings = {"num_seeds": 2, "num_processes": 1} | changes
    return measure_games(["doom_gather"], ledger_path=ledger_path, **settings)


def test_a_game_is_measured_once_and_kept(tmp_path, monkeypatch):
    pytest.importorskip("vizdoom")
    from nitrogen_train.games.doom_gather import DoomGather

    (measured,) = measure(tmp_path / "games.jsonl")

    assert measured.cost.frame_size == (192, 256)
    assert measured.cost.equal_frames == measured.cost.compared_frames == 60
    assert measured.cost.rows_per_s > 0
    assert measured.scores.expert == (2100.0, 2100.0)
    assert max(measured.scores.random) < 2100
    monkeypatch.setattr(games, "measure_game", pytest.fail)
    assert measure(tmp_path / "games.jsonl") == [measured]
    with pytest.raises(pytest.fail.Exception):
        measure(tmp_path / "games.jsonl", num_seeds=3)
    # Another version of the game is another game, and nothing is lost.
    info = replace(DoomGather.info, version="2")
    with monkeypatch.context() as patch:
        patch.setattr(DoomGather, "info", info)
        with pytest.raises(pytest.fail.Exception):
            measure(tmp_path / "games.jsonl")
    assert measure(tmp_path / "games.jsonl") == [measured]


def test_two_runs_that_differ_are_seen(tmp_path, monkeypatch):
    pytest.importorskip("vizdoom")
    seeds = iter(range(10))
    press = games.random_player
    monkeypatch.setattr(games, "random_player", lambda game, seed: press(game, seed=next(seeds)))

    (measured,) = measure(tmp_path / "games.jsonl")

    assert measured.cost.equal_frames < 60
    assert f"no, {measured.cost.equal_frames}" in describe_games([measured])


def test_a_game_that_is_not_installed_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(games, "measure_game", pytest.fail)
    (tmp_path / "none.yaml").write_text(
        "{name: none, title: t, licence: l, command: [no-such-game], controls: {SOUTH: pad}}"
    )

    with pytest.raises(ValueError, match="none needs no-such-game, which is not installed"):
        measure_games([str(tmp_path / "none.yaml")], num_seeds=2, num_processes=1)
    with pytest.raises(ValueError, match="has 1000 held-out seeds"):
        measure_games(["doom_gather"], num_seeds=2000, num_processes=1)


def test_the_page_shows_what_was_measured():
    results = json.loads((DOCS / "games.json").read_text())["games"]
    measured = [
        MeasuredGame(
            cost=GameCost(**{name: each[name] for name in GameCost.__annotations__}),
            scores=GameScores(random=each["random"], expert=each["expert"]),
        )
        for each in results
    ]

    assert [each["game"] for each in results] == sorted(GAMES)
    assert describe_games(measured) in (DOCS / "native_games.md").read_text()
