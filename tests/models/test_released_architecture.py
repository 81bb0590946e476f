"""The policy at full size is the released one, tensor for tensor."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.flow import ShiftedBeta, masked_error_sum, masked_mean_loss, sample_path
from nitrogen_train.models.dit import DiT
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.mixer import Mixer
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.pretrained.ng_checkpoint import policy_state_from_ng

GOLDEN_DIR = Path(__file__).parents[3] / "shared" / "golden"


def test_full_size_has_the_released_number_of_parameters() -> None:
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        overrides = ["model=nitrogen", "model.encoder.pretrained=false"]
        model = compose("train", overrides=overrides).model
    with torch.device("meta"):
        policy = instantiate(model, _convert_="all")

    def count(prefix: str) -> int:
        return sum(p.numel() for n, p in policy.named_parameters() if n.startswith(prefix))

    assert count("encoder.") == 315_956_224
    assert count("mixer.") == 50_384_896
    assert count("velocity.dit.") == 121_992_192 + 1_048_576
    assert count("velocity.dit.position_embedding") == 1_048_576
    assert count("velocity.action_encoder.") == 3_174_400
    assert count("velocity.action_decoder.") == 1_075_225
    assert count("") == 493_631_513


@pytest.fixture(scope="module")
def released() -> tuple[NitroGen, dict[str, torch.Tensor]]:
    """A tiny checkpoint of the released layout, and what the public code computed with it."""
    if not GOLDEN_DIR.is_dir():
        pytest.skip(f"the public inference code's numbers are not here: {GOLDEN_DIR}")
    checkpoint = torch.load(GOLDEN_DIR / "ng_tiny.pt", weights_only=True)
    outputs = torch.load(GOLDEN_DIR / "ng_tiny.io.pt", weights_only=True)
    sizes = {"width": 64, "num_heads": 4, "dropout": 0.2}
    policy = NitroGen(
        encoder=VisionEncoder(
            name="vit_large_patch16_siglip_256.v2_webli",
            image_size=64,
            width=64,
            options={"embed_dim": 64, "depth": 12, "num_heads": 4, "act_layer": "gelu_tanh"},
        ),
        mixer=Mixer(**sizes, num_layers=2),
        dit=DiT(**sizes, num_layers=4, max_action_horizon=64),
        path_time=ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999),
        action_space="gamepad",
        action_horizon=18,
    ).eval()
    policy.load_state_dict(policy_state_from_ng(checkpoint["model"]))
    return policy, outputs


@torch.no_grad()
def test_tokens_are_those_of_the_public_code(released: tuple) -> None:
    policy, expected = released

    torch.testing.assert_close(
        policy.encoder(expected["frames"]), expected["visual_tokens"][:, 0], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        policy.encode_frames(expected["frames"]), expected["mixed_tokens"], rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_velocity_and_loss_are_those_of_the_public_code(released: tuple) -> None:
    policy, expected = released
    time = expected["loss_time"]
    path = sample_path(expected["loss_noise"], expected["loss_actions"], time)

    tokens = policy.encode_frames(expected["frames"])
    velocity = policy.predict_velocity(path.x_t, time, tokens)

    mask = expected["loss_action_mask"]
    loss = masked_mean_loss(masked_error_sum(velocity, path.velocity, mask), mask.sum())
    torch.testing.assert_close(velocity, expected["velocity"], rtol=0, atol=1e-5)
    torch.testing.assert_close(loss, expected["loss"], rtol=0, atol=1e-5)


def test_sampled_actions_are_those_of_the_public_code(released: tuple) -> None:
    policy, expected = released

    with torch.no_grad():
        tokens = policy.encode_frames(expected["frames"])
    chunk = policy.generate_actions(
        tokens, noise=expected["sampling_noise"], num_sampling_steps=expected["num_sampling_steps"]
    )

    torch.testing.assert_close(chunk.values, expected["sampled_actions"], rtol=0, atol=1e-5)
    assert torch.equal(chunk.buttons, expected["buttons"].bool())
    torch.testing.assert_close(chunk.left_stick, expected["left_stick"], rtol=0, atol=1e-5)
    torch.testing.assert_close(chunk.right_stick, expected["right_stick"], rtol=0, atol=1e-5)
