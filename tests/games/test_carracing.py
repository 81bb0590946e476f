"""What the stick and the triggers of CarRacing do."""

import math
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from nitrogen_train.actions import Controls
from nitrogen_train.games.carracing import CarRacing


@pytest.fixture
def game() -> Iterator[CarRacing]:
    with closing(CarRacing()) as game:
        game.reset(seed=0)
        yield game


def hold(game: CarRacing, action: Controls, *, num_rows: int) -> None:
    for _ in range(num_rows):
        game.step(action)


def speed(game: CarRacing) -> float:
    return math.hypot(*game._running_car().hull.linearVelocity)


def heading(game: CarRacing) -> float:
    return game._running_car().hull.angle


def test_the_right_trigger_drives(game):
    hold(game, {}, num_rows=3)
    rolling = speed(game)

    hold(game, {"RIGHT_TRIGGER": True}, num_rows=10)

    assert rolling < 1
    assert speed(game) > 20


def test_the_left_trigger_brakes(game):
    hold(game, {"RIGHT_TRIGGER": True}, num_rows=10)
    driving = speed(game)

    hold(game, {"LEFT_TRIGGER": True}, num_rows=5)

    assert speed(game) < driving - 10


@pytest.mark.parametrize("side", [-1, 1])
def test_the_left_stick_steers_to_its_side(game, side):
    hold(game, {"RIGHT_TRIGGER": True}, num_rows=5)
    before = heading(game)

    hold(game, {"LEFT_STICK_X": side * 0.5}, num_rows=4)

    # Angles grow to the left.
    assert side * (heading(game) - before) < -0.1


def test_a_row_is_four_ticks_of_the_game(game):
    game.step({})  # Touches the first tile.

    _, reward, *_ = game.step({})

    # An idle car touches no other and pays 0.1 a tick.
    assert CarRacing.info.fps == 12.5
    assert reward == pytest.approx(-0.4)


@pytest.mark.full
def test_an_idle_car_runs_out_of_time(game):
    truncated = [game.step({})[2:4] for _ in range(250)]

    assert truncated == [(False, False)] * 249 + [(False, True)]
    with pytest.raises(RuntimeError, match="call reset first"):
        game.step({})


def test_the_last_frame_of_a_row_is_shown(game):
    hold(game, {"RIGHT_TRIGGER": True}, num_rows=5)
    before = game._env.draw()

    frame, *_ = game.step({"RIGHT_TRIGGER": True})

    np.testing.assert_array_equal(frame, game._env.draw())
    assert not np.array_equal(frame, before)


@pytest.mark.full
def test_the_expert_finishes_the_lap_and_the_episode_ends(game):
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = game.step(game.expert())
        rewards.append(reward)

    assert (terminated, truncated) == (True, False)
    assert sum(rewards) > 850


@pytest.mark.full
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_expert_comes_back_from_the_grass(game, side):
    hold(game, {"RIGHT_TRIGGER": True}, num_rows=6)
    hold(game, {"RIGHT_TRIGGER": True, "LEFT_STICK_X": side}, num_rows=6)

    rewards = [game.step(game.expert())[1] for _ in range(80)]

    assert sum(rewards[:10]) < 0
    assert sum(rewards[-30:]) > 50
