"""What the sticks and triggers of the ViZDoom games do."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import vizdoom

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import random_player
from nitrogen_train.games.doom import DoomGame
from nitrogen_train.games.doom_corridor import MIN_HEIGHT, DoomCorridor
from nitrogen_train.games.doom_corridor import MONSTERS as SOLDIERS
from nitrogen_train.games.doom_defend import MONSTERS, DoomDefend
from nitrogen_train.games.doom_gather import MEDIKITS, DoomGather
from nitrogen_train.games.doom_supreme import MAP_SIZE, POISONS, DoomSupreme


@pytest.fixture
def defend() -> Iterator[DoomDefend]:
    with closing(DoomDefend()) as game:
        game.reset(seed=0)
        yield game


@pytest.fixture
def gather() -> Iterator[DoomGather]:
    with closing(DoomGather()) as game:
        game.reset(seed=0)
        yield game


@pytest.fixture
def corridor() -> Iterator[DoomCorridor]:
    with closing(DoomCorridor()) as game:
        game.reset(seed=0)
        yield game


@pytest.fixture
def supreme() -> Iterator[DoomSupreme]:
    with closing(DoomSupreme()) as game:
        game.reset(seed=0)
        yield game


def hold(game: DoomGame, action: Controls, *, num_rows: int) -> None:
    for _ in range(num_rows):
        game.step(action)


def read(game: DoomGame, variable: vizdoom.GameVariable) -> float:
    return game._engine.get_game_variable(variable)


def heading_deg(game: DoomGame) -> float:
    return read(game, vizdoom.GameVariable.ANGLE)


def position(game: DoomGame) -> np.ndarray:
    axes = (vizdoom.GameVariable.POSITION_X, vizdoom.GameVariable.POSITION_Y)
    return np.array([read(game, axis) for axis in axes])


@pytest.mark.parametrize("stick", [-1.0, -0.3, 0.3, 1.0])
def test_the_right_stick_turns_in_proportion_and_right_is_clockwise(defend, stick):
    before = heading_deg(defend)

    defend.step({"RIGHT_STICK_X": stick})

    # The engine counts degrees to the left; a row is 3 tics of at most 5 degrees.
    turned = (before - heading_deg(defend) + 180) % 360 - 180
    assert turned == pytest.approx(15 * stick, abs=0.1)


def test_turning_right_moves_the_picture_to_the_left(defend):
    (before,) = defend.see(MONSTERS)

    defend.step({"RIGHT_STICK_X": 0.2})

    (after,) = defend.see(MONSTERS)
    assert after.name == before.name
    assert before.angle_deg - after.angle_deg == pytest.approx(3, abs=1)


def test_the_right_trigger_fires_a_round(defend):
    hold(defend, {}, num_rows=5)
    before = read(defend, vizdoom.GameVariable.AMMO2)

    hold(defend, {"RIGHT_TRIGGER": True}, num_rows=3)

    assert (before, read(defend, vizdoom.GameVariable.AMMO2)) == (26, 25)


def test_an_idle_defender_fires_nothing_and_dies(defend):
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = defend.step({})
        rewards.append(reward)

    assert (terminated, truncated, sum(rewards)) == (True, False, -1)
    with pytest.raises(RuntimeError, match="call reset first"):
        defend.step({})


def test_the_defender_ignores_a_monster_until_it_is_near(defend):
    (monster,) = defend.see(MONSTERS)

    assert monster.nearness < 0.1
    assert defend.expert() == {"RIGHT_STICK_X": 1.0}


@pytest.mark.full
def test_the_defender_fires_only_at_what_the_gun_points_at(defend):
    num_shots = 0
    for _ in range(300):
        action = defend.expert()
        if action.get("RIGHT_TRIGGER"):
            num_shots += 1
            assert any(abs(monster.x) < monster.width for monster in defend.see(MONSTERS))
        defend.step(action)

    assert num_shots > 0


@pytest.mark.parametrize(
    ("action", "direction"),
    [
        ({"LEFT_STICK_Y": -1.0}, (1, 0)),
        ({"LEFT_STICK_Y": 1.0}, (-1, 0)),
        ({"LEFT_STICK_X": 1.0}, (0, -1)),
        ({"LEFT_STICK_X": -1.0}, (0, 1)),
    ],
    ids=["up is forward", "down is back", "right is right", "left is left"],
)
def test_the_left_stick_walks(gather, action, direction):
    before = position(gather)
    heading = np.deg2rad(heading_deg(gather))
    forward = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([-forward[1], forward[0]])

    hold(gather, action, num_rows=4)

    walked = position(gather) - before
    assert np.linalg.norm(walked) > 30
    cosine = (direction[0] * forward + direction[1] * left) @ walked / np.linalg.norm(walked)
    assert cosine == pytest.approx(1, abs=1e-3)


def test_half_a_stick_walks_slower(gather):
    before = position(gather)
    hold(gather, {"LEFT_STICK_Y": -0.5}, num_rows=4)
    half = np.linalg.norm(position(gather) - before)
    gather.reset(seed=0)
    hold(gather, {"LEFT_STICK_Y": -1.0}, num_rows=4)

    assert half == pytest.approx(np.linalg.norm(position(gather) - before) / 2, rel=0.05)


def test_the_gatherer_turns_on_the_spot_while_no_medikit_is_in_view(gather):
    while any(medikit.nearness > 0.03 for medikit in gather.see(MEDIKITS)):
        gather.step({"RIGHT_STICK_X": 1.0})

    assert gather.expert() == {"RIGHT_STICK_X": 0.6}


def test_the_gatherer_picks_a_medikit_up(gather):
    health = [read(gather, vizdoom.GameVariable.HEALTH)]
    for _ in range(60):
        gather.step(gather.expert())
        health.append(read(gather, vizdoom.GameVariable.HEALTH))

    assert max(np.diff(health)) > 0


@pytest.mark.full
def test_a_gatherer_that_survives_runs_out_of_time(gather):
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = gather.step(gather.expert())
        rewards.append(reward)

    assert (terminated, truncated, sum(rewards)) == (False, True, 2100)


def play_on(game: DoomGame, *, burst_rows: range = range(0)) -> tuple[float, bool]:
    """Let the expert play an episode to its end, but press at random in some rows.

    Returns:
        The sum of the rewards, and whether the end was that of time.
    """
    presses = random_player(type(game), seed=0)
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        action = next(presses) if len(rewards) in burst_rows else game.expert()
        _, reward, terminated, truncated, _ = game.step(action)
        rewards.append(reward)
    return sum(rewards), truncated


def test_the_sticks_and_the_trigger_drive_the_corridor(corridor):
    hold(corridor, {}, num_rows=4)
    x, y, angle_deg = corridor.read_pose()
    rounds = read(corridor, vizdoom.GameVariable.AMMO2)

    pressed = {"LEFT_STICK_Y": -1.0, "LEFT_STICK_X": 0.2, "RIGHT_STICK_X": -0.1}
    hold(corridor, {**pressed, "RIGHT_TRIGGER": True}, num_rows=3)

    after_x, after_y, after_deg = corridor.read_pose()
    assert after_x > x + 20
    assert after_y < y
    assert after_deg - angle_deg == pytest.approx(4.5, abs=0.1)
    assert read(corridor, vizdoom.GameVariable.AMMO2) == rounds - 1


def test_an_idle_player_dies_in_the_corridor(corridor):
    rewards, terminated, truncated = [], False, False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = corridor.step({})
        rewards.append(reward)

    assert (terminated, truncated) == (True, False)
    assert sum(rewards) < 0


def test_the_corridor_is_shot_free_and_run_through_to_the_vest(corridor):
    score, out_of_time = play_on(corridor, burst_rows=range(20, 25))

    assert not out_of_time
    assert score > 2200
    assert read(corridor, vizdoom.GameVariable.KILLCOUNT) == 6


def test_the_shooter_backs_off_from_a_monster_in_view_and_turns_to_it(corridor):
    soldiers = [each for each in corridor.see(SOLDIERS) if each.height >= MIN_HEIGHT]
    nearest = min(abs(each.angle_deg) for each in soldiers)

    action = corridor.expert()
    assert action["LEFT_STICK_Y"] > 0
    corridor.step({"RIGHT_STICK_X": action["RIGHT_STICK_X"]})
    hold(corridor, {"RIGHT_STICK_X": action["RIGHT_STICK_X"]}, num_rows=3)

    assert min(abs(each.angle_deg) for each in corridor.see(SOLDIERS)) < nearest / 2


def test_what_is_seen_is_where_it_is_on_the_map(supreme):
    while not (medikits := supreme.see(("CustomMedikit",))):
        supreme.step({"RIGHT_STICK_X": 1.0})
    x, y, angle_deg = supreme.read_pose()

    for medikit in medikits:
        east, north = medikit.position[0] - x, medikit.position[1] - y
        right_deg = (angle_deg - np.rad2deg(np.arctan2(north, east)) + 180) % 360 - 180
        assert right_deg == pytest.approx(medikit.angle_deg, abs=3)


def test_the_walls_enclose_the_maze(supreme):
    walls = supreme.read_walls()

    assert walls.shape[1:] == (2, 2)
    assert (walls.min(), walls.max()) == (0, MAP_SIZE)
    assert (position(supreme) > 0).all()
    assert (position(supreme) < MAP_SIZE).all()


def test_poison_is_found_though_out_of_view(supreme):
    found = supreme.find_near(POISONS, radius=2 * MAP_SIZE)

    assert found
    assert {poison.position for poison in supreme.see(POISONS)} <= set(found)
    assert supreme.find_near(POISONS, radius=0) == []


def test_the_gatherer_of_the_maze_is_healthier_than_an_idle_one(supreme):
    health = []
    for player in (supreme.expert, dict):
        supreme.reset(seed=1)
        for _ in range(80):
            supreme.step(player())
        health.append(read(supreme, vizdoom.GameVariable.HEALTH))

    assert health[0] >= health[1] + 20


@pytest.mark.full
def test_the_gatherer_of_the_maze_survives_bursts_of_random_presses(supreme):
    assert play_on(supreme, burst_rows=range(100, 110)) == (2100, True)


def test_two_games_in_one_process_do_not_disturb_each_other(defend):
    with closing(DoomDefend()) as other:
        frame, _ = defend.reset(seed=5)
        other_frame, _ = other.reset(seed=5)
        np.testing.assert_array_equal(frame, other_frame)
        for _ in range(10):
            defend.step({"RIGHT_STICK_X": 1.0})

        after, *_ = other.step({})

    defend.reset(seed=5)
    np.testing.assert_array_equal(after, defend.step({})[0])
