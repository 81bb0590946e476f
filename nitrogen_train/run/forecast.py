"""Compute how long a step takes on named GPUs, and whether it fits.

    strategy, GPUs, batch, precision ─┐
                                      ├─► memory, bytes sent ─► Forecast: step time, does it fit
    policy on the meta device ─► cost ┘

**Time.**

    compute  = samples of a rank x operations / (utilization x peak)
    update   = bytes of the optimizer's state, read and written, / memory bandwidth
    step     = compute + update + new weights / link + what gradients take longer than the
               backward passes they travel behind

The link is that of the node where the job fits into one, else the slower of it and of all
adapters of a node together: a ring enters and leaves a node once, and NCCL makes one per adapter.
Gradients travel behind the last micro-batch's backward pass, two thirds of its operations; those of
ZeRO-2 and everything of ZeRO-3 behind all of them. Loading data is not in it.

**Memory** of each GPU, in bytes. T parameters learn, F are frozen, N ranks; weights, gradients and
optimizer are fp32, also under bf16-mixed.

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

**Communication**: bytes that a rank sends in one optimizer step; it receives as much. Rings move
(N-1)/N of a tensor to gather or to reduce-scatter it, twice that to all-reduce it. With A
micro-batches in a step:

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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.training.strategies import checkpoint_activations
from nitrogen_train.training.throughput import Gpu, count_training_flops, make_sample

STAGES = {"single": 0, "ddp": 0, "zero_1": 1, "zero_2": 2, "zero_3": 3}
"""Stages of ZeRO, by the name of a strategy; offload forms begin with one of these."""

Offload = Literal["none", "optimizer", "everything"]

MODEL_FLOPS_UTILIZATION = 0.4
"""Assumed share of the peak rate that goes into the operations of the policy."""
LINK_UTILIZATION, NETWORK_UTILIZATION = 0.82, 0.94
"""Shares of the peaks of NVLink and of network adapters that rings reach.

Source:
    NVIDIA on its tests of NCCL: 370 of 450 GB/s on NVLink 4 (github.com/NVIDIA/nccl-tests issue
    212), 46 to 48 of 50 GB/s on each adapter of 400 Gbit/s (issues 267 and 290), 192 of 200 GB/s on
    eight adapters of 200 Gbit/s in a DGX A100 (github.com/NVIDIA/nccl issue 1576).
"""
USABLE_MEMORY = 0.9
"""Share of a GPU's memory: CUDA, NCCL and gaps between blocks take the rest; assumed."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One training job."""

    strategy: str
    """A name of `conf/strategy`."""
    num_gpus: int
    micro_batch_size: int
    accumulation: int
    """Micro-batches of a rank in one step."""
    precision: str
    """`32-true` or `bf16-mixed`."""
    is_checkpointed: bool
    num_moments: int
    """Values that the optimizer keeps of each weight."""
    bucket_values: int
    """DeepSpeed's reduce_bucket_size."""
    live_values: int = 1_000_000_000
    """DeepSpeed's stage3_max_live_parameters; this is its default."""
    reuse_values: int = 1_000_000_000
    """DeepSpeed's stage3_max_reuse_distance; this is its default."""

    @property
    def stage(self) -> int:
        """Return the stage of ZeRO; 0 is none."""
        return STAGES[self.strategy.removesuffix("_offload")]

    @property
    def offload(self) -> Offload:
        """Return what lies in the host's memory."""
        if not self.strategy.endswith("_offload"):
            return "none"
        return "everything" if self.stage == 3 else "optimizer"

    @property
    def is_autocast(self) -> bool:
        """Tell whether it computes in bf16, from weights that are fp32 under every strategy."""
        return self.precision == "bf16-mixed"


@dataclass(frozen=True, kw_only=True)
class PolicyCost:
    """The cost of a policy, whatever the cluster."""

    num_trained: int
    """Parameters that learn."""
    num_frozen: int
    flops: int
    """Forward and backward, of one sample."""
    recomputed_flops: int
    """More, with activation checkpointing."""
    activation_bytes: int
    """Kept for the backward pass, of one sample."""
    checkpointed_bytes: int
    """The same with activation checkpointing: the inputs of blocks, and all of one block."""


def measure_cost(build_policy: Callable[[], VisualPolicy], *, dtype: torch.dtype) -> PolicyCost:
    """Measure a policy on the meta device.

    Activations are those of the policy in `dtype`: under autocast they are about the same.

    Args:
        build_policy: Builds it, frozen where it will be; called under the meta device.
        dtype: That it computes in.
    """
    with torch.device("meta"):
        policy = build_policy().train()
    learning = [p.numel() for p in policy.parameters() if p.requires_grad]
    flops = count_training_flops(policy)
    computed = policy.to(dtype)
    kept, largest_block = _measure_activations(computed)
    checkpoint_activations(policy)
    inputs, _ = _measure_activations(computed)
    return PolicyCost(
        num_trained=sum(learning),
        num_frozen=sum(p.numel() for p in policy.parameters()) - sum(learning),
        flops=flops,
        recomputed_flops=count_training_flops(policy.float()) - flops,
        activation_bytes=kept,
        checkpointed_bytes=inputs + largest_block,
    )


