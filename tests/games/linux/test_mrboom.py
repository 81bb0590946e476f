"""Mr.Boom: episodes follow from the seed, can be restored, and the expert plays well."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import pytest

from nitrogen_train.games.base import random_player
from nitrogen_train.games.linux.mrboom import MrBoom

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(MrBoom.find_missing()), reason="mrboom is not installed"),
]


@pytest.fixture
def game() -> Iterator[MrBoom]:
    with closing(MrBoom()) as game:
        yield game


def press(game: MrBoom, *, num_rows: int) -> list[tuple[bytes, float]]:
    presses = islice(random_player(MrBoom, seed=1), num_rows)
    return [
        (frame.tobytes(), reward) for frame, reward, *_ in (game.step(pads) for pads in presses)
    ]


def play_seed(game: MrBoom, seed: int, *, num_rows: int = 40) -> list[tuple[bytes, float]]:
    game.reset(seed=seed)
    return press(game, num_rows=num_rows)


def score(game: MrBoom, *, seed: int, by_expert: bool) -> float:
    game.reset(seed=seed)
    presses, total, is_over = random_player(MrBoom, seed=seed), 0.0, False
    while not is_over:
        _, reward, terminated, truncated, _ = game.step(
            game.expert() if by_expert else next(presses)
        )
        total += reward
        is_over = terminated or truncated
    return total


def test_a_seed_is_one_episode(game):
    first, again, other = (play_seed(game, seed) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_what_follows_a_restored_moment_is_what_followed_it(game):
    game.reset(seed=5)
    press(game, num_rows=10)
    state = game.save()

    first = press(game, num_rows=20)
    game.restore(state)

    assert press(game, num_rows=20) == first


@pytest.mark.full
def test_the_expert_blows_up_more_bricks_than_chance(game):
    assert score(game, seed=3, by_expert=True) >= 10
    assert score(game, seed=3, by_expert=False) <= 5
