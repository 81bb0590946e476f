"""Tiny policies that several files build, imported late so that the shape checks see them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from nitrogen_train.batch import PolicyBatch
    from nitrogen_train.models.nitrogen import NitroGen

VIT = {"name": "test_vit", "image_size": 32, "options": {"depth": 1, "num_heads": 2}}
CONV = {
    "name": "resnet10t",
    "image_size": 32,
    "options": {"norm_layer": "groupnorm1", "stem_width": 8, "channels": [8, 8, 16, 16]},
}


@pytest.fixture
def build_policy() -> Callable[..., "NitroGen"]:
    """Build a tiny policy in evaluation mode, every weight random, so that each one matters."""
    from nitrogen_train.flow import ShiftedBeta
    from nitrogen_train.models.dit import DiT, Mixer
    from nitrogen_train.models.encoder import VisionEncoder
    from nitrogen_train.models.nitrogen import NitroGen

    def build(
        *,
        encoder: dict[str, Any] = CONV,
        num_frames: int = 1,
        dropout: float = 0.0,
        **arguments: Any,
    ) -> NitroGen:
        torch.manual_seed(0)
        sizes = {"width": 16, "num_heads": 2, "dropout": dropout}
        policy = NitroGen(
            encoder=VisionEncoder(**encoder, num_frames=num_frames, width=16),
            mixer=Mixer(**sizes, num_layers=1),
            dit=DiT(**sizes, num_layers=3, max_action_horizon=8),
            path_time=ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999),
            action_space="gamepad",
            action_horizon=4,
            **arguments,
        )
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.normal_(std=0.3)
        return policy.eval()

    return build


@pytest.fixture
def build_batch() -> Callable[..., "PolicyBatch"]:
    """Build a random batch for such a policy."""
    from nitrogen_train.batch import PolicyBatch, WindowId

    def build(num: int = 6, *, num_frames: int = 1, num_games: int = 0) -> PolicyBatch:
        generator = torch.Generator().manual_seed(1)
        shape = (num, num_frames, 3, 32, 32)
        mask = torch.rand(num, 4, 25, generator=generator) < 0.7
        return PolicyBatch(
            frames=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
            frame_mask=torch.ones(num, num_frames, dtype=torch.bool),
            actions=torch.rand(num, 4, 25, generator=generator),
            action_mask=mask,
            game_id=torch.randint(0, num_games + 1, (num,), generator=generator),
            sample_seed=torch.randint(2**62, (num,), generator=generator),
            num_valid_in_step=mask.sum(),
            window_ids=tuple(WindowId("source", "clip", frame) for frame in range(num)),
        )

    return build
