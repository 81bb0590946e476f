"""How long a step takes on named GPUs, and whether it fits.

    compute  = samples of a rank x operations / (utilization x peak)
    update   = bytes of the optimizer's state, read and written, / memory bandwidth
    step     = compute + update + new weights / link + what gradients take longer than the
               backward passes they travel behind

The link is that of the node where the job fits into one, else the GPU's share of the network.
Gradients travel behind the last micro-batch's backward pass, two thirds of its operations; those of
ZeRO-2 and everything of ZeRO-3 behind all of them. Loading data is not in it.
"""

from dataclasses import dataclass

from nitrogen_train.training.gpus import Gpu
from nitrogen_train.training_plan.communication import Communication, estimate_communication
from nitrogen_train.training_plan.cost import PolicyCost
from nitrogen_train.training_plan.memory import Memory, estimate_memory
from nitrogen_train.training_plan.setup import Setup

MODEL_FLOPS_UTILIZATION = 0.4
"""Assumed share of the peak rate that goes into the operations of the policy."""
LINK_UTILIZATION = 0.7
"""Assumed share of a link's peak that collectives reach."""
USABLE_MEMORY = 0.9
"""Of a GPU's memory: CUDA, NCCL and gaps between blocks take the rest; assumed."""


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
        is_one_node = setup.num_gpus <= gpu.gpus_per_node
        link = gpu.link_bytes_per_s if is_one_node else gpu.network_bytes_per_s
        behind_s = (compute_s if setup.stage >= 2 else micro_s) * (1 if setup.stage == 3 else 2 / 3)
        sent = self.communication
        waiting_s = max(0.0, sent.during_backward / (LINK_UTILIZATION * link) - behind_s)
        gather_s = sent.after_update / (LINK_UTILIZATION * link)
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
