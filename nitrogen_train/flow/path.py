"""The straight path from noise to actions.

The one convention of the whole project: `time` 0 is noise, 1 is data,
x_t = (1 - time) x_0 + time x_1, velocity = x_1 - x_0, and the solver integrates from 0 to 1.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PathSample:
    """A point on the path and the direction in which the path leaves it."""

    x_t: Float[Tensor, "b t a"]
    """Between noise and actions."""
    velocity: Float[Tensor, "b t a"]
    """d x_t / d time: the regression target."""


def sample_path(
    x_0: Float[Tensor, "b t a"],
    x_1: Float[Tensor, "b t a"],
    time: Float[Tensor, " b"] | Float[Tensor, "b t"],
) -> PathSample:
    r"""Interpolate noise and actions at the given times.

    Computes :math:`x_t = (1 - t)\,x_0 + t\,x_1` and :math:`u_t = x_1 - x_0`.

    Args:
        x_0: Noise, standard normal.
        x_1: Actions in model space.
        time: Path time in [0, 1], one per sample or one per row; 0 is noise, 1 is data.

    Returns:
        The point on the path and its velocity.

    Source:
        Lipman et al. 2024, arXiv:2412.06264 (linear / conditional-OT path).

    Example:
        >>> import torch
        >>> x_0, x_1 = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
        >>> sample_path(x_0, x_1, torch.tensor([0.25])).x_t[0, 0, 0].item()
        0.25
    """
    weight = time.reshape(len(time), -1, 1)
    return PathSample(x_t=(1 - weight) * x_0 + weight * x_1, velocity=x_1 - x_0)


def velocity_to(
    x_1: Float[Tensor, "b t a"], x_t: Float[Tensor, "b t a"], time: Float[Tensor, "#b #t"]
) -> Float[Tensor, "b t a"]:
    r"""Find the velocity that leads from x_t to x_1 at time 1.

    Computes :math:`u_t = (x_1 - x_t) / (1 - t)`, which for the x_1 of the path is its velocity: a
    network that predicts x_1 predicts the velocity too.

    Args:
        x_1: Actions in model space.
        x_t: A point at `time`.
        time: Path time in [0, 1], one per sample and row, or one for all; within 0.001 of 1 it is
            taken as 0.999, the latest time that training draws.

    Example:
        >>> import torch
        >>> x_t, x_1 = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        >>> velocity_to(x_1, x_t, torch.tensor([[0.75]])).item()
        4.0
    """
    return (x_1 - x_t) / (1 - time[..., None]).clamp(min=1e-3)
