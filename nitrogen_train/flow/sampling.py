"""Follow a velocity field from noise to actions, from time 0 to time 1.

    noise ─► velocity, with and without the condition ─► guided velocity ─► a step ─► … ─► actions

Classifier-free guidance leans on what the condition changes.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor


def guide_velocity(
    conditional: Float[Tensor, "b t a"],
    unconditional: Float[Tensor, "b t a"],
    *,
    guidance_scale: float,
) -> Float[Tensor, "b t a"]:
    r"""Extrapolate from the unconditional to the conditional velocity.

    Computes :math:`v = v_u + w\,(v_c - v_u)`: 0 is unconditional, 1 conditional, above 1 guided.
    NitroGen's `cfg_scale` s is `guidance_scale` 1 + s.

    Source:
        Ho and Salimans 2022, arXiv:2207.12598.
    """
    return unconditional + guidance_scale * (conditional - unconditional)


def list_sampling_times(num_sampling_steps: int) -> tuple[float, ...]:
    """List the path times at which `solve_flow` evaluates the velocity.

    Raises:
        ValueError: If there is not at least one step.
    """
    if num_sampling_steps < 1:
        raise ValueError(f"num_sampling_steps must be at least 1, got {num_sampling_steps}")
    return tuple(step / num_sampling_steps for step in range(num_sampling_steps))


def solve_flow(
    velocity: Callable[[Float[Tensor, "b t a"], float], Float[Tensor, "b t a"]],
    x_0: Float[Tensor, "b t a"],
    *,
    num_sampling_steps: int,
) -> Float[Tensor, "b t a"]:
    r"""Integrate :math:`\dot x_t = v(x_t, t)` with equal Euler steps.

    Args:
        velocity: Called as `velocity(x_t, time)`, once for each of `list_sampling_times`.
        x_0: Where to start, at time 0.
        num_sampling_steps: Steps.

    Returns:
        The point at time 1.
    """
    x_t = x_0
    for time in list_sampling_times(num_sampling_steps):
        x_t = x_t + velocity(x_t, time) / num_sampling_steps
    return x_t
