"""Build the strategy that spreads a run over processes: one, DDP, or DeepSpeed's ZeRO.

Parts of the policy are compiled one by one, so that the names of weights stay as they are, and may
compute activations twice instead of keeping them.
"""

import os
from datetime import timedelta
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import Strategy
from torch import nn

from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.training.zero import CpuZeroStrategy, ZeroStrategy


def compile_parts(policy: nn.Module) -> None:
    """Compile a policy's encoder, mixer and diffusion transformer in place, at their first call."""
    for part in policy.modules():
        if isinstance(part, VisionEncoder | Mixer | DiT):
            part.compile()


def checkpoint_activations(policy: nn.Module) -> None:
    """Keep of each block only its input, and compute the rest again in the backward pass.

    Loss and gradients stay the same, dropout included; a step costs about a third more.

    Args:
        policy: Its encoder, mixer and diffusion transformer are changed in place.

    Raises:
        ValueError: If the encoder's network cannot do it.
    """
    for part in policy.modules():
        if isinstance(part, VisionEncoder | Mixer | DiT):
            part.checkpoint_activations()


_TIMEOUT = timedelta(minutes=30)
"""Timeout of a collective operation: torch's own, enough for a slow first read of much data."""


def build_strategy(
    *,
    name: str,
    deepspeed: dict[str, Any] | None = None,
    accelerator: str = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    micro_batch_size: int = 1,
) -> Strategy | str:
    """Build what Lightning's trainer takes as its strategy.

    Args:
        name: `single`, `ddp`, or any name of a form of ZeRO.
        deepspeed: For ZeRO: DeepSpeed's own options.
        accelerator: The trainer's; ZeRO on a CPU needs a form of its own.
        precision: The trainer's.
        micro_batch_size: Samples of a rank at a time, of which DeepSpeed logs the throughput.
    """
    if deepspeed is None:
        return "auto" if name == "single" else name
    options = {
        **deepspeed,
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "torch_autocast": {
            "enabled": precision == "bf16-mixed",
            "dtype": "bfloat16",
            # What is reduced and gathered stays in fp32, as under DDP.
            "lower_precision_safe_modules": [],
        },
    }
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        # Read when DeepSpeed is imported, which this strategy does.
        os.environ["DS_ACCELERATOR"] = "cpu"
        return CpuZeroStrategy(config=options, timeout=_TIMEOUT)
    return ZeroStrategy(config=options, timeout=_TIMEOUT)
