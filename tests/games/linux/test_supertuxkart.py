"""SuperTuxKart: a race starts, and a kart gets on as it is driven.

A start takes seconds, so the tests share one.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import pytest

from nitrogen_train.games.base import random_player
from nitrogen_train.games.linux.supertuxkart import SuperTuxKart

MISSING = SuperTuxKart.find_missing()
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.xdist_group("supertuxkart"),
]
PRESSES = list(islice(random_player(SuperTuxKart, seed=0), 100))


@pytest.fixture(scope="module")
def started() -> Iterator[SuperTuxKart]:
    with closing(SuperTuxKart()) as game:
        game.reset(seed=0)
        yield game


@pytest.fixture
def game(started: SuperTuxKart) -> Iterator[SuperTuxKart]:
    """Lend the race, and put it back to its start."""
    start = started.save()
    yield started
    started.restore(start)


def test_the_gas_drives_the_kart_forward(game):
    rewards = [game.step({"RIGHT_TRIGGER": True})[1] for _ in range(30)]

    assert sum(rewards) > 5
    assert game.describe_moment()["speed_m_per_s"] > 5


def test_a_standing_kart_scores_nothing_and_the_brake_drives_it_back(game):
    standing = [game.step({})[1] for _ in range(30)]
    back = [game.step({"LEFT_TRIGGER": True})[1] for _ in range(30)]

    assert abs(sum(standing[15:])) < 0.5
    assert sum(back) < -1


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_left_stick_steers_and_right_moves_the_picture_to_the_left(game, side):
    for _ in range(30):
        game.step({"RIGHT_TRIGGER": True})
    before = game.heading_deg

    for _ in range(10):
        game.step({"RIGHT_TRIGGER": True, "LEFT_STICK_X": side})

    turned = (game.heading_deg - before + 180) % 360 - 180
    assert 5 < side * turned < 120


def test_an_expert_that_is_disturbed_goes_on(game):
    for row, presses in enumerate(PRESSES):
        game.step(presses if row % 50 < 10 else game.expert())

    assert game.describe_moment()["speed_m_per_s"] > 5
