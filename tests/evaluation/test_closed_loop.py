from dataclasses import replace
from pathlib import Path

import pytest
from chase_game import ChaseGame, UncountableGame
from tiny_policy import build_tiny_policy

from nitrogen_train.evaluation.closed_loop import LEDGER_NAME, GameScore, evaluate_closed_loop
from nitrogen_train.evaluation.play import ExpertPlayer, RandomPlayer, play_episodes
from nitrogen_train.models.load import PolicySource
from nitrogen_train.models.playing import PlaySettings, SamplingSettings

SETTINGS = PlaySettings(
    execution_horizon=2,
    start_row=0,
    frame_stride=1,
    action_hz=None,
    sampling=SamplingSettings(num_sampling_steps=1),
    seed=0,
)


@pytest.fixture
def policy_dir(tmp_path: Path) -> Path:
    build_tiny_policy().save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def evaluate(policy_dir: Path, output_dir: Path, **changes) -> GameScore:
    arguments = {"game": "chase_game:ChaseGame", "num_episodes": 5, "num_processes": 1, **changes}
    game = arguments.pop("game")
    (score,) = evaluate_closed_loop(
        source=PolicySource(path=policy_dir),
        settings=SETTINGS,
        games=[game],
        group_size=2,
        output_dir=output_dir,
        **arguments,
    ).values()
    return score


def test_episodes_end_on_their_own_and_the_expert_never_misses():
    outcomes = list(play_episodes(ChaseGame, seeds=[100, 101, 102], player=ExpertPlayer()))

    assert {outcome.seed: outcome.num_rows for outcome in outcomes} == {100: 9, 101: 10, 102: 8}
    assert all(outcome.score == outcome.num_rows for outcome in outcomes)


def test_the_random_player_is_a_function_of_the_seed():
    first, second = (
        list(play_episodes(ChaseGame, seeds=seeds, player=RandomPlayer()))
        for seeds in ([100, 101, 102], [100])
    )

    assert second[0] in first


def test_a_reward_that_is_not_finite_stops_the_episode():
    with pytest.raises(ValueError, match="chase, seed 100: the reward of row 0 is nan"):
        list(play_episodes(UncountableGame, seeds=[100], player=ExpertPlayer()))


def test_all_players_play_the_same_heldout_seeds(policy_dir: Path, tmp_path: Path):
    score = evaluate(policy_dir, tmp_path)

    assert score.seeds == [100, 101, 102, 103, 104]
    assert score.expert == score.reference == 9.2
    assert len(score.random_scores) == len(score.policy_scores) == score.episodes == 5
    assert score.low <= score.score <= score.high


def test_a_finished_evaluation_is_not_played_again(
    policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MARKS_DIR", str(tmp_path))
    game = "chase_game:CountedGame"
    first = evaluate(policy_dir, tmp_path / "out", game=game)
    marks = (tmp_path / "marks").read_text()

    again = evaluate(policy_dir, tmp_path / "out", game=game)

    assert again == first
    assert (tmp_path / "marks").read_text() == marks


def test_an_interrupted_evaluation_plays_only_what_is_missing_and_ends_the_same(
    policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MARKS_DIR", str(tmp_path))
    game = "chase_game:CountedGame"
    whole = evaluate(policy_dir, tmp_path / "out", game=game)
    journal = tmp_path / "out" / LEDGER_NAME
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:8]))
    (tmp_path / "marks").unlink()

    resumed = evaluate(policy_dir, tmp_path / "out", game=game)

    assert resumed == whole
    assert len((tmp_path / "marks").read_text().splitlines()) == len(lines) - 8


def test_another_policy_plays_anew_and_random_and_expert_do_not(
    policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MARKS_DIR", str(tmp_path))
    game = "chase_game:CountedGame"
    evaluate(policy_dir, tmp_path / "out", game=game)
    (tmp_path / "marks").unlink()
    build_tiny_policy(seed=1).save_pretrained(tmp_path / "another")

    evaluate(tmp_path / "another", tmp_path / "out", game=game)

    marks = (tmp_path / "marks").read_text().split()
    assert sorted(marks) == ["100", "101", "102", "103", "104"]


def test_episodes_of_another_evaluation_count_and_stay_where_they_are(
    policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MARKS_DIR", str(tmp_path))
    game = "chase_game:CountedGame"
    first = evaluate(policy_dir, tmp_path / "known", game=game)
    lines = (tmp_path / "known" / LEDGER_NAME).read_text()
    (tmp_path / "marks").unlink()

    again = evaluate(policy_dir, tmp_path / "out", game=game, known_dir=tmp_path / "known")

    assert again == first
    assert not (tmp_path / "marks").exists()
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "known" / LEDGER_NAME).read_text() == lines
    with pytest.raises(FileNotFoundError, match="none"):
        evaluate(policy_dir, tmp_path / "out", game=game, known_dir=tmp_path / "none")


@pytest.mark.parametrize("num_episodes", [1, 13])
def test_more_episodes_than_heldout_seeds_are_refused(
    policy_dir: Path, tmp_path: Path, num_episodes: int
):
    with pytest.raises(ValueError, match="has 12 held-out seeds"):
        evaluate(policy_dir, tmp_path, num_episodes=num_episodes)


def test_an_unknown_game_is_refused_before_anything_is_played(policy_dir: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="unknown game 'tetris'"):
        evaluate(policy_dir, tmp_path / "out", game="tetris")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("what", "change"), [("score", None), ("has_expert", False)])
def test_a_game_without_a_measure_is_refused_before_anything_is_played(
    policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, change: object
):
    monkeypatch.setattr(ChaseGame, "info", replace(ChaseGame.info, **{what: change}))

    with pytest.raises(ValueError, match=r"chase_game:ChaseGame has no (score|expert)"):
        evaluate(policy_dir, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_two_processes_reach_the_scores_of_one(policy_dir: Path, tmp_path: Path):
    one = evaluate(policy_dir, tmp_path / "one")
    two = evaluate(policy_dir, tmp_path / "two", num_processes=2)

    assert two == one


@pytest.mark.full
def test_a_process_that_dies_ends_the_evaluation_with_one_error(policy_dir: Path, tmp_path: Path):
    with pytest.raises(ChildProcessError, match="has died, perhaps out of memory"):
        evaluate(policy_dir, tmp_path, game="chase_game:DyingGame", num_processes=2)
