"""Tower Toppler as a game: alike for the same seed, restorable, and climbed by its expert."""

import contextlib

import numpy as np
import pytest

from nitrogen_train.games.base import Frame, random_player
from nitrogen_train.games.linux.toppler import Toppler
from nitrogen_train.games.linux.toppler_tower import Guide, read_tower

pytestmark = pytest.mark.skipif(bool(Toppler.find_missing()), reason=Toppler.find_missing())


def _play(game: Toppler, *, rows: int) -> tuple[list[Frame], list[float]]:
    presses = random_player(Toppler, seed=0)
    frames: list[Frame] = []
    rewards: list[float] = []
    for _ in range(rows):
        frame, reward, terminated, truncated, _ = game.step(next(presses))
        frames.append(frame)
        rewards.append(reward)
        if terminated or truncated:
            break
    return frames, rewards


def _score(game: Toppler, *, is_expert: bool) -> float:
    presses = random_player(Toppler, seed=1)
    total = 0.0
    while True:
        action = game.expert() if is_expert else next(presses)
        _, reward, terminated, truncated, _ = game.step(action)
        total += reward
        if terminated or truncated:
            return total


def test_same_seed_shows_the_same_and_another_seed_does_not() -> None:
    with contextlib.closing(Toppler()) as game:
        first, _ = game.reset(seed=3)
        frames, rewards = _play(game, rows=100)
        again, _ = game.reset(seed=3)
        frames_again, rewards_again = _play(game, rows=100)
        other, _ = game.reset(seed=4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(frames, frames_again)
    assert rewards == rewards_again
    assert not np.array_equal(first, other)


def test_what_follows_a_restored_state_is_what_followed_it() -> None:
    with contextlib.closing(Toppler()) as game:
        _, info = game.reset(seed=0)
        for _ in range(40):
            game.step(game.expert())
        state = game.save()
        frames, rewards = _play(game, rows=30)
        game.restore(state)
        frames_again, rewards_again = _play(game, rows=30)
    assert info["allowed"] == {"lock_step": True, "repeatable": True, "restorable": True}
    np.testing.assert_array_equal(frames, frames_again)
    assert rewards == rewards_again


def test_expert_climbs_and_random_does_not() -> None:
    with contextlib.closing(Toppler()) as game:
        game.reset(seed=2)
        expert = _score(game, is_expert=True)
        game.reset(seed=2)
        assert _score(game, is_expert=False) < 300 < 500 <= expert


def test_vanishing_step_lets_fall_what_stands_on_it() -> None:
    cells = bytearray(64 * 16)
    cells[1 * 16 : 1 * 16 + 3] = bytes([12, 12, 13])
    tower = read_tower(bytes(cells))
    assert [move.end for move in tower.moves((12, 8, True)) if move.press == "right"] == [
        (13, 8, True)
    ]
    assert tower.find_drift((19, 8, True)) == 0


def test_guide_leads_through_a_lift_to_the_target_door() -> None:
    cells = bytearray(64 * 16)
    cells[1 * 16] = 12
    cells[1 * 16 + 1] = 24
    cells[9 * 16 + 1] = 1
    cells[9 * 16 + 2] = 12
    for row in (10, 11, 12):
        cells[row * 16 + 2] = 18
    guide = Guide(read_tower(bytes(cells), is_map=True))
    assert guide.leads_to_target((4, 8, True))
    assert guide.count_ticks((12, 8, True)) < guide.count_ticks((4, 8, True))
