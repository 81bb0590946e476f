"""Random numbers that follow a sample's seed."""

from collections.abc import Callable

import pytest
import torch
from scipy import stats

from nitrogen_train.flow import sample_normal, sample_uniform

SAMPLERS = [sample_uniform, sample_normal]


def test_uniform_numbers_are_uniform_inside_the_open_interval() -> None:
    uniform = sample_uniform(torch.arange(-500, 500), (200,), stream="test").flatten()

    assert uniform.min() > 0
    assert uniform.max() < 1
    assert stats.kstest(uniform.numpy(), "uniform").pvalue > 0.01


def test_normal_numbers_are_normal() -> None:
    normal = sample_normal(torch.arange(1000), (200,), stream="test").flatten()

    assert normal.isfinite().all()
    assert stats.kstest(normal.numpy(), "norm").pvalue > 0.01
    assert normal.abs().max() > 4


def test_the_whole_range_of_seeds_is_finite_and_distinct() -> None:
    seed = torch.tensor([-(2**63), -1, 0, 1, 2**63 - 1])

    normal = sample_normal(seed, (8,), stream="test")

    assert normal.isfinite().all()
    assert len(normal.unique()) == normal.numel()


@pytest.mark.parametrize("stride", [1, 2, 2**32, 0x9E3779B97F4A7C15 - 2**64])
def test_neighbouring_seeds_and_indices_are_uncorrelated(stride: int) -> None:
    normal = sample_normal(torch.arange(500) * stride, (500,), stream="test")
    num_pairs = normal[1:].numel()

    next_seed = (normal[1:] * normal[:-1]).mean()
    next_index = (normal[:, 1:] * normal[:, :-1]).mean()
    diagonal = (normal[1:, :-1] * normal[:-1, 1:]).mean()

    # Four standard errors of the mean of products of independent normal numbers.
    limit = 4 / num_pairs**0.5
    assert max(abs(next_seed), abs(next_index), abs(diagonal)) < limit


def test_streams_of_one_seed_are_uncorrelated() -> None:
    seed = torch.arange(500)

    first, second = (sample_normal(seed, (500,), stream=stream) for stream in ("a", "b"))

    assert abs((first * second).mean()) < 4 / first.numel() ** 0.5


@pytest.mark.parametrize("sample", SAMPLERS)
def test_a_samples_numbers_do_not_depend_on_its_batch(
    sample: Callable[..., torch.Tensor],
) -> None:
    seed = torch.tensor([11, 22, 33])

    together = sample(seed, (4, 5), stream="test")
    alone = sample(seed[1:2], (4, 5), stream="test")
    longer = sample(seed, (6, 5), stream="test")

    assert torch.equal(together[1:2], alone)
    assert torch.equal(together, longer[:, :4])


def test_the_numbers_are_the_same_in_every_version() -> None:
    uniform = sample_uniform(torch.tensor([0, 2**40 + 7]), (3,), stream="path_time")

    # Printed by this call; a change breaks the resume of every run.
    expected = torch.tensor(
        [
            [0.6709797978401184, 0.9096189141273499, 0.9932997822761536],
            [0.47122448682785034, 0.8528384566307068, 0.6038253903388977],
        ]
    )
    assert torch.equal(uniform, expected)


@pytest.mark.parametrize("sample", SAMPLERS)
def test_a_generator_takes_the_place_of_the_seeds(sample: Callable[..., torch.Tensor]) -> None:
    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return sample(torch.zeros(3, dtype=torch.int64), (4,), stream="test", generator=generator)

    assert torch.equal(draw(1), draw(1))
    assert len(draw(1).unique()) == 12
    assert not torch.equal(draw(1), draw(2))
