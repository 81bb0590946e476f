"""The naive loop is a fair opponent: it gives our numbers, and pays for what it repeats."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.benchmark.sampling import (
    describe_sampling,
    measure_sampling,
    sample_naively,
    sample_ours,
)
from nitrogen_train.benchmark.workload import FULL, Workload, count_flops
from nitrogen_train.models.nitrogen import NitroGen

SMALL = ("experiment=demo", "data.image_size=32", "data.micro_batch_size=2")
TINY = Workload(name="tiny", overrides=(*SMALL, "model.games=[]"))


@pytest.mark.parametrize("num_sampling_steps", [1, 3])
def test_the_naive_loop_gives_our_numbers(num_sampling_steps: int) -> None:
    policy, batch = TINY.build_policy().eval(), TINY.make_batch()
    noise = torch.randn(batch.actions.shape, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        naive = sample_naively(policy, batch.frames, noise, num_sampling_steps=num_sampling_steps)
        tokens = policy.encode_frames(batch.frames)
        ours = policy.generate_actions(tokens, noise=noise, num_sampling_steps=num_sampling_steps)

    torch.testing.assert_close(naive, ours.values, atol=1e-5, rtol=0.0)
    assert not torch.allclose(naive, noise, atol=0.1)


@pytest.mark.full
def test_a_step_costs_the_naive_loop_more() -> None:
    one, three = measure_sampling(TINY, step_counts=(1, 3), repetitions=2)

    assert one.naive_flops == one.our_flops > 0
    assert three.our_flops - one.our_flops < three.naive_flops - one.naive_flops
    assert len(three.naive_s) == len(three.our_s) == 2
    assert f"{three.flops_ratio:.2f}x" in describe_sampling([one, three], matmul_rate=1e11)


def test_other_numbers_than_the_naive_loops_are_no_result() -> None:
    told_the_game = Workload(name="tiny", overrides=(*SMALL, "data.games=[doom_defend]"))

    with pytest.raises(ArithmeticError, match="ours and the naive loop differ"):
        measure_sampling(told_the_game, step_counts=(1,), repetitions=1)


def test_products_of_matrices_and_of_attention_are_counted() -> None:
    def multiply(_: NitroGen, batch: PolicyBatch) -> Tensor:
        return torch.empty(2, 3) @ torch.empty(3, len(batch))

    def attend(*_: object) -> Tensor:
        queries, context = torch.empty(1, 1, 2, 8), torch.empty(1, 1, 5, 8)
        return torch.nn.functional.scaled_dot_product_attention(queries, context, context)

    assert count_flops(TINY, multiply) == 2 * 2 * 3 * 1
    assert count_flops(TINY, attend) == 2 * (2 * 2 * 5 * 8)


@pytest.mark.full
def test_at_full_size_a_chunk_takes_two_and_a_half_times_fewer_operations() -> None:
    def count(sample: Callable[..., Tensor]) -> int:
        def run(policy: NitroGen, batch: PolicyBatch) -> None:
            with torch.no_grad():
                noise = torch.empty_like(batch.actions)
                sample(policy.eval(), batch.frames, noise, num_sampling_steps=16)

        return count_flops(FULL, run)

    assert count(sample_naively) > 2.5 * count(sample_ours)
