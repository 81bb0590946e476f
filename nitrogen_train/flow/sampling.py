"""Follow a velocity field from noise to actions, from time 0 to time 1.

    noise ─► velocity, with and without the condition ─► guided velocity ─► a step ─► … ─► actions

Classifier-free guidance leans on what the condition changes.
"""

from collections.abc import Callable
from typing import Literal, get_args

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


Solver = Literal["euler", "midpoint"]
"""A midpoint step evaluates the velocity twice, and its error falls with the square of its size."""


def list_sampling_times(num_sampling_steps: int, *, solver: Solver) -> tuple[float, ...]:
    """List the path times at which `solve_flow` evaluates the velocity.

    Raises:
        ValueError: If there is not at least one step, or no such solver.
    """
    if num_sampling_steps < 1:
        raise ValueError(f"num_sampling_steps must be at least 1, got {num_sampling_steps}")
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")
    per_step = 1 if solver == "euler" else 2
    num_times = per_step * num_sampling_steps
    return tuple(index / num_times for index in range(num_times))


def solve_flow(
    velocity: Callable[[Float[Tensor, "b t a"], float], Float[Tensor, "b t a"]],
    x_0: Float[Tensor, "b t a"],
    *,
    num_sampling_steps: int,
    solver: Solver = "euler",
) -> Float[Tensor, "b t a"]:
    r"""Integrate :math:`\dot x_t = v(x_t, t)` with equal steps.

    Args:
        velocity: Called as `velocity(x_t, time)`, once for each of `list_sampling_times`.
        x_0: Where to start, at time 0.
        num_sampling_steps: Steps.
        solver: The rule of a step.

    Returns:
        The point at time 1.
    """
    times = list_sampling_times(num_sampling_steps, solver=solver)
    x_t = x_0
    if solver == "euler":
        for time in times:
            x_t = x_t + velocity(x_t, time) / num_sampling_steps
        return x_t
    for start, middle in zip(times[::2], times[1::2], strict=True):
        x_middle = x_t + velocity(x_t, start) / len(times)
        x_t = x_t + velocity(x_middle, middle) / num_sampling_steps
    return x_t
