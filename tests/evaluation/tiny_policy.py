"""The smallest real policy, with random weights."""

import torch

from nitrogen_train import flow
from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.nitrogen import NitroGen


def build_tiny_policy(
    *, seed: int = 0, num_frames: int = 1, games: tuple[str, ...] = (), action_horizon: int = 4
) -> NitroGen:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NitroGen(
            encoder=VisionEncoder(
                name="resnet10t",
                image_size=32,
                width=16,
                num_frames=num_frames,
                options={"layers": [1, 1, 0, 0], "channels": [8, 8, 8, 8], "stem_width": 4},
            ),
            mixer=Mixer(width=16, num_heads=2, num_layers=1, dropout=0.0),
            dit=DiT(width=16, num_heads=2, num_layers=2, dropout=0.0, max_action_horizon=8),
            path_time=flow.ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999),
            action_space="gamepad",
            action_horizon=action_horizon,
            games=games,
        ).eval()
