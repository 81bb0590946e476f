"""What every game of the table keeps, whatever it is."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.evaluation.play import ExpertPlayer, RandomPlayer, play_episodes
from nitrogen_train.games import GAMES, Frame, load_game
from nitrogen_train.games.base import random_player
from nitrogen_train.games.native.game import NativeGame
from nitrogen_train.runtime.atomic_files import default_index_dir

_QUICK = {"blobby", "toppler"}
"""Of the native games, which start a program for every episode, those that `make test` plays."""


def mark(name: str) -> Any:
    game = load_game(name)
    is_native = issubclass(game, NativeGame)
    marks = [pytest.mark.skipif(bool(game.find_missing()), reason=game.find_missing())]
    return pytest.param(name, marks=marks + [pytest.mark.full] * (is_native and name not in _QUICK))


@pytest.fixture(params=[mark(name) for name in GAMES])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def play(name: str, *, seed: int, player: str, num_rows: int) -> tuple[list[Frame], list[float]]:
    """Frames and rewards of an episode, at most `num_rows` of it."""
    game_class = load_game(name)
    presses = random_player(game_class, seed=seed)
    with closing(game_class()) as game:
        frame, _ = game.reset(seed=seed)
        assert game.observation_space.contains(frame)
        frames, rewards = [frame], []
        for _ in range(num_rows):
            action = game.expert() if player == "expert" else next(presses)
            frame, reward, terminated, truncated, _ = game.step(action)
            assert game.observation_space.contains(frame)
            frames.append(frame)
            rewards.append(reward)
            if terminated or truncated:
                break
    return frames, rewards


def score(name: str, seed: int, player: str, num_rows: int = 10_000) -> float:
    return sum(play(name, seed=seed, player=player, num_rows=num_rows)[1])


def test_the_name_in_the_table_is_the_name_on_disk(name):
    info = load_game(name).info

    assert info.name == name
    assert "." not in name
    assert name == name.lower()


def test_its_controls_are_of_the_gamepad_and_can_be_labelled(name):
    info = load_game(name).info

    indices = [GAMEPAD.index(control) for control in info.controls]

    assert len(set(indices)) == len(indices) > 0
    assert GAMEPAD.label_mask[indices].all()


def test_recording_and_heldout_seeds_are_disjoint(name):
    info = load_game(name).info

    assert len(info.heldout_seeds) >= 20
    assert not set(info.recording_seeds) & set(info.heldout_seeds)


def test_frames_are_rgb_bytes_of_one_size(name):
    frames, _ = play(name, seed=0, player="random", num_rows=5)

    assert {(frame.shape, frame.dtype) for frame in frames} == {
        (frames[0].shape, np.dtype("uint8"))
    }
    assert frames[0].ndim == 3
    assert frames[0].shape[-1] == 3


def test_a_frame_stays_as_it_was_when_the_game_goes_on(name):
    with closing(load_game(name)()) as game:
        frame, _ = game.reset(seed=0)
        before = frame.copy()
        for action, _ in zip(random_player(type(game), seed=0), range(10), strict=False):
            game.step(action)

    np.testing.assert_array_equal(frame, before)


def test_the_expert_presses_what_the_game_listens_to(name):
    game_class = load_game(name)
    with closing(game_class()) as game:
        game.reset(seed=0)
        for _ in range(20):
            action = game.expert()
            GAMEPAD.rows_from_controls([action])
            game.step(action)
            assert set(action) <= set(game_class.info.controls)


def test_an_action_of_its_action_space_can_be_played(name):
    with closing(load_game(name)()) as game:
        game.reset(seed=0)
        game.action_space.seed(0)

        sample = {control: float(value) for control, value in game.action_space.sample().items()}
        frame, reward, _, _, _ = game.step(sample)

    assert frame.any()
    assert np.isfinite(reward)


def test_the_same_seed_is_the_same_episode(name):
    frames, rewards = play(name, seed=7, player="random", num_rows=60)
    again, rewards_again = play(name, seed=7, player="random", num_rows=60)

    np.testing.assert_array_equal(np.stack(frames), np.stack(again))
    assert rewards == rewards_again


def test_a_seed_is_the_same_episode_whatever_was_played_before(name):
    first, _ = play(name, seed=7, player="expert", num_rows=20)
    with closing(load_game(name)()) as game:
        game.reset(seed=3)
        for _ in range(15):
            game.step(dict.fromkeys(game.info.controls, 1.0))
        later = [game.reset(seed=7)[0]]
        later.extend(game.step(game.expert())[0] for _ in range(20))

    np.testing.assert_array_equal(np.stack(first), np.stack(later))


@pytest.mark.parametrize(
    "name", [mark(name) for name in GAMES if issubclass(load_game(name), NativeGame)]
)
def test_what_follows_a_restored_moment_is_what_followed_it(name):
    def play_on() -> list[tuple[bytes, float]]:
        rows: list[tuple[bytes, float]] = []
        for press, _ in zip(random_player(type(game), seed=1), range(60), strict=False):
            frame, reward, terminated, truncated, _ = game.step(press)
            rows.append((frame.tobytes(), float(reward)))
            if terminated or truncated:
                break
        return rows

    game = load_game(name)()
    assert isinstance(game, NativeGame)
    with closing(game):
        shown, info = game.reset(seed=5)
        for _ in range(20):
            shown, *_ = game.step(game.expert())
        state = game.save()

        first = play_on()

        np.testing.assert_array_equal(game.restore(state), shown)
        assert play_on() == first
    assert info["allowed"] == {"lock_step": True, "repeatable": True, "restorable": True}
    assert len({frame for frame, _ in first}) > 10


def test_another_seed_is_another_episode(name):
    frames, _ = play(name, seed=7, player="expert", num_rows=60)
    others, _ = play(name, seed=8, player="expert", num_rows=60)

    assert not np.array_equal(np.stack(frames), np.stack(others))


def test_a_control_that_the_game_ignores_changes_nothing(name):
    with closing(load_game(name)()) as game:
        game.reset(seed=0)
        idle, *_ = game.step({})
        game.reset(seed=0)
        ignored = {"START", "DPAD_UP"} - set(game.info.controls)
        pressed, *_ = game.step(dict.fromkeys(ignored, True))

    np.testing.assert_array_equal(idle, pressed)


def test_a_step_before_the_first_reset_says_what_to_do(name):
    with (
        closing(load_game(name)()) as game,
        pytest.raises(RuntimeError, match=f"{name}: no episode is running; call reset first"),
    ):
        game.step({})


def test_an_expert_before_the_first_reset_says_what_to_do(name):
    with closing(load_game(name)()) as game, pytest.raises(RuntimeError, match="call reset first"):
        game.expert()


def test_an_unknown_control_is_refused_by_name(name):
    with closing(load_game(name)()) as game:
        game.reset(seed=0)
        with pytest.raises(ValueError, match="no control 'RIGHT_TRIGER'; did you mean RIGHT_TRI"):
            game.step({"RIGHT_TRIGER": True})


def test_an_axis_out_of_range_is_refused(name):
    with closing(load_game(name)()) as game:
        game.reset(seed=0)
        with pytest.raises(ValueError, match=r"LEFT_STICK_X must lie in \[-1, 1\], got 1.5"):
            game.step({"LEFT_STICK_X": 1.5})


def test_it_leaves_nothing_in_the_working_folder_or_at_home(name, tmp_path):
    program = (
        "from nitrogen_train.games import load_game\n"
        f"game = load_game({name!r})()\n"
        "game.reset(seed=0); game.step({}); game.close()\n"
    )

    # What is built once per machine is there already.
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(default_index_dir().parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_torch(name):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        f"from nitrogen_train.games import load_game; load_game({name!r})\n"
        "import nitrogen_train.games.base\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.full
def test_several_processes_play_the_same_game_as_one(name):
    seeds = [0, 1, 0, 1]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(seeds), mp_context=context) as pool:
        scores = list(pool.map(score, [name] * 4, seeds, ["expert"] * 4, [50] * 4))

    assert scores == [score(name, seed, "expert", 50) for seed in seeds]


@pytest.mark.full
def test_the_expert_beats_random_by_far(name):
    game = load_game(name)
    seeds = game.info.recording_seeds[:3]

    expert, random = (
        np.mean([each.score for each in play_episodes(game, seeds=seeds, player=player)])
        for player in (ExpertPlayer(), RandomPlayer())
    )

    reference = game.info.reference_score or expert
    assert expert >= 0.9 * reference
    assert random <= 0.4 * reference
