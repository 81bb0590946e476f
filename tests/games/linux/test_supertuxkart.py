"""SuperTuxKart: a race starts, a kart gets on, and what follows a restored state is the same.

A start takes seconds, so the quick tests share one.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import pytest

from nitrogen_train.evaluation.play import ExpertPlayer, Player, RandomPlayer, play_episodes
from nitrogen_train.games.base import random_player
from nitrogen_train.games.linux.supertuxkart import SuperTuxKart
from nitrogen_train.games.native.game import Allowed

MISSING = SuperTuxKart.find_missing()
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.xdist_group("supertuxkart"),
]
PRESSES = list(islice(random_player(SuperTuxKart, seed=0), 100))


@pytest.fixture(scope="module")
def started() -> Iterator[SuperTuxKart]:
    """Start one race, without the measurement, which starts two more."""
    with pytest.MonkeyPatch.context() as patch, closing(SuperTuxKart()) as game:
        allowed = Allowed(lock_step=True, repeatable=True, restorable=True)
        patch.setattr(SuperTuxKart, "measure", lambda self, seed: allowed)
        game.reset(seed=0)
        yield game


@pytest.fixture
def game(started: SuperTuxKart) -> Iterator[SuperTuxKart]:
    """Lend the race, and put it back to its start."""
    start = started.save()
    yield started
    started.restore(start)


def play(game: SuperTuxKart, presses: Sequence[Any]) -> list[tuple[bytes, float]]:
    rows = [game.step(action) for action in presses]
    return [(frame.tobytes(), reward) for frame, reward, *_ in rows]


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


def test_what_follows_a_restored_state_is_what_followed_it(game):
    state = game.save()
    first = play(game, PRESSES[:40])
    game.restore(state)

    assert play(game, PRESSES[:40]) == first
    assert len({frame for frame, _ in first}) > 35


def test_an_expert_that_is_disturbed_goes_on(game):
    for row, presses in enumerate(PRESSES):
        game.step(presses if row % 50 < 10 else game.expert())

    assert game.describe_moment()["speed_m_per_s"] > 5


@pytest.mark.full
def test_a_seed_repeats_and_another_differs():
    shown = []
    for seed in (0, 0, 1):
        with closing(SuperTuxKart()) as game:
            frame, info = game.reset(seed=seed)
            shown.append([frame.tobytes(), *play(game, PRESSES)])

    assert info["allowed"] == {"lock_step": True, "repeatable": True, "restorable": True}
    assert shown[0] == shown[1]
    assert not {row[0] for row in shown[0][1:]} & {row[0] for row in shown[2][1:]}


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 1_000_000])
def test_the_expert_leaves_the_random_player_far_behind(seed):
    def score(player: Player) -> float:
        (outcome,) = play_episodes(SuperTuxKart, seeds=[seed], player=player)
        return outcome.score

    expert = score(ExpertPlayer())
    assert np.isfinite(expert)
    assert expert > 300
    assert score(RandomPlayer()) < 0.4 * expert
