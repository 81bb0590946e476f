"""Sampling: ours against the loop of the public code, which computes nothing ahead.

Both see the same frames and start from the same noise, and must come to the same actions. A call
counts from frames to chunk.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.machine import measure_seconds
from benchmarks.workload import Workload, count_flops
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.flow import solve_flow
from nitrogen_train.models.dit import Tokens
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.runtime.progress import format_table, track

STEP_COUNTS = (1, 4, 8, 16)
_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class SamplingCost:
    """What one chunk of actions costs."""

    num_sampling_steps: int
    naive_flops: int
    our_flops: int
    naive_s: list[float]
    """One per repetition."""
    our_s: list[float]
    """Measured right beside the naive call of the same place."""
    largest_difference: float
    """Between naive and our actions, in model space."""

    @property
    def flops_ratio(self) -> float:
        """How many times fewer operations ours takes."""
        return self.naive_flops / self.our_flops

    @property
    def speedup(self) -> float:
        """How many times faster ours is: the median over pairs."""
        return statistics.median(
            naive / ours for naive, ours in zip(self.naive_s, self.our_s, strict=True)
        )


def sample_naively(
    policy: NitroGen,
    frames: UInt8[Tensor, "b f 3 h w"],
    noise: Float[Tensor, "b t a"],
    *,
    num_sampling_steps: int,
) -> Float[Tensor, "b t a"]:
    """Sample as the public code does: vision once, everything behind it at every step.

    Mixer, keys and values of its tokens, time modulations and DiT are computed anew each time.
    """
    seen = policy.encoder(frames)

    def velocity(x_t: Float[Tensor, "b t a"], time: float) -> Float[Tensor, "b t a"]:
        at_time = torch.full((len(x_t),), time, device=x_t.device)
        return policy.predict_velocity(x_t, at_time, Tokens(values=policy.mixer(seen)))

    return solve_flow(velocity, noise, num_sampling_steps=num_sampling_steps)


def sample_ours(
    policy: NitroGen,
    frames: UInt8[Tensor, "b f 3 h w"],
    noise: Float[Tensor, "b t a"],
    *,
    num_sampling_steps: int,
) -> Float[Tensor, "b t a"]:
    """Sample as our policy does."""
    tokens = policy.encode_frames(frames)
    chunk = policy.generate_actions(tokens, noise=noise, num_sampling_steps=num_sampling_steps)
    return chunk.values


@torch.no_grad()
def measure_sampling(
    workload: Workload, *, step_counts: Sequence[int] = STEP_COUNTS, repetitions: int
) -> list[SamplingCost]:
    """Measure naive and our sampling of a single sample, in turn.

    Args:
        workload: A flow policy without games, of one observed frame.
        step_counts: Sampling steps to measure.
        repetitions: Pairs of calls per number of steps.

    Raises:
        ArithmeticError: If ours does not give the naive loop's numbers.
    """
    policy, batch = workload.build_policy().eval(), workload.make_batch(num_samples=1)
    noise = torch.randn_like(batch.actions)
    costs: list[SamplingCost] = []
    for num_steps in track(step_counts, label="sample", unit="step count", total=len(step_counts)):
        naive, ours = (
            partial(function, num_sampling_steps=num_steps)
            for function in (sample_naively, sample_ours)
        )
        inputs = (policy, batch.frames, noise)
        # Also the warm-up.
        difference = _compare(naive(*inputs), ours(*inputs))
        naive_s, our_s = [], []
        for _ in range(repetitions):
            naive_s.append(measure_seconds(naive, *inputs))
            our_s.append(measure_seconds(ours, *inputs))
        costs.append(
            SamplingCost(
                num_sampling_steps=num_steps,
                naive_flops=_count_flops(workload, naive),
                our_flops=_count_flops(workload, ours),
                naive_s=naive_s,
                our_s=our_s,
                largest_difference=difference,
            )
        )
    return costs


def describe_sampling(costs: Sequence[SamplingCost], *, matmul_rate: float) -> str:
    """Lay measurements out as a table.

    Args:
        costs: From `measure_sampling`.
        matmul_rate: From `measure_matmul_rate`, in FLOP/s, in the same run.
    """
    header = (
        "steps", "naive GFLOP", "ours", "fewer", "naive s", "ours", "faster",
        "naive of matmul rate", "ours",
    )  # fmt: skip
    rows = [
        (
            str(cost.num_sampling_steps),
            f"{cost.naive_flops / 1e9:.1f}",
            f"{cost.our_flops / 1e9:.1f}",
            f"{cost.flops_ratio:.2f}x",
            f"{statistics.median(cost.naive_s):.3f}",
            f"{statistics.median(cost.our_s):.3f}",
            f"{cost.speedup:.2f}x",
            f"{cost.naive_flops / statistics.median(cost.naive_s) / matmul_rate:.0%}",
            f"{cost.our_flops / statistics.median(cost.our_s) / matmul_rate:.0%}",
        )
        for cost in costs
    ]
    difference = max(cost.largest_difference for cost in costs)
    return (
        f"{format_table(header, rows)}\n"
        f"times and ratios are medians of {len(costs[0].our_s)} pairs measured in turn; "
        f"matmul rate {matmul_rate / 1e9:.0f} GFLOP/s; "
        f"largest difference between the actions {difference:.1e}\n"
    )


def _compare(naive: Float[Tensor, "b t a"], ours: Float[Tensor, "b t a"]) -> float:
    difference = (naive - ours).abs().max().item()
    if not difference <= _TOLERANCE:
        raise ArithmeticError(
            f"ours and the naive loop differ by {difference}, more than {_TOLERANCE}"
        )
    return difference


def _count_flops(workload: Workload, run: Callable[..., Tensor]) -> int:
    def once(policy: NitroGen, batch: PolicyBatch) -> None:
        run(policy.eval(), batch.frames, torch.empty_like(batch.actions))

    return count_flops(workload, once)
