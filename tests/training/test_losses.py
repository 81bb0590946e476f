"""Losses of a step by control group and source."""

import pytest
import torch
from torch import Tensor

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.batch import WindowId
from nitrogen_train.models.policy import LossOutput, measure_errors
from nitrogen_train.training.module import StepLosses


def output(num: int, *, seed: int) -> LossOutput:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.randn(2, num, 3, 25, generator=generator)
    # Very uneven: a mean of means would differ.
    mask = torch.rand(num, 3, 25, generator=generator) < torch.linspace(0.1, 1, num)[:, None, None]
    return measure_errors(predicted, target, mask=mask, space=GAMEPAD)


def windows(*sources: str) -> list[WindowId]:
    return [WindowId(source, "clip", frame) for frame, source in enumerate(sources)]


def alone(value: Tensor) -> Tensor:
    return value


def test_micro_batches_add_up_to_the_masked_means_of_the_step() -> None:
    whole, losses = output(4, seed=0), StepLosses(["a", "b"])
    parts = [output(2, seed=1), output(3, seed=2)]
    losses.add(parts[0], windows("a", "b"))
    losses.add(parts[1], windows("b", "b", "a"))

    means = losses.take(alone)

    total = sum(part.error_sum for part in parts) / sum(part.num_valid for part in parts)
    sticks = sum(part.error_sum_sticks for part in parts) / sum(p.num_valid_sticks for p in parts)
    assert means["train/loss"] == pytest.approx(float(total))
    assert means["train/loss_sticks"] == pytest.approx(float(sticks))
    first, second = (part.error_sum_by_sample for part in parts)
    counts = [part.num_valid_by_sample for part in parts]
    expected = (first[0] + second[2]) / (counts[0][0] + counts[1][2])
    assert means["train/loss_source_a"] == pytest.approx(float(expected))
    assert whole.error_sum.item() == pytest.approx(whole.error_sum_by_sample.sum().item())


def test_sources_that_do_not_occur_are_left_out_and_a_step_begins_anew() -> None:
    losses = StepLosses(["a", "b"])
    losses.add(output(2, seed=0), windows("a", "elsewhere"))

    assert set(losses.take(alone)) == {
        "train/loss", "train/loss_buttons", "train/loss_sticks", "train/loss_source_a",
    }  # fmt: skip
    assert losses.take(alone) == {}


def test_sums_are_over_all_ranks() -> None:
    one, two = StepLosses(["a"]), StepLosses(["a"])
    one.add(output(3, seed=0), windows("a", "a", "a"))
    two.add(output(3, seed=0), windows("a", "a", "a"))
    twice = one.take(lambda value: 2 * value)

    assert twice == pytest.approx(two.take(alone))
