"""Two descents from the same weights, compared as far as rounding lets them be the same."""

import statistics
from collections.abc import Mapping

import torch


def rms(value: torch.Tensor) -> float:
    return float(value.detach().square().mean().sqrt())


def assert_went_the_same_way(
    start: Mapping[str, torch.Tensor],
    one: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
) -> None:
    """Compare how far two descents are apart with how far they have come, tensor by tensor.

    Single values tell nothing: Adam divides by the root of second moments, so where a gradient is
    nearly zero it makes whole steps of what kernels round differently. The gradient of a key's bias
    is zero altogether, since a softmax does not see what is added to all scores. Between kernels
    with and without AVX-512 the worst tensor was 2e-4 of its way apart after 50 steps; one step
    that is left out is 2e-2.
    """
    assert other.keys() == one.keys() == start.keys()
    moved = {name: rms(value - start[name]) for name, value in one.items()}
    usual = statistics.median(moved.values())
    assert usual > 0
    for name, value in one.items():
        apart = rms(other[name] - value)
        assert apart <= 0.01 * moved[name] + 0.001 * usual, (name, apart, moved[name])