def count_moments(optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer]) -> int:
    """Count the values that an optimizer keeps of each weight, by one step of a single matrix."""
    weight = nn.Parameter(torch.zeros(2, 2))
    built = optimizer([{"params": [weight]}])
    weight.grad = torch.zeros_like(weight)
    built.step()
    kept = [value for value in built.state[weight].values() if isinstance(value, Tensor)]
    return sum(value.numel() for value in kept if value.ndim) // weight.numel()


def _measure_activations(policy: VisualPolicy) -> tuple[int, int]:
    """Measure what one sample's forward pass keeps, in bytes, and the most that one block keeps."""
    weights = {p.untyped_storage()._cdata for p in policy.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            # Held, so that no other storage takes its place.
            kept[storage._cdata] = storage
        return tensor

    def total() -> int:
        return sum(storage.nbytes() for storage in kept.values())

    before: dict[nn.Module, int] = {}
    blocks: list[int] = [0]
    hooks = [
        hook
        for block in _find_blocks(policy)
        for hook in (
            block.register_forward_pre_hook(lambda module, _: before.update({module: total()})),
            block.register_forward_hook(lambda module, *_: blocks.append(total() - before[module])),
        )
    ]
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        policy.compute_loss(make_sample(policy))
    for hook in hooks:
        hook.remove()
    return total(), max(blocks)


def _find_blocks(policy: nn.Module) -> list[nn.Module]:
    """Find what stands in a row: layers of transformers, stages of convolutional networks."""
    rows = [part for part in policy.modules() if isinstance(part, nn.Sequential | nn.ModuleList)]
    return [block for row in rows for block in row]


@dataclass(frozen=True, kw_only=True)
class Communication:
    """Bytes that a rank sends in one step."""

    during_backward: float
    """Bytes sent beside a computation that need not wait: gradients, and ZeRO-3's weights."""
    after_update: float
    """While nothing else happens: the new weights."""

    @property
    def total(self) -> float:
        """Return all bytes of a step."""
        return self.during_backward + self.after_update


def find_bus_bandwidth(gpu: Gpu, num_gpus: int) -> float:
    """Find the bytes per second that each rank of a ring sends, as NCCL's tests call it."""
    within = LINK_UTILIZATION * gpu.link_bytes_per_s
    if num_gpus <= gpu.gpus_per_node:
        return within
    return min(within, NETWORK_UTILIZATION * gpu.network_bytes_per_s * gpu.gpus_per_node)


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
    """Bytes in the host's memory, a rank's share."""

    @property
    def total(self) -> float:
        """Return all bytes on the GPU."""
        return self.states + self.casts + self.activations

    @property
    def states(self) -> float:
        """Return the bytes that do not depend on the micro-batch."""
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


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A job, computed."""

    setup: Setup
    cost: PolicyCost
    memory: Memory
    communication: Communication

    def fits(self, gpu: Gpu) -> bool:
        """Tell whether a GPU's memory is enough."""
        return self.memory.total <= USABLE_MEMORY * gpu.memory_gib * 2**30

    def step_s(self, gpu: Gpu) -> float:
        """Predict the seconds of an optimizer step, see above; offload is not modelled."""
        setup, cost = self.setup, self.cost
        flops = cost.flops + (cost.recomputed_flops if setup.is_checkpointed else 0)
        peak = gpu.bf16_flops if setup.is_autocast else gpu.fp32_flops
        micro_s = setup.micro_batch_size * flops / (MODEL_FLOPS_UTILIZATION * peak)
        compute_s = setup.accumulation * micro_s
        state = self.memory.master + self.memory.moments + self.memory.average
        update_s = 2 * (state + self.memory.gradients) / gpu.memory_bytes_per_s
        link = find_bus_bandwidth(gpu, setup.num_gpus)
        behind_s = (compute_s if setup.stage >= 2 else micro_s) * (1 if setup.stage == 3 else 2 / 3)
        sent = self.communication
        waiting_s = max(0.0, sent.during_backward / link - behind_s)
        gather_s = sent.after_update / link
        return compute_s + update_s + gather_s + waiting_s

    def samples_per_s(self, gpu: Gpu) -> float:
        """Predict the samples per second of the whole job."""
        setup = self.setup
        return setup.num_gpus * setup.micro_batch_size * setup.accumulation / self.step_s(gpu)


def forecast(cost: PolicyCost, setup: Setup) -> Forecast:
    """Compute what a job takes."""
    return Forecast(
        setup=setup,
        cost=cost,
        memory=estimate_memory(cost, setup),
        communication=estimate_communication(cost, setup),
    )
