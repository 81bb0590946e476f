"""How many floating-point operations a policy's training takes, counted without computing.

On the meta device tensors have a shape and no values: counting costs seconds and no memory.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.models.visual_policy import VisualPolicy


def make_random_batch(
    *, num_samples: int, num_frames: int, image_size: int, action_horizon: int, action_dim: int
) -> PolicyBatch:
    """Draw a batch on torch's default device.

    Pictures and actions are random and all valid: what a step costs does not depend on them.
    """
    size = (num_samples, num_frames)
    actions = torch.rand(num_samples, action_horizon, action_dim)
    return PolicyBatch(
        frames=torch.randint(256, (*size, 3, image_size, image_size)).byte(),
        frame_mask=torch.ones(size, dtype=torch.bool),
        actions=actions,
        action_mask=torch.ones_like(actions, dtype=torch.bool),
        game_id=torch.zeros(num_samples, dtype=torch.int64),
        sample_seed=torch.arange(num_samples),
        num_valid_in_step=torch.tensor(actions.numel()),
        window_ids=tuple(WindowId("random", "clip", frame) for frame in range(num_samples)),
    )


def make_sample(policy: VisualPolicy) -> PolicyBatch:
    """Draw a batch of one sample, as a policy takes it, on torch's default device."""
    return make_random_batch(
        num_samples=1,
        num_frames=policy.num_frames,
        image_size=policy.image_size,
        action_horizon=policy.action_horizon,
        action_dim=policy.action_space.action_dim,
    )


def count_flops(function: Callable[[], object]) -> int:
    """Count the operations of a function that works on the meta device.

    Attention is taken apart into its two products, since `FlopCounterMode` counts the CPU's fused
    one as nothing.
    """
    with (
        torch.device("meta"),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        function()
    return counter.get_total_flops()


def count_training_flops(policy: VisualPolicy) -> int:
    """Count the operations of training a policy on the meta device, forward and backward, a sample.

    Frozen parts have no backward pass. Recomputation counts where the policy checkpoints its
    activations.
    """
    with torch.device("meta"):
        batch = make_sample(policy)
    return count_flops(lambda: policy.train().compute_loss(batch).error_sum.backward())


def copy_to_meta(policy: VisualPolicy) -> VisualPolicy:
    """Build the same policy, frozen where it is, without its values."""
    settings: Mapping[str, Any] = policy.settings
    with torch.device("meta"):
        copy = type(policy).from_settings(dict(settings))
    learns = {name: parameter.requires_grad for name, parameter in policy.named_parameters()}
    _set_learning(copy, learns)
    return copy


def _set_learning(policy: nn.Module, learns: Mapping[str, bool]) -> None:
    for name, parameter in policy.named_parameters():
        parameter.requires_grad = learns[name]
