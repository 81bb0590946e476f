"""What stops a run or skips a step, in one process and in two."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ready import run_ready
from tiers import divide
from torch import nn

from nitrogen_train.batch import WindowId
from nitrogen_train.training.callbacks import (
    SpikeDetector,
    StepGuardCallback,
    _JudgedStep,
    explain_non_finite,
)

TINY = (
    "model=base", "data.image_size=32", "data.action_horizon=4", "model.encoder.name=test_vit",
    "model.encoder.pretrained=false", "model.encoder.width=32", "+model.encoder.options.depth=1",
    "+model.encoder.options.num_heads=2", "model.mixer.num_heads=2", "model.mixer.num_layers=1",
    "model.dit.num_heads=2", "model.dit.num_layers=2",
)  # fmt: skip


def test_a_spike_is_a_loss_above_a_factor_of_the_running_median() -> None:
    spikes = SpikeDetector(factor=3.0)
    early = [spikes.is_spike(loss) for loss in [100.0, *[1.0] * 19]]

    assert not any(early)
    assert [spikes.is_spike(loss) for loss in (2.9, 3.1, 1.0)] == [False, True, False]
    assert spikes.num_skipped == 1


def test_a_level_that_stays_is_accepted() -> None:
    spikes = SpikeDetector(factor=3.0)
    for _ in range(20):
        spikes.is_spike(1.0)

    skipped = [spikes.is_spike(10.0) for _ in range(100)]

    assert skipped[0]
    assert not skipped[-1]


def test_a_resumed_detector_judges_as_the_first_would_have() -> None:
    first, resumed = SpikeDetector(factor=2.0), SpikeDetector(factor=2.0)
    for loss in range(1, 40):
        first.is_spike(float(loss))

    resumed.load_state_dict(first.state_dict())

    assert resumed.is_spike(45.0) == first.is_spike(45.0)
    assert resumed.num_skipped == first.num_skipped


def test_a_factor_that_would_skip_half_of_all_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"skip_loss_above=1.0 must be above 1"):
        SpikeDetector(factor=1.0)


def test_the_cause_names_step_rank_and_windows_in_one_line() -> None:
    windows = [[WindowId("mine", "clip-1", 7)], [WindowId("mine", "clip-2", 9)]]

    error = explain_non_finite(
        step=12, rank=0, losses=[0.5, math.nan], windows=windows, gradient_norm=math.nan
    )

    assert str(error) == "the loss is nan at step 12, rank 0; its windows are mine/clip-2@9"
    error = explain_non_finite(
        step=12, rank=0, losses=[0.5, 0.5], windows=windows, gradient_norm=math.inf
    )
    assert "the gradient's norm is inf at step 12" in str(error)
    assert "rank 0: mine/clip-1@7" in str(error)


STOPS = [
    ("ddp", "weights", "rank 1 has other weights than rank 0 at step 2: 1 of "),
    ("zero_2", "loss", "the loss is nan at step 2, rank 1; its windows are random/clip@0"),
    ("ddp", "gradient", "the gradient's norm is"),
    ("zero_2", "gradient", "the gradient's norm is"),
]


@pytest.mark.parametrize(("strategy", "what", "message"), divide(STOPS, slow=STOPS[:2]))
def test_two_ranks_stop_together_and_say_which_is_to_blame(
    tmp_path: Path, strategy: str, what: str, message: str
) -> None:
    for rank in run_guarded(tmp_path, strategy=strategy, what=what):
        assert message in rank["error"]
        assert "\n" not in rank["error"]


@pytest.mark.parametrize("strategy", divide(["ddp", "zero_1"], slow=[]))
def test_two_ranks_skip_the_same_step_and_nothing_moves(tmp_path: Path, strategy: str) -> None:
    ranks = run_guarded(tmp_path, strategy=strategy, what="spike")

    for rank in ranks:
        assert rank["error"] == ""
        assert rank["guard"]["num_skipped"] == 1
        # Two micro-batches a step; the 25th step is the bad one.
        before, skipped, after = (rank["sums"][2 * step - 1] for step in (24, 25, 26))
        assert before == skipped != after
    assert ranks[0]["sums"] == ranks[1]["sums"]


def run_guarded(folder: Path, *, strategy: str, what: str) -> list[dict[str, Any]]:
    overrides = [
        *TINY, f"strategy={strategy}", "trainer.devices=2", "schedule.warmup_steps=0",
        "schedule.decay_steps=0",
    ]  # fmt: skip
    script = str(Path(__file__).parent / "guarded_run.py")
    done = run_ready(script, what, folder, *overrides, ranks=2)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


class FakeModule(nn.Linear):
    def log(self, name: str, value: object) -> None:
        pass


# What stands for a trainer is none.
@pytest.mark.unchecked
@pytest.mark.parametrize("how", ["next step", "save", "end"])
def test_on_a_gpu_a_step_is_judged_before_anything_of_it_is_saved(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    take = _JudgedStep.take

    def take_later(*arguments: Any, step: int) -> _JudgedStep:
        # As on a GPU, whose values arrive later.
        later: Any = SimpleNamespace(synchronize=lambda: None)
        return replace(take(*arguments, step=step), arrival=later)

    monkeypatch.setattr(_JudgedStep, "take", take_later)
    guard, module = StepGuardCallback(skip_loss_above=None), FakeModule(2, 2)
    module.weight.grad = torch.ones(2, 2)
    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, strategy=None, world_size=1, global_step=3, global_rank=0
    )

    def step(loss: float, clip_id: str) -> None:
        batch: Any = SimpleNamespace(window_ids=(WindowId("mine", clip_id, 7),))
        guard.on_train_batch_start(trainer, module, batch, trainer.global_step)
        guard.on_before_backward(trainer, module, torch.tensor(loss))
        guard.on_before_optimizer_step(trainer, module, None)
        trainer.global_step += 1

    step(0.5, "good")
    step(math.nan, "bad")
    ways: dict[str, Callable[[], None]] = {
        "next step": lambda: step(0.5, "good"),
        "save": lambda: guard.on_save_checkpoint(trainer, module, {}),
        "end": lambda: guard.on_train_end(trainer, module),
    }
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 4, .*mine/bad@7"):
        ways[how]()
