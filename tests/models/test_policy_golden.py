"""The architecture, pinned: weights and inputs from hashes, outputs as committed.

Written by: python tests/models/test_policy_golden.py
"""

import json
from pathlib import Path

import torch
from torch import Tensor

from nitrogen_train.flow import ShiftedBeta, sample_normal, sample_path, sample_uniform
from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.nitrogen import NitroGen

GOLDEN = Path(__file__).parents[1] / "golden" / "policy.json"


def _numbers(*shape: int, name: str) -> Tensor:
    return sample_normal(torch.tensor([0]), shape, stream=name)[0]


@torch.no_grad()
def compute() -> dict[str, list[float]]:
    """Run a tiny policy once, and keep the first numbers of each output."""
    sizes = {"width": 32, "num_heads": 4, "num_layers": 2, "dropout": 0.2}
    policy = NitroGen(
        encoder=VisionEncoder(
            name="vit_base_patch16_siglip_224",
            image_size=32,
            width=32,
            options={"depth": 2, "embed_dim": 32, "num_heads": 4, "act_layer": "gelu_tanh"},
        ),
        mixer=Mixer(**sizes),
        dit=DiT(**sizes, max_action_horizon=8),
        path_time=ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999),
        action_space="gamepad",
        action_horizon=6,
        games=["a", "b"],
    ).eval()
    for name, parameter in policy.named_parameters():
        parameter.copy_(0.2 * _numbers(*parameter.shape, name=name))
    frames = sample_uniform(torch.tensor([0, 1]), (1, 3, 32, 32), stream="frames")
    tokens = policy.encode_frames((frames * 256).byte(), game_id=torch.tensor([2, 0]))
    time = torch.tensor([0.2, 0.7])
    x_0, x_1 = (_numbers(2, 6, 25, name=name) for name in ("x_0", "x_1"))
    velocity = policy.predict_velocity(sample_path(x_0, x_1, time).x_t, time, tokens)
    chunk = policy.generate_actions(tokens, noise=x_0, num_sampling_steps=4)
    outputs = {"tokens": tokens.values, "velocity": velocity, "actions": chunk.values}
    return {name: output[:, -1, :5].flatten().tolist() for name, output in outputs.items()}


def test_the_policy_computes_the_committed_numbers() -> None:
    expected = json.loads(GOLDEN.read_text())

    actual = compute()

    assert actual.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            torch.tensor(actual[name]), torch.tensor(expected[name]), rtol=1e-4, atol=1e-5
        )


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(compute(), indent=2) + "\n")
