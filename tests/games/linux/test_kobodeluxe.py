"""Kobo Deluxe runs by its seed alone, and its expert shoots many times what random presses do."""

from contextlib import closing
from itertools import islice

import numpy as np
import pytest

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import random_player
from nitrogen_train.games.linux.kobodeluxe import KoboDeluxe

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(KoboDeluxe.find_missing()), reason=KoboDeluxe.find_missing()),
]


def _play(game: KoboDeluxe, rows: list[Controls]) -> tuple[list[bytes], list[float]]:
    pictures, rewards = [], []
    for row in rows:
        frame, reward, is_over, _, _ = game.step(row)
        pictures.append(frame.tobytes())
        rewards.append(reward)
        if is_over:
            break
    return pictures, rewards


def _presses(num_rows: int) -> list[Controls]:
    return list(islice(random_player(KoboDeluxe, seed=0), num_rows))


def test_a_seed_gives_the_same_episode() -> None:
    with closing(KoboDeluxe()) as game:
        first = [(game.reset(seed=3)[0], _play(game, _presses(100))) for _ in range(2)]
        other, _ = game.reset(seed=4)
    np.testing.assert_array_equal(first[0][0], first[1][0])
    assert first[0][1] == first[1][1]
    assert not np.array_equal(other, first[0][0])


def test_a_restored_episode_goes_on_as_before() -> None:
    with closing(KoboDeluxe()) as game:
        game.reset(seed=5)
        _play(game, [game.expert() for _ in range(20)])
        state = game.save()
        before = _play(game, _presses(60))
        game.restore(state)
        assert _play(game, _presses(60)) == before


def test_the_expert_shoots_more_than_random_presses_do() -> None:
    with closing(KoboDeluxe()) as game:
        game.reset(seed=1_000_000)
        by_chance = sum(_play(game, _presses(200))[1])
        game.reset(seed=1_000_000)
        by_expert = 0.0
        for _ in range(200):
            _, reward, is_over, _, _ = game.step(game.expert())
            by_expert += reward
            assert not is_over
    assert by_expert >= 100
    assert by_expert >= 5 * by_chance
