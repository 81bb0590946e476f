"""Pekka Kana 2 as a game: alike for the same seed, restorable, and its expert finds the exit."""

import contextlib

import numpy as np
import pytest

from nitrogen_train.games.base import Frame, random_player
from nitrogen_train.games.linux.pekka import Pekka
from nitrogen_train.games.linux.pekka_map import COLUMNS, GROUND, ROWS, Ways

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(Pekka.find_missing()), reason=Pekka.find_missing()),
]


def _play(game: Pekka, *, rows: int) -> tuple[list[Frame], list[float]]:
    presses = random_player(Pekka, seed=0)
    frames: list[Frame] = []
    rewards: list[float] = []
    for _ in range(rows):
        frame, reward, _, _, _ = game.step(next(presses))
        frames.append(frame)
        rewards.append(reward)
    return frames, rewards


def test_same_seed_shows_the_same_and_another_seed_does_not() -> None:
    with contextlib.closing(Pekka()) as game:
        first, _ = game.reset(seed=4)
        frames, rewards = _play(game, rows=40)
        again, _ = game.reset(seed=4)
        frames_again, rewards_again = _play(game, rows=40)
        other, _ = game.reset(seed=8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(frames, frames_again)
    assert rewards == rewards_again
    assert not np.array_equal(first, other)


def test_what_follows_a_restored_state_is_what_followed_it() -> None:
    with contextlib.closing(Pekka()) as game:
        game.reset(seed=0)
        for _ in range(20):
            game.step(game.expert())
        state = game.save()
        frames, rewards = _play(game, rows=30)
        game.restore(state)
        frames_again, rewards_again = _play(game, rows=30)
    np.testing.assert_array_equal(frames, frames_again)
    assert rewards == rewards_again


@pytest.mark.full
def test_expert_finds_the_exit_and_random_does_not() -> None:
    scores = {"expert": 0.0, "random": 0.0}
    for player in scores:
        with contextlib.closing(Pekka()) as game:
            game.reset(seed=0)
            presses = random_player(Pekka, seed=1)
            while True:
                action = game.expert() if player == "expert" else next(presses)
                _, reward, terminated, truncated, _ = game.step(action)
                scores[player] += reward
                if terminated or truncated:
                    break
    assert scores["random"] < 60 < scores["expert"] == pytest.approx(100)


def test_way_leads_up_steps_of_two_tiles_and_no_higher() -> None:
    walls = np.full((ROWS, COLUMNS), 255, np.uint8)
    walls[100, :40] = 0
    walls[98:100, 20:40] = 0
    walls[97, 30] = 149
    assert Ways(walls.tobytes(), ((30, 97),)).distance((10, 99, GROUND)) is not None
    walls[96:100, 18:40] = 0
    walls[95, 30] = 149
    assert Ways(walls.tobytes(), ((30, 95),)).distance((10, 99, GROUND)) is None
