"""Neverball: repeatable, restorable, and its expert collects coins."""

import contextlib

import numpy as np
import pytest

from nitrogen_train.evaluation.play import ExpertPlayer, RandomPlayer, play_episodes
from nitrogen_train.games.base import Frame, random_player
from nitrogen_train.games.linux.neverball import Neverball

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(Neverball.find_missing()), reason=Neverball.find_missing()),
]
SEED = 1_000_000


def _play(game: Neverball, num_rows: int) -> tuple[list[Frame], list[float]]:
    presses = random_player(Neverball, seed=5)
    frames: list[Frame] = []
    rewards: list[float] = []
    for _ in range(num_rows):
        frame, reward, is_over, _, _ = game.step(next(presses))
        frames.append(frame)
        rewards.append(reward)
        if is_over:
            break
    return frames, rewards


def test_the_same_seed_shows_the_same_and_another_one_something_else() -> None:
    """Two runs are equal bit by bit; a state that is restored goes on as before."""
    with contextlib.closing(Neverball()) as game, contextlib.closing(Neverball()) as other:
        first, info = game.reset(seed=SEED)
        assert info["allowed"] == {"lock_step": True, "repeatable": True, "restorable": True}
        again, _ = other.reset(seed=SEED)
        assert np.array_equal(first, again)
        state = game.save()
        frames, rewards = _play(game, 100)
        assert len({frame.tobytes() for frame in frames}) > 90
        other_frames, other_rewards = _play(other, 100)
        assert rewards == other_rewards
        assert np.array_equal(frames, other_frames)
        assert np.array_equal(game.restore(state), first)
        restored_frames, restored_rewards = _play(game, 40)
        assert rewards[:40] == restored_rewards
        assert np.array_equal(frames[:40], restored_frames)
        different, _ = other.reset(seed=SEED + 1)
        assert not np.array_equal(first, different)


@pytest.mark.full
def test_the_expert_beats_random_presses() -> None:
    """The best score is 100, and random presses collect coins where the floor has rails."""
    (expert,) = play_episodes(Neverball, seeds=[SEED], player=ExpertPlayer())
    (random,) = play_episodes(Neverball, seeds=[SEED], player=RandomPlayer())
    assert expert.score > random.score + 40.0
