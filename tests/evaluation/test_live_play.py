"""A policy whose plans come late, in a game; and its scores by method and delay."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chase_game import ChaseGame
from tiny_policy import build_tiny_policy

from nitrogen_train.config import EvaluateConfig
from nitrogen_train.evaluate import evaluate
from nitrogen_train.evaluation.latency import list_latencies
from nitrogen_train.evaluation.live_play import LiveAgent
from nitrogen_train.evaluation.play import Agent, Moment
from nitrogen_train.models.baselines import Recurrent
from nitrogen_train.models.live import Latency, LatencyMethod
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.playing import PlaySettings, SamplingSettings
from nitrogen_train.pretrained.places import Usage

SETTINGS = PlaySettings(
    execution_horizon=1,
    start_row=0,
    frame_stride=1,
    action_hz=None,
    sampling=SamplingSettings(num_sampling_steps=2),
    seed=0,
)
FPS = ChaseGame.info.fps


def build(max_prefix_rows: int = 0) -> NitroGen:
    policy = build_tiny_policy()
    policy.max_prefix_rows = max_prefix_rows
    return policy


def begin(policy: Any, method: LatencyMethod, delay_ms: float, **changes: Any) -> LiveAgent:
    latency = Latency(method=method, delay_ms=delay_ms)
    settings = replace(SETTINGS, latency=latency, **changes)
    return LiveAgent(policy, game=ChaseGame.info, settings=settings)


def act(agent: Any, *values: int, seeds: tuple[int, ...] = (7,)) -> list[dict[int, Any]]:
    """Show each episode one grey frame after another."""
    return [
        agent.act({
            seed: Moment(frame=np.full((24, 48, 3), value + seed, np.uint8), game=ChaseGame())
            for seed in seeds
        })
        for value in values
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["skip", "trained"])
def test_without_a_delay_it_plays_as_in_lock_step(method):
    frames = (9, 60, 110, 160)

    late = act(begin(build(2), method, 0), *frames)

    assert late == act(Agent(build(), game=ChaseGame.info, settings=SETTINGS), *frames)


def test_before_the_first_plan_the_pad_is_released():
    first, second, third = act(begin(build(), "skip", 200), 9, 9, 9)

    assert first == second == {7: {"RIGHT_STICK_X": 0.0, "SOUTH": False}}
    assert third != first


def test_an_episode_plays_the_same_alone_and_in_company():
    frames = (9, 60, 110, 160, 200)
    for method in ("synchronous", "skip", "guided", "trained"):
        alone = act(begin(build(2), method, 150), *frames)
        together = act(begin(build(2), method, 150), *frames, seeds=(5, 7, 9))

        for one, other in zip(alone, together, strict=True):
            assert other[7] == pytest.approx(one[7], abs=1e-4)


def test_a_trained_plan_begins_with_what_is_executed_meanwhile(monkeypatch):
    policy = build(2)
    calls: list[Any] = []
    generate = NitroGen.generate_actions

    def watch(self: NitroGen, *arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return generate(self, *arguments, **options)

    monkeypatch.setattr(NitroGen, "generate_actions", watch)
    act(begin(policy, "trained", 200), *range(0, 250, 50))
    act(begin(policy, "guided", 200), *range(0, 250, 50))

    committed = [each["committed_actions"] for each in calls]
    assert [None if each is None else each.shape[1] for each in committed[:3]] == [None, 2, 2]
    assert [each["inpainting"] is None for each in calls[3:]] == [True, False, False]


def test_what_a_policy_cannot_do_is_refused():
    encoder, mixer = build().encoder, build().mixer
    recurrent = Recurrent(
        encoder=encoder, mixer=mixer, action_space="gamepad", action_horizon=4, hidden_dim=8
    )
    begin(recurrent, "skip", 100)
    with pytest.raises(ValueError, match="Recurrent has no flow"):
        begin(recurrent, "guided", 100)
    with pytest.raises(
        ValueError, match=r"pass, and this policy was trained to continue 0: model\."
    ):
        begin(build(), "trained", 100)
    with pytest.raises(ValueError, match="after 400 ms the 4 rows of a plan are over"):
        begin(build(), "skip", 400)
    # Rows that begin later are not over.
    begin(build(), "skip", 400, action_offset=3)
    begin(build(), "synchronous", 4000)


def test_methods_are_those_that_the_policy_can():
    def methods(policy: Any, asked: Any = None) -> list[str]:
        some = list_latencies(policy, delays_ms=[0, 100], jitter_ms=0, methods=asked)
        return list(dict.fromkeys(each.method for each in some))

    assert methods(build()) == ["synchronous", "skip", "guided"]
    assert methods(build(2)) == ["synchronous", "skip", "guided", "trained"]
    assert methods(build(), "skip") == ["skip"]
    with pytest.raises(ValueError, match="methods has 'hurry', expected some of synchronous"):
        methods(build(), ["hurry"])
    with pytest.raises(ValueError, match=r"delays_ms is 'soon', expected milliseconds"):
        list_latencies(build(), delays_ms="soon", jitter_ms=0, methods=None)


def test_scores_are_written_by_method_and_delay(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    policy = build()
    policy.usage = Usage(num_sampling_steps=1)
    policy.save_pretrained(tmp_path / "policy")
    config = EvaluateConfig(
        policy=str(tmp_path / "policy"), games=["chase_game:ChaseGame"], episodes=2,
        execution_horizon=1, num_processes=1, output_dir=str(tmp_path / "out"),
        delays_ms=[0, 200], methods=["skip", "synchronous"],
    )  # fmt: skip

    evaluate(config)

    results = json.loads((tmp_path / "out" / "latency.json").read_text())["scores"]
    found = [(each["latency"]["method"], each["latency"]["delay_ms"]) for each in results]
    assert found == [("skip", 0), ("skip", 200), ("synchronous", 0), ("synchronous", 200)]
    assert (tmp_path / "out" / "latency.svg").read_text().count("chase") >= 1
    said = capsys.readouterr().out
    assert "results in" in said
    assert "latency.json, latency.svg" in said
    assert [line.split()[1] for line in said.splitlines() if line.startswith("chase_game")] == [
        "skip", "synchronous",
    ]  # fmt: skip
