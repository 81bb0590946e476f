"""One masked mean over the whole global batch."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from nitrogen_train.flow import ErrorKind, masked_error_sums, masked_mean_loss


def error_sum_of(*values: Tensor, **options: Any) -> Tensor:
    return masked_error_sums(*values, **options).sum()


def _problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    predicted, velocity = torch.randn(2, 12, 4, 5, generator=generator, dtype=torch.float64)
    # Very uneven: a mean of means would differ.
    mask = torch.rand(12, 4, 5, generator=generator) < torch.linspace(0, 1, 12)[:, None, None]
    return predicted, velocity, mask


@pytest.mark.parametrize("micro_batch_size", [1, 3, 5, 12])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batch_size: int) -> None:
    predicted, velocity, mask = _problem()
    whole = predicted.clone().requires_grad_()
    parts = predicted.clone().requires_grad_()
    num_valid = mask.sum()

    masked_mean_loss(error_sum_of(whole, velocity, mask), num_valid).backward()
    for start in range(0, 12, micro_batch_size):
        part = slice(start, start + micro_batch_size)
        error_sum = error_sum_of(parts[part], velocity[part], mask[part])
        masked_mean_loss(error_sum, num_valid).backward()

    torch.testing.assert_close(parts.grad, whole.grad)


def test_the_loss_is_the_mean_of_the_supervised_squared_errors() -> None:
    predicted, velocity, mask = _problem()

    loss = masked_mean_loss(error_sum_of(predicted, velocity, mask), mask.sum())

    torch.testing.assert_close(loss, (predicted - velocity)[mask].square().mean())


def test_every_kind_of_error_is_torchs() -> None:
    predicted, target, mask = _problem()
    target = target.sigmoid()

    def error_sum(kind: ErrorKind) -> Tensor:
        return error_sum_of(predicted, target, mask, kind=kind)

    theirs = [F.mse_loss, F.l1_loss, F.binary_cross_entropy_with_logits]
    for kind, loss in zip(get_args(ErrorKind), theirs, strict=True):
        expected = loss(predicted[mask], target[mask], reduction="sum")
        torch.testing.assert_close(error_sum(kind), expected)


def test_a_weight_scales_the_errors_of_its_control() -> None:
    predicted, target, mask = _problem()
    weight = torch.tensor([1.0, 0.0, 2.0, 1.0, 1.0])

    weighted = error_sum_of(predicted, target, mask, weight=weight)

    expected = [
        factor
        * error_sum_of(predicted[..., i : i + 1], target[..., i : i + 1], mask[..., i : i + 1])
        for i, factor in enumerate(weight)
    ]
    torch.testing.assert_close(weighted, torch.stack(expected).sum())


@pytest.mark.parametrize("kind", get_args(ErrorKind))
@pytest.mark.parametrize("filler", [7.0, float("inf"), float("nan")])
def test_values_outside_the_mask_change_neither_loss_nor_gradient(
    filler: float, kind: ErrorKind
) -> None:
    predicted, velocity, mask = _problem()
    clean, spoilt = predicted.clone().requires_grad_(), predicted.clone().requires_grad_()

    expected = error_sum_of(clean, velocity, mask, kind=kind)
    actual = error_sum_of(spoilt, velocity.masked_fill(~mask, filler), mask, kind=kind)
    expected.backward()
    actual.backward()

    assert torch.equal(actual, expected)
    assert torch.equal(spoilt.grad, clean.grad)


def test_nothing_to_supervise_gives_a_loss_of_zero() -> None:
    predicted, velocity, mask = _problem()
    nothing = torch.zeros_like(mask)

    loss = masked_mean_loss(error_sum_of(predicted, velocity, nothing), nothing.sum())

    assert loss == 0


def test_half_precision_errors_are_summed_in_float32() -> None:
    predicted = torch.ones(64, 18, 25, dtype=torch.bfloat16)

    error_sum = error_sum_of(predicted, torch.zeros(64, 18, 25), torch.ones(64, 18, 25) > 0)

    assert error_sum.dtype == torch.float32
    assert error_sum == 64 * 18 * 25
