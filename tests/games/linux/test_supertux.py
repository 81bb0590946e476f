"""SuperTux: runs are exact, differ by seed, can be restored, and the expert gets far."""

import contextlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from nitrogen_train.games.base import Frame, random_player
from nitrogen_train.games.linux.supertux import SuperTux

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(SuperTux.find_missing()), reason=SuperTux.find_missing()),
]

NUM_ROWS = 100


@pytest.fixture
def game() -> Iterator[SuperTux]:
    with contextlib.closing(SuperTux()) as game:
        yield game


def _play_at_random(game: SuperTux, num_rows: int) -> tuple[list[Frame], list[float]]:
    frames, rewards = [], []
    for action in islice(random_player(SuperTux, seed=0), num_rows):
        frame, reward, terminated, *_ = game.step(action)
        frames.append(frame)
        rewards.append(reward)
        if terminated:
            break
    return frames, rewards


def test_the_same_seed_shows_and_pays_the_same(game: SuperTux) -> None:
    start, _ = game.reset(seed=1)
    frames, rewards = _play_at_random(game, NUM_ROWS)
    again, _ = game.reset(seed=1)
    frames_again, rewards_again = _play_at_random(game, NUM_ROWS)
    assert np.array_equal(start, again)
    assert len(frames) > 30
    assert np.array_equal(frames, frames_again)
    assert rewards == rewards_again


def test_seeds_differ(game: SuperTux) -> None:
    # Of the same level.
    first, _ = game.reset(seed=0)
    second, _ = game.reset(seed=len(SuperTux.native_spec.levels) - 2)
    assert not np.array_equal(first, second)


def test_what_follows_a_restored_state_is_what_followed_it_before(game: SuperTux) -> None:
    game.reset(seed=2)
    _play_at_random(game, 20)
    state = game.save()
    frames, rewards = _play_at_random(game, 40)
    game.restore(state)
    frames_again, rewards_again = _play_at_random(game, 40)
    assert np.array_equal(frames, frames_again)
    assert rewards == rewards_again


@pytest.mark.full
def test_the_expert_runs_where_random_presses_do_not_get(game: SuperTux) -> None:
    game.reset(seed=0)
    by_chance = sum(_play_at_random(game, 60)[1])
    game.reset(seed=0)
    by_rule = sum(game.step(game.expert())[1] for _ in range(60))
    assert by_rule > 25
    assert by_rule > 3 * by_chance
