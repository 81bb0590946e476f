"""The masked loss: one mean over everything that a step supervises.

A sum of errors travels with the count that divides it, so that micro-batches and ranks can share
one divisor, the count of the whole global batch, and give the gradients of one batch.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from jaxtyping import Bool, Float, Int64
from torch import Tensor

ErrorKind = Literal["squared", "absolute", "cross_entropy"]
"""Of one value; cross entropy takes logits as predictions and probabilities as targets."""


def masked_error_sums(
    predicted: Float[Tensor, "b t a"],
    target: Float[Tensor, "b t a"],
    mask: Bool[Tensor, "b t a"],
    *,
    kind: ErrorKind = "squared",
    weight: Float[Tensor, " a"] | None = None,
) -> Float[Tensor, " b"]:
    """Sum each sample's errors, in float32 or better, over the values where the mask is True.

    Values outside the mask do not count, whatever they are, infinite and NaN included.

    Args:
        predicted: What a network returned.
        target: What it should have returned.
        mask: True where supervised.
        kind: The error of one value.
        weight: Factor on the errors of each control, at least 0; None is 1.
    """
    predicted = predicted.float() if predicted.itemsize < 4 else predicted
    # Before the error as well as after it: the gradient of what is infinite is NaN even times 0.
    predicted, target = (values.masked_fill(~mask, 0) for values in (predicted, target))
    errors = _ERRORS[kind](predicted, target).masked_fill(~mask, 0)
    return (errors if weight is None else errors * weight).sum(dim=(1, 2))


def masked_mean_loss(
    error_sum: Float[Tensor, ""], num_valid: Int64[Tensor, ""]
) -> Float[Tensor, ""]:
    r"""Divide a sum of errors by a count of valid values; no valid value gives 0.

    Args:
        error_sum: Of `masked_error_sums` over one micro-batch.
        num_valid: True values of the mask over the whole step: the losses of its micro-batches
            then add up to the masked mean over the step.
    """
    return error_sum / num_valid.clamp(min=1)


def _squared(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).square()


def _absolute(predicted: Tensor, target: Tensor) -> Tensor:
    return (predicted - target).abs()


def _cross_entropy(predicted: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(predicted, target, reduction="none")


_ERRORS: dict[ErrorKind, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": _squared,
    "absolute": _absolute,
    "cross_entropy": _cross_entropy,
}
