"""Frames to action chunks, for play and for recordings alike."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from nitrogen_train.models.visual_policy import VisualPolicy


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How a chunk is drawn from a policy."""

    num_sampling_steps: int
    """Solver steps."""
    guidance_scale: float = 1.0
    """1 follows the game's condition, more exaggerates it; a policy without one has only 1."""


def sample_chunks(
    policy: VisualPolicy,
    frames: UInt8[np.ndarray, "b f 3 s s"],
    *,
    frame_mask: Bool[np.ndarray, "b f"],
    game_id: int,
    noise: Float[Tensor, "b t a"],
    settings: SamplingSettings,
) -> Float32[np.ndarray, "b t a"]:
    """Draw one chunk per sample.

    Args:
        policy: In evaluation mode.
        frames: RGB, oldest first.
        frame_mask: False where there is no frame.
        game_id: Of all samples; 0 is unconditional.
        noise: Of each sample.
        settings: How.

    Returns:
        Model space, in [0, 1] but for what the solver overshoots.

    Raises:
        ValueError: If the policy cannot be guided, or is not told the game.
    """
    is_guided = settings.guidance_scale != 1
    if is_guided and game_id == 0:
        raise ValueError(
            f"guidance_scale={settings.guidance_scale} has nothing to follow: the policy was not "
            "trained with this game's condition; leave it at 1"
        )
    device = next(policy.parameters()).device
    observed = torch.from_numpy(frames).to(device)
    mask = torch.from_numpy(frame_mask).to(device)

    def encode(condition: int) -> Float[Tensor, "b n d"]:
        ids = torch.full((len(frames),), condition, device=device)
        return policy.encode_frames(observed, frame_mask=mask, game_id=ids)

    with torch.inference_mode():
        chunk = policy.generate_actions(
            encode(game_id),
            unconditional_tokens=encode(0) if is_guided else None,
            guidance_scale=settings.guidance_scale,
            noise=noise.to(device),
            num_sampling_steps=settings.num_sampling_steps,
        )
    return chunk.values.float().cpu().numpy()
