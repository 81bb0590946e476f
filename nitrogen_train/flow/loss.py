"""The flow-matching loss: one masked mean over everything that a step supervises.

A sum of squared errors travels with the count that divides it, so that micro-batches and ranks
can share one divisor, the count of the whole global batch, and give the gradients of one batch.
"""

from jaxtyping import Bool, Float, Int64
from torch import Tensor


def masked_error_sum(
    predicted_velocity: Float[Tensor, "b t a"],
    velocity: Float[Tensor, "b t a"],
    mask: Bool[Tensor, "b t a"],
) -> Float[Tensor, ""]:
    """Sum the squared errors, in float32 or better, over the values where the mask is True.

    Values outside the mask do not count, whatever they are, infinite and NaN included.
    """
    error = predicted_velocity.float() if predicted_velocity.itemsize < 4 else predicted_velocity
    return (error - velocity).masked_fill(~mask, 0).square().sum()


def masked_mean_loss(
    error_sum: Float[Tensor, ""], num_valid: Int64[Tensor, ""]
) -> Float[Tensor, ""]:
    r"""Divide a sum of squared errors by a count of valid values; no valid value gives 0.

    Args:
        error_sum: From `masked_error_sum` over one micro-batch.
        num_valid: True values of the mask over the whole step: the losses of its micro-batches
            then add up to the masked mean over the step.
    """
    return error_sum / num_valid.clamp(min=1)
