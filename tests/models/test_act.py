"""`policy.act(frame)` is what the evaluation executes, and refuses odd pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from chase_game import ChaseGame
from tiny_policy import build_tiny_policy

from nitrogen_train.actions import get_action_space
from nitrogen_train.evaluation.play import Agent, Moment
from nitrogen_train.models.baselines import Recurrent, Regression
from nitrogen_train.models.playing import PlaySettings, SamplingSettings
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.places import Usage


def build(kind: str, *, num_frames: int = 1, space: str = "gamepad") -> VisualPolicy:
    flow = build_tiny_policy(num_frames=num_frames, games=("chase", "flee"))
    seeing = {
        "encoder": flow.encoder, "mixer": flow.mixer, "action_space": space,
        "action_horizon": flow.action_horizon, "games": flow.games,
    }  # fmt: skip
    torch.manual_seed(0)
    policy: VisualPolicy = flow
    if kind == "regression":
        policy = Regression(dit=flow.action_head.dit, **seeing)
    if kind == "recurrent":
        policy = Recurrent(hidden_dim=8, **seeing)
    policy.usage = Usage(frame_stride=2, num_sampling_steps=3, action_hz=ChaseGame.info.fps / 2)
    return policy


@pytest.mark.parametrize("kind", ["flow", "regression", "recurrent"])
@pytest.mark.parametrize("execution_horizon", [1, 3])
def test_acting_is_what_the_evaluation_executes(kind: str, execution_horizon: int) -> None:
    policy, info, seed = build(kind, num_frames=3), ChaseGame.info, 7
    settings = PlaySettings(
        execution_horizon=execution_horizon, start_row=0, frame_stride=2,
        sampling=SamplingSettings(num_sampling_steps=3), action_hz=info.fps / 2, seed=0,
    )  # fmt: skip
    agent = Agent(policy, game=replace(info, name="chase"), settings=settings)
    game = ChaseGame()
    frame, _ = game.reset(seed=seed)
    policy.reset(game="chase", seed=seed, fps=info.fps, execution_horizon=execution_horizon)

    for _ in range(12):
        expected = agent.act({seed: Moment(frame=frame, game=game)})[seed]
        controls = policy.act(frame)
        assert {name: controls[name] for name in info.controls} == expected
        frame, *_ = game.step(controls)


def pictures() -> dict[str, object]:
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (40, 60, 3), np.uint8)
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, ::2] = plain
    return {
        "as it is": plain,
        "every second column": wide[:, ::2],
        "in another order": np.asfortranarray(plain),
        "read only": np.frombuffer(plain.tobytes(), np.uint8).reshape(plain.shape),
        "of torch": torch.from_numpy(plain),
        "of torch, turned": torch.from_numpy(plain).permute(2, 0, 1).contiguous().permute(1, 2, 0),
    }


@pytest.mark.parametrize("name", list(pictures()))
def test_a_picture_is_the_same_however_it_lies_in_memory(name: str) -> None:
    policy = build("flow")
    policy.reset(game="flee")
    expected = policy.act(pictures()["as it is"])
    policy.reset(game="flee")

    assert policy.act(pictures()[name]) == expected


def test_a_picture_that_is_drawn_over_is_remembered_as_it_was() -> None:
    policy, screen = build("recurrent", num_frames=3), np.zeros((20, 20, 3), np.uint8)

    def play(*, is_drawn_over: bool) -> list[object]:
        policy.reset(game="chase")
        screen[:] = 0
        acted = [policy.act(screen)]
        for grey in (100, 200, 250):
            screen[:] = grey
            acted.append(policy.act(screen if is_drawn_over else screen.copy()))
        return acted

    assert play(is_drawn_over=True) == play(is_drawn_over=False)


def test_an_episode_is_repeated_by_its_seed_and_forgotten_by_a_reset() -> None:
    policy, rng = build("flow", num_frames=3), np.random.default_rng(1)
    frames = list(rng.integers(0, 256, (5, 30, 40, 3), np.uint8))

    def play(seed: int) -> list[object]:
        policy.reset(game="chase", seed=seed)
        return [policy.act(frame) for frame in frames]

    first = play(3)
    assert play(4) != first
    assert play(3) == first


def test_keyboard_and_mouse_are_told_by_their_names() -> None:
    policy = build("regression", space="keyboard_mouse")
    policy.reset(game="chase")

    controls = policy.act(np.zeros((20, 20, 3), np.uint8))

    space = get_action_space("keyboard_mouse")
    assert list(controls) == list(space.controls)
    assert all(type(controls[name]) is bool for name in space.buttons)
    assert all(-1 <= controls[name] <= 1 for name in space.sticks)


def test_a_game_is_named_where_there_is_a_choice() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match=r"policy\.reset\(game=…\), chase or flee"):
        build("flow").act(picture)
    with pytest.raises(ValueError, match="knows the games chase, flee, not 'tetris'"):
        build("flow").reset(game="tetris")

    assert build_tiny_policy().act(picture)
    assert build_tiny_policy(games=("chase",)).act(picture)


@pytest.mark.parametrize(
    ("picture", "error", "problem"),
    [
        (np.zeros((8, 8, 3), np.float32), TypeError, r"uint8 from 0 to 255, .* got float32"),
        (torch.zeros(8, 8, 3), TypeError, "got float32"),
        (np.zeros((8, 8, 3), np.int64), TypeError, "got int64"),
        ("screen.png", TypeError, "got a str"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"got \(3, 8, 8\): colours come last"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"got \(8, 8, 4\): leave out alpha"),
        (np.zeros((8, 8), np.uint8), ValueError, r"got \(8, 8\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), ValueError, "one picture at a time"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"got \(0, 8, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(
    picture: object, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem) as caught:
        build_tiny_policy().act(picture)

    assert "\n" not in str(caught.value)


def test_another_rate_is_reduced_or_refused() -> None:
    policy = build_tiny_policy()
    policy.usage = Usage(action_hz=30.0)
    policy.reset(fps=60.0)
    rng = np.random.default_rng(0)

    acted = [policy.act(frame) for frame in rng.integers(0, 256, (4, 20, 20, 3), np.uint8)]

    assert acted[0] == acted[1] != acted[2] == acted[3]
    with pytest.raises(ValueError, match=r"40 frames per second are no multiple of action_hz=30"):
        policy.reset(fps=40.0)


def test_frames_at_an_unknown_distance_are_refused() -> None:
    policy = build_tiny_policy(num_frames=2)

    with pytest.raises(ValueError, match="sees 2 frames and does not say how far apart"):
        policy.reset()


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("frames", "got"),
    [
        (torch.zeros(1, 1, 3, 32, 32), "torch.float32"),
        (np.zeros((1, 1, 3, 32, 32), np.uint8), "a ndarray"),
    ],
)
def test_frames_that_are_not_bytes_are_refused(frames: object, got: str) -> None:
    with pytest.raises(TypeError, match=f"of uint8 from 0 to 255, got {got}"):
        build_tiny_policy().encode_frames(frames)


@pytest.mark.parametrize("fps", [float("inf"), float("nan"), 0.0])
def test_a_rate_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="a number of frames per second above 0, got"):
        build("flow").reset(game="chase", fps=fps)


def test_no_step_of_the_solver_is_refused_and_not_taken_for_the_default() -> None:
    policy = build("flow")
    policy.reset(game="chase", num_sampling_steps=0)

    with pytest.raises(ValueError, match="num_sampling_steps must be at least 1, got 0"):
        policy.act(np.zeros((8, 8, 3), np.uint8))
