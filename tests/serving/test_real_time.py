"""Play on the wall clock: a clock of the test's own, a real policy in a real thread, a game."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chase_game import ChaseGame
from tiny_policy import build_tiny_policy

from nitrogen_train.config import PlayConfig
from nitrogen_train.models.live import Latency
from nitrogen_train.models.playing import PlaySettings, SamplingSettings
from nitrogen_train.pretrained.places import Usage
from nitrogen_train.serving.real_time import (
    PlayedInTime,
    RealTimePlayer,
    choose_method,
    describe_play,
    play,
    play_in_time,
)

TICK_S = 1 / ChaseGame.info.fps
SETTINGS = PlaySettings(
    execution_horizon=1,
    start_row=0,
    frame_stride=1,
    action_hz=None,
    sampling=SamplingSettings(num_sampling_steps=1),
    seed=100,
    latency=Latency(method="skip", delay_ms=100),
)


class Clock:
    """Time that passes when somebody sleeps, and while the game steps."""

    def __init__(self, player: RealTimePlayer | None = None, *, step_s: float = 0.0) -> None:
        self.now, self.step_s, self.player = 0.0, step_s, player
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.player is not None and self.player._thinking is not None:
            # The thread is done before the sleep is over.
            self.player._thinking.result()


class SlowGame(ChaseGame):
    clock: Clock

    def step(self, action: Any) -> Any:
        self.clock.now += self.clock.step_s
        return super().step(action)


def play_episode(clock: Clock, **changes: Any) -> tuple[PlayedInTime, RealTimePlayer]:
    settings = replace(SETTINGS, **changes)
    player = RealTimePlayer(
        build_tiny_policy(), game=ChaseGame.info, settings=settings, clock=clock
    )
    clock.player = player
    game = SlowGame()
    game.clock = clock
    try:
        return play_in_time(game, player, seed=100, clock=clock, sleep=clock.sleep), player
    finally:
        player.close()


def test_a_row_lasts_as_long_as_a_row_and_a_plan_comes_a_tick_later():
    clock = Clock()

    episode, _ = play_episode(clock)

    assert episode.num_ticks == 9
    assert clock.now == pytest.approx(9 * TICK_S)
    assert (episode.num_missed, episode.num_late) == (0, 0)
    assert episode.plan_ms == pytest.approx([1000 * TICK_S] * 8)
    # The first tick has no plan; the others execute what was thought out of the frame before.
    assert episode.age_ms == pytest.approx([1000 * TICK_S] * 8)
    assert episode.rows[0][1] == {"RIGHT_STICK_X": 0.0, "SOUTH": False}


def test_a_game_that_is_too_slow_is_late_and_does_not_hurry():
    clock = Clock(step_s=3 * TICK_S)

    episode, _ = play_episode(clock)

    # The first tick begins in time; the others two lengths after it.
    assert episode.num_late == 8
    assert all(seconds <= TICK_S for seconds in clock.slept)


def test_what_is_expected_of_the_next_plan_is_the_longest_of_late():
    clock = Clock()

    _, player = play_episode(clock, latency=Latency(method="skip", delay_ms=5))

    assert player.pilot.latency.delay_ms == pytest.approx(1000 * TICK_S)


def test_a_policy_that_fails_in_its_thread_is_heard(monkeypatch):
    policy = build_tiny_policy()
    player = RealTimePlayer(policy, game=ChaseGame.info, settings=SETTINGS)
    frame = np.zeros((24, 48, 3), np.uint8)
    monkeypatch.setattr(policy, "encode_frames", None)
    player.choose(frame)
    assert player._thinking is not None
    player._thinking.exception()

    with pytest.raises(TypeError):
        player.choose(frame)
    player.close()


def test_the_thread_sees_the_frames_of_its_tick():
    policy = build_tiny_policy(num_frames=2)
    player = RealTimePlayer(policy, game=ChaseGame.info, settings=SETTINGS)
    lane = player._lane
    lane.observe(np.zeros((24, 48, 3), np.uint8))
    copied = lane.snapshot()

    lane.observe(np.full((24, 48, 3), 9, np.uint8))

    assert copied.view()[0].max() == 0
    assert lane.view()[0].max() == 9
    player.close()


def test_the_best_method_is_chosen_that_the_policy_can():
    policy = build_tiny_policy()

    assert choose_method(policy, None) == "skip"
    assert choose_method(policy, "guided") == "guided"
    policy.max_prefix_rows = 2
    assert choose_method(policy, None) == "trained"
    with pytest.raises(ValueError, match="methods has 'hurry'"):
        choose_method(policy, "hurry")


def test_what_was_late_is_said():
    episode = PlayedInTime(
        score=3.0, num_ticks=500, num_missed=1, num_late=2, plan_ms=[10.0, 20.0], age_ms=[100.0]
    )

    said = describe_play([episode, episode])

    assert "per 1,000 ticks: 2.00 without a plan, 4.00 late; 1000 ticks, mean score 3" in said
    assert said.splitlines()[0].split() == ["p50", "p95", "p99"]
    assert "15.0" in said


def test_a_game_is_played_and_filmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    policy = build_tiny_policy()
    policy.usage = Usage(num_sampling_steps=1)
    policy.save_pretrained(tmp_path / "policy")

    play(
        PlayConfig(
            policy=str(tmp_path / "policy"),
            game="chase_game:ChaseGame",
            episodes=2,
            output_dir=str(tmp_path / "played"),
        )
    )

    assert sorted(path.name for path in (tmp_path / "played").iterdir()) == [
        "chase-000100.mp4", "chase-000101.mp4",
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert "chase, seed 100: 10 ticks a second" in said
    assert "19 ticks, mean score" in said
