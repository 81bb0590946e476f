"""The policy at full size is the released one, tensor for tensor."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.config import find_config_dir, register_schema
from nitrogen_train.export import ExportConfig, Format, export
from nitrogen_train.flow import sample_path
from nitrogen_train.models.nitrogen import NitroGen

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
    assert count("action_head.dit.") == 121_992_192 + 1_048_576
    assert count("action_head.dit.position_embedding") == 1_048_576
    assert count("action_head.action_encoder.") == 3_174_400
    assert count("action_head.action_decoder.") == 1_075_225
    assert count("") == 493_631_513


@pytest.fixture(scope="module")
def released() -> tuple[NitroGen, dict[str, torch.Tensor]]:
    """A tiny checkpoint of the released layout, and what the public code computed with it."""
    if not GOLDEN_DIR.is_dir():
        pytest.skip(f"the public inference code's numbers are not here: {GOLDEN_DIR}")
    outputs = torch.load(GOLDEN_DIR / "ng_tiny.io.pt", weights_only=True)
    return NitroGen.from_pretrained(GOLDEN_DIR / "ng_tiny.pt", vision_num_heads=4), outputs


@torch.no_grad()
def test_tokens_are_those_of_the_public_code(released: tuple) -> None:
    policy, expected = released

    torch.testing.assert_close(
        policy.encoder(expected["frames"]), expected["visual_tokens"][:, 0], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        policy.encode_frames(expected["frames"]).values,
        expected["mixed_tokens"],
        rtol=0,
        atol=1e-5,
    )


@torch.no_grad()
def test_velocity_and_loss_are_those_of_the_public_code(released: tuple) -> None:
    policy, expected = released
    time, mask = expected["loss_time"], expected["loss_action_mask"]
    num = len(time)
    batch = PolicyBatch(
        frames=expected["frames"],
        frame_mask=torch.ones(num, 1, dtype=torch.bool),
        actions=expected["loss_actions"],
        action_mask=mask,
        game_id=torch.zeros(num, dtype=torch.int64),
        sample_seed=torch.zeros(num, dtype=torch.int64),
        num_valid_in_step=mask.sum(),
        window_ids=tuple(WindowId("golden", "clip", frame) for frame in range(num)),
    )
    path = sample_path(expected["loss_noise"], expected["loss_actions"], time)

    tokens = policy.encode_frames(expected["frames"])
    velocity = policy.predict_velocity(path.x_t, time, tokens)
    loss = policy.compute_loss(batch, time=time, noise=expected["loss_noise"]).loss

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


def test_the_released_file_is_written_back_to_the_bit(released: tuple, tmp_path: Path) -> None:
    policy, _ = released
    policy.save_pretrained(tmp_path / "policy")

    export(
        ExportConfig(
            policy=str(tmp_path / "policy"), output_dir=str(tmp_path / "ng"), format=Format.ng
        )
    )

    written = torch.load(tmp_path / "ng" / "ng.pt", weights_only=True)
    original = torch.load(GOLDEN_DIR / "ng_tiny.pt", weights_only=True)
    for name, tensor in original.pop("model").items():
        copy = written["model"].pop(name)
        assert torch.equal(copy, tensor), name
        assert copy.dtype == tensor.dtype, name
    assert not written.pop("model")
    assert written == original
