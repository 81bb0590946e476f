"""What a rank sends in one optimizer step, by strategy, in bytes; it receives as much.

Rings move (N-1)/N of a tensor to gather or to reduce-scatter it, twice that to all-reduce it. With
T, F and N as in `memory`, and A micro-batches in a step:

    DDP       (N-1)/N 2 x 4 T
    ZeRO-1    (N-1)/N (2 x 4 T  +  4 T)            gradients, then new weights
    ZeRO-2    (N-1)/N (A 2 x 4 T  +  4 T)          gradients of every micro-batch
    ZeRO-3    (N-1)/N A (k 4 (T+F)  +  4 T)        weights k times, gradients

Gradients and weights travel in fp32, under DeepSpeed's autocast too. ZeRO-1 and -2 all-reduce:
DeepSpeed's use_multi_rank_bucket_allreduce is on, which is its default. k is 1 where the backward
pass finds the weights still gathered, 2 where its uses are further apart than
stage3_max_reuse_distance. Parameters below stage3_param_persistence_threshold are gathered once a
step. Counts and norms, a few bytes each, are left out; the moving average sends nothing.
"""

from dataclasses import dataclass

from nitrogen_train.training_plan.cost import PolicyCost
from nitrogen_train.training_plan.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Communication:
    """Bytes that a rank sends in one step."""

    during_backward: float
    """Beside a computation that need not wait: gradients, and ZeRO-3's weights."""
    after_update: float
    """While nothing else happens: the new weights."""

    @property
    def total(self) -> float:
        """Of a step."""
        return self.during_backward + self.after_update


def estimate_communication(cost: PolicyCost, setup: Setup) -> Communication:
    """Add up what a rank sends; see the table above."""
    stage, every = setup.stage, cost.num_trained + cost.num_frozen
    moved = (setup.num_gpus - 1) / setup.num_gpus
    gradients = moved * 4 * cost.num_trained
    if stage == 3:
        gathers = 1 if 2 * every <= setup.reuse_values else 2
        each = gathers * moved * 4 * every + gradients
        return Communication(during_backward=setup.accumulation * each, after_update=0.0)
    times = setup.accumulation if stage == 2 else 1
    return Communication(
        during_backward=2 * times * gradients,
        after_update=gradients if stage else 0.0,
    )
