"""Which games a run tells its policy apart."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nitrogen_train.config import RunConfig, load_defaults
from nitrogen_train.data.mixture import share_by_game
from nitrogen_train.run.data_of_run import choose_games, open_sources


@pytest.fixture
def configure(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> Callable[..., RunConfig]:
    """A run on two data sets: celeste three times as long as cuphead, and hades."""
    plans = [
        clip_plan(clip_id="c", game="celeste", session_id="c", num_frames=60),
        clip_plan(clip_id="u", game="cuphead", session_id="u", num_frames=20),
    ]
    write_dataset(tmp_path / "b", plans)
    write_dataset(tmp_path / "a", [clip_plan(clip_id="h", game="hades")])

    def configure(*overrides: str) -> RunConfig:
        sources = [f"+data.sources.{name}.path={tmp_path / name}" for name in ("b", "a")]
        run = ["data.num_val_windows=0", "data.action_offset=0", f"output_dir={tmp_path}/run"]
        return load_defaults([*sources, *run, *overrides])

    return configure


def test_the_games_of_a_run_are_those_of_its_data_by_name(
    configure: Callable[..., RunConfig],
) -> None:
    assert choose_games(configure()) == ["celeste", "cuphead", "hades"]


def test_games_that_are_given_keep_their_order(configure: Callable[..., RunConfig]) -> None:
    games = ["hades", "celeste", "cuphead"]

    assert choose_games(configure(f"data.games=[{','.join(games)}]")) == games


def test_a_game_that_is_not_named_is_said_with_its_share_of_the_samples(
    configure: Callable[..., RunConfig], caplog: pytest.LogCaptureFixture
) -> None:
    config = configure("data.games=[celeste]", "+data.sources.a.weight=3")

    with caplog.at_level(logging.WARNING):
        choose_games(config)

    # 3 of 4 of one data set, and 20 of 80 windows of the rest.
    assert caplog.messages == [
        "the policy is not told cuphead, hades, 81.2 % of the samples: not in data.games"
    ]
    shares = share_by_game(open_sources(config.data, split="train"))
    assert shares == pytest.approx({"celeste": 3 / 16, "cuphead": 1 / 16, "hades": 3 / 4})


def test_a_game_that_no_clip_has_is_refused_with_those_that_there_are(
    configure: Callable[..., RunConfig],
) -> None:
    with pytest.raises(ValueError, match=r"'celest', did you mean celeste\? the data has celeste,"):
        choose_games(configure("data.games=[celest]"))


def test_a_run_that_goes_on_keeps_its_games_and_says_which_it_is_not_told(
    configure: Callable[..., RunConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text("data: {games: [hades]}\n")
    # A start that saved nothing is begun anew.
    assert choose_games(configure()) == ["celeste", "cuphead", "hades"]
    (tmp_path / "run" / "checkpoints" / "step-2.ckpt").touch()

    assert choose_games(configure()) == ["hades"]
    assert "the policy is not told celeste, cuphead" in caplog.text


def test_one_balanced_data_set_shares_as_it_draws(configure: Callable[..., RunConfig]) -> None:
    config = configure("+data.sources.b.game_temperature=1e9", "~data.sources.a")

    shares = share_by_game(open_sources(config.data, split="train"))

    assert shares == pytest.approx({"celeste": 0.5, "cuphead": 0.5}, abs=1e-3)
