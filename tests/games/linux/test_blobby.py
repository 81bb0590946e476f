"""Blobby Volley 2: episodes follow from the seed, can be restored, and the expert wins."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import pytest

from nitrogen_train.games.base import random_player
from nitrogen_train.games.linux.blobby import Blobby

pytestmark = pytest.mark.skipif(bool(Blobby.find_missing()), reason="blobby is not installed")


@pytest.fixture
def game() -> Iterator[Blobby]:
    with closing(Blobby()) as game:
        yield game


def press(game: Blobby, *, num_rows: int) -> list[tuple[bytes, float]]:
    presses = islice(random_player(Blobby, seed=1), num_rows)
    return [
        (frame.tobytes(), reward) for frame, reward, *_ in (game.step(pads) for pads in presses)
    ]


def play_seed(game: Blobby, seed: int, *, num_rows: int = 100) -> list[tuple[bytes, float]]:
    game.reset(seed=seed)
    return press(game, num_rows=num_rows)


def score(game: Blobby, *, seed: int, by_expert: bool) -> float:
    game.reset(seed=seed)
    presses = random_player(Blobby, seed=seed)
    rows = (game.expert() if by_expert else next(presses) for _ in range(500))
    return sum(game.step(action)[1] for action in rows)


def test_a_seed_is_one_episode(game):
    first, again, other = (play_seed(game, seed) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_what_follows_a_restored_moment_is_what_followed_it(game):
    game.reset(seed=5)
    press(game, num_rows=30)
    state = game.save()

    first = press(game, num_rows=100)
    game.restore(state)

    assert press(game, num_rows=100) == first


def test_the_expert_knows_the_court_and_wins(game):
    assert score(game, seed=8, by_expert=True) >= 1
    assert score(game, seed=8, by_expert=False) <= -2
