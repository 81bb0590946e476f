"""What training keeps on each GPU, by strategy, in bytes.

T parameters learn, F are frozen, N ranks. Weights, gradients and optimizer are fp32, also under
bf16-mixed.

                 DDP        ZeRO-1       ZeRO-2       ZeRO-3
    weights      4 (T+F)    4 (T+F)      4 (T+F)      4 (T+F)/N + gathered
    gradients    4 T        4 T          4 T/N        4 T/N
    buckets      4 T        2 x 4 R      2 x 4 R      2 x 4 R
    master       0          4 T/N        4 T/N        4 T/N
    moments      8 T        8 T/N        8 T/N        8 T/N
    average      4 T        4 T/N        4 T/N        4 T/N
    casts        2 (T+F), bf16 copies of weights that autocast keeps through a micro-batch

R is reduce_bucket_size, at most T. ZeRO-3 gathers at most stage3_max_live_parameters. Offload moves
master, moments and average, or the weights as well, into the host's memory. One process has no
buckets.
"""

from dataclasses import dataclass, replace

from nitrogen_train.training_plan.cost import PolicyCost
from nitrogen_train.training_plan.setup import Setup


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one GPU at the most, without what CUDA and the allocator take for themselves."""

    weights: float
    gradients: float
    buckets: float
    master: float
    moments: float
    average: float
    casts: float
    activations: float
    host: float = 0.0
    """In the host's memory, a rank's share."""

    @property
    def total(self) -> float:
        """On the GPU."""
        return self.states + self.casts + self.activations

    @property
    def states(self) -> float:
        """What does not depend on the micro-batch."""
        optimizer = self.master + self.moments + self.average
        return self.weights + self.gradients + self.buckets + optimizer


def estimate_memory(cost: PolicyCost, setup: Setup) -> Memory:
    """Add up what a rank keeps; see the table above."""
    trained, every = cost.num_trained, cost.num_trained + cost.num_frozen
    ranks, stage = setup.num_gpus, setup.stage
    owned = trained / ranks if stage >= 1 else trained
    per_sample = cost.checkpointed_bytes if setup.is_checkpointed else cost.activation_bytes
    buckets = 2 * min(trained, setup.bucket_values) if stage >= 1 else trained
    weights = every / ranks + min(every, setup.live_values) if stage == 3 else every
    memory = Memory(
        weights=4.0 * weights,
        gradients=4.0 * trained / (ranks if stage >= 2 else 1),
        buckets=4.0 * buckets if ranks > 1 or stage >= 1 else 0.0,
        master=4.0 * owned if stage >= 1 else 0.0,
        moments=4.0 * setup.num_moments * owned,
        average=4.0 * owned,
        casts=2.0 * every if setup.is_autocast else 0.0,
        activations=float(per_sample * setup.micro_batch_size),
    )
    return _offload(memory, setup, every=every)


def _offload(memory: Memory, setup: Setup, *, every: int) -> Memory:
    if setup.offload == "none":
        return memory
    host = memory.master + memory.moments + memory.average
    memory = replace(memory, master=0.0, moments=0.0, average=0.0, host=host)
    if setup.offload == "optimizer":
        return memory
    shards = 4 * every / setup.num_gpus
    return replace(memory, weights=memory.weights - shards, host=host + shards)
