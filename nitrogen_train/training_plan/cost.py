"""What one sample and one weight of a policy cost, found without computing or allocating."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.training.activation_checkpointing import checkpoint_activations
from nitrogen_train.training.operations import count_training_flops, make_sample


@dataclass(frozen=True, kw_only=True)
class PolicyCost:
    """Of a policy, whatever the cluster."""

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
