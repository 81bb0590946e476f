from dataclasses import replace

import numpy as np
import pytest
import torch
from chase_game import ChaseGame
from tiny_policy import build_tiny_policy

from nitrogen_train.evaluation.play import Agent, Moment
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.playing import PlaySettings, SamplingSettings

SETTINGS = PlaySettings(
    execution_horizon=1,
    start_row=0,
    frame_stride=1,
    action_hz=None,
    sampling=SamplingSettings(num_sampling_steps=2),
    seed=0,
)


def make_moment(value: int) -> Moment:
    return Moment(frame=np.full((24, 48, 3), value, np.uint8), game=ChaseGame())


def act(agent: Agent, *values: int) -> list[dict]:
    """Show episode 7 one grey frame after another."""
    return [agent.act({7: make_moment(value)})[7] for value in values]


def watch_frames(policy: NitroGen) -> list[tuple[list[int], list[bool]]]:
    """Note the grey of the frames that the policy is shown, and their mask, call by call."""
    seen = []
    encode = policy.encode_frames

    def watched(frames, *, frame_mask, game_id):
        assert frames.shape[-2:] == (32, 32)
        seen.append((frames[0, :, 0, 0, 0].tolist(), frame_mask[0].tolist()))
        return encode(frames, frame_mask=frame_mask, game_id=game_id)

    policy.encode_frames = watched
    return seen


def test_only_the_games_controls_are_touched():
    (controls,) = act(Agent(build_tiny_policy(), game=ChaseGame.info, settings=SETTINGS), 9)

    assert list(controls) == ["RIGHT_STICK_X", "SOUTH"]
    assert isinstance(controls["RIGHT_STICK_X"], float)
    assert -1 <= controls["RIGHT_STICK_X"] <= 1
    assert isinstance(controls["SOUTH"], bool)


def test_the_same_seed_plays_the_same_and_another_does_not():
    policy = build_tiny_policy()
    first, second, other = (
        act(Agent(policy, game=ChaseGame.info, settings=replace(SETTINGS, seed=seed)), 9, 9)
        for seed in (0, 0, 1)
    )

    assert first == second
    assert first != other


def test_an_episode_plays_the_same_alone_and_in_company():
    policy = build_tiny_policy()
    alone = act(Agent(policy, game=ChaseGame.info, settings=SETTINGS), 9, 50)
    agent = Agent(policy, game=ChaseGame.info, settings=SETTINGS)

    together = [
        agent.act({seed: make_moment(value + seed - 7) for seed in (5, 7, 8)})[7]
        for value in (9, 50)
    ]

    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_chunk_is_executed_before_the_next_frame_is_looked_at():
    policy = build_tiny_policy()
    seen = watch_frames(policy)
    agent = Agent(policy, game=ChaseGame.info, settings=replace(SETTINGS, execution_horizon=3))

    act(agent, 9, 100, 150, 200)

    assert [frames for frames, _ in seen] == [[9], [200]]


def test_start_row_skips_the_rows_before_it():
    policy = build_tiny_policy()
    whole = act(
        Agent(policy, game=ChaseGame.info, settings=replace(SETTINGS, execution_horizon=4)),
        *[9] * 4,
    )
    late = act(
        Agent(
            policy,
            game=ChaseGame.info,
            settings=replace(SETTINGS, start_row=2, execution_horizon=2),
        ),
        9,
        9,
    )

    assert late == whole[2:]


def test_the_policy_sees_frames_at_their_stride_with_a_mask():
    policy = build_tiny_policy(num_frames=2)
    seen = watch_frames(policy)

    act(Agent(policy, game=ChaseGame.info, settings=replace(SETTINGS, frame_stride=2)), 1, 2, 3, 4)

    assert [mask for _, mask in seen] == [[False, True], [False, True], [True, True], [True, True]]
    assert [frames for frames, _ in seen] == [[1, 1], [1, 2], [1, 3], [2, 4]]


def test_rows_of_half_the_games_rate_are_held_for_two_steps_and_frames_seen_at_that_rate():
    policy = build_tiny_policy(num_frames=2)
    seen = watch_frames(policy)
    settings = replace(SETTINGS, action_hz=5.0, execution_horizon=2)

    first, second, third, fourth, *_ = act(
        Agent(policy, game=ChaseGame.info, settings=settings), 1, 2, 3, 4, 5
    )

    assert first == second != third == fourth
    assert [frames for frames, _ in seen] == [[1, 1], [3, 5]]
    assert [mask for _, mask in seen] == [[False, True], [True, True]]


def test_a_rate_that_does_not_divide_the_games_is_refused():
    settings = replace(SETTINGS, action_hz=4.0)

    with pytest.raises(ValueError, match="and the policy plays 4: give action_hz=10"):
        Agent(build_tiny_policy(), game=ChaseGame.info, settings=settings)


def test_nan_from_the_policy_stops_the_game():
    policy = build_tiny_policy()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.fill_(float("nan"))

    with pytest.raises(ValueError, match="NaN"):
        act(Agent(policy, game=ChaseGame.info, settings=SETTINGS), 9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"execution_horizon": 0}, "execution_horizon >= 1"),
        ({"start_row": -1}, "start_row >= 0"),
        ({"execution_horizon": 3, "start_row": 2}, "= 5 rows, but a chunk of this policy has 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Agent(build_tiny_policy(), game=ChaseGame.info, settings=replace(SETTINGS, **change))


def test_a_game_that_the_policy_was_not_trained_on_is_refused():
    with pytest.raises(ValueError, match="chase"):
        Agent(build_tiny_policy(games=("tetris",)), game=ChaseGame.info, settings=SETTINGS)
