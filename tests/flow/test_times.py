"""The distribution of path times."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from nitrogen_train.flow import (
    LogitNormal,
    ShiftedBeta,
    TimeDistribution,
    Uniform,
    build_time_distribution,
    sample_uniform,
)

NITROGEN = ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999)


@pytest.mark.parametrize(("alpha", "beta"), [(1.6, 0.8), (1.5, 1.0), (0.5, 0.5), (1.0, 1.0)])
def test_times_are_the_inverse_cdf_of_a_shifted_beta(alpha: float, beta: float) -> None:
    uniform = torch.linspace(0, 1, 5001, dtype=torch.float64)

    time = ShiftedBeta(alpha=alpha, beta=beta, scale=0.999)(uniform)

    expected = 0.999 * (1 - special.betaincinv(alpha, beta, uniform.numpy()))
    torch.testing.assert_close(time, torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_nitrogens_times_lie_near_the_noise() -> None:
    uniform = sample_uniform(torch.arange(200_000), (), stream="test")

    time = NITROGEN(uniform)

    quantiles = torch.quantile(time, torch.tensor([0.10, 0.25, 0.50, 0.75, 0.90]))
    expected = torch.tensor([0.03, 0.11, 0.28, 0.52, 0.72])
    torch.testing.assert_close(quantiles, expected, rtol=0, atol=0.01)
    assert time.dtype == torch.float32
    assert time.min() >= 0
    assert time.max() < 0.999
    assert stats.kstest((1 - time / 0.999).numpy(), stats.beta(1.6, 0.8).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (Uniform(scale=0.999), stats.uniform(0, 0.999)),
        (LogitNormal(mean=-0.5, std=1.2), stats.lognorm(1.2, scale=np.exp(-0.5))),
    ],
)
def test_other_times_are_distributed_as_their_names_say(
    distribution: TimeDistribution, expected: object
) -> None:
    time = distribution(sample_uniform(torch.arange(100_000), (), stream="test"))

    # A logit-normal's odds are log-normal.
    odds = time / (1 - time) if isinstance(distribution, LogitNormal) else time
    assert 0 < time.min() < time.max() < 1
    assert stats.kstest(odds.double().numpy(), expected.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    "distribution", [NITROGEN, Uniform(scale=0.9), LogitNormal(mean=0.0, std=1.0)]
)
def test_a_distribution_is_rebuilt_from_its_settings(distribution: TimeDistribution) -> None:
    assert build_time_distribution(distribution.settings) == distribution


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown kind of path times 'cosine'; known: shifted_"):
        build_time_distribution({"kind": "cosine"})


@pytest.mark.parametrize(
    ("alpha", "beta", "scale", "problem"),
    [
        (0.4, 0.8, 1.0, "at least 0.5"),
        (1.6, 0.0, 1.0, "at least 0.5"),
        (1.6, 0.8, 0.0, "scale=0.0 must lie in"),
        (1.6, 0.8, 1.5, "scale=1.5 must lie in"),
    ],
)
def test_parameters_out_of_range_are_refused(
    alpha: float, beta: float, scale: float, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        ShiftedBeta(alpha=alpha, beta=beta, scale=scale)


def test_other_distributions_check_their_parameters() -> None:
    with pytest.raises(ValueError, match=r"scale=1\.5 must lie in"):
        Uniform(scale=1.5)
    with pytest.raises(ValueError, match=r"std=0\.0 must be more than 0"):
        LogitNormal(mean=0.0, std=0.0)
