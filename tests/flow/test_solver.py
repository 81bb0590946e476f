"""Solver steps and guidance."""

import pytest
import torch
from torch import Tensor

from nitrogen_train.flow import (
    guide_velocity,
    list_sampling_times,
    sample_path,
    solve_flow,
)


def _pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    return first, second


@pytest.mark.parametrize("num_sampling_steps", [1, 4, 16])
def test_the_true_velocity_leads_to_the_data(num_sampling_steps: int) -> None:
    x_0, x_1 = _pair()
    seen: list[tuple[Tensor, float]] = []

    def velocity(x_t: Tensor, time: float) -> Tensor:
        seen.append((x_t, time))
        return x_1 - x_0

    end = solve_flow(velocity, x_0, num_sampling_steps=num_sampling_steps)

    torch.testing.assert_close(end, x_1)
    assert tuple(time for _, time in seen) == list_sampling_times(num_sampling_steps)
    for x_t, time in seen:
        on_path = sample_path(x_0, x_1, torch.full((3,), time, dtype=torch.float64)).x_t
        torch.testing.assert_close(x_t, on_path)


def test_more_steps_follow_a_curved_field_more_closely() -> None:
    x_0, _ = _pair()

    def error(num_sampling_steps: int) -> float:
        end = solve_flow(
            lambda x_t, time: x_t * 2 * time,
            x_0,
            num_sampling_steps=num_sampling_steps,
        )
        return float((end - x_0 * torch.e).abs().max())

    # Half the step, half the error: the method is of first order.
    assert error(64) / error(128) == pytest.approx(2, rel=0.05)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="num_sampling_steps must be at least 1, got 0"):
        list_sampling_times(0)


def test_guidance_scale_runs_from_unconditional_through_conditional() -> None:
    conditional, unconditional = _pair()

    def guided(scale: float) -> Tensor:
        return guide_velocity(conditional, unconditional, guidance_scale=scale)

    assert torch.equal(guided(0.0), unconditional)
    torch.testing.assert_close(guided(1.0), conditional)
    torch.testing.assert_close(guided(3.0), conditional + 2 * (conditional - unconditional))
