"""A policy of ours as an ng.pt."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from nitrogen_train import NitroGen
from nitrogen_train.flow import LogitNormal, ShiftedBeta
from nitrogen_train.models.baselines import Regression
from nitrogen_train.models.dit import DiT, Mixer
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.ng_pt import build_ng_checkpoint, build_ng_header
from nitrogen_train.pretrained.places import Usage

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "ng_tiny.pt"
SIGLIP = "vit_base_patch16_siglip_224.v2_webli"
ENCODER: dict[str, Any] = {
    "name": SIGLIP, "image_size": 32, "width": 16,
    "options": {"embed_dim": 16, "depth": 1, "num_heads": 2, "act_layer": "gelu_tanh"},
}  # fmt: skip


def build(
    *, kind: type[VisualPolicy] = NitroGen, encoder: dict[str, Any] | None = None, **arguments: Any
) -> VisualPolicy:
    torch.manual_seed(0)
    sizes = {"width": 16, "num_heads": 2, "num_layers": 2, "dropout": 0.1}
    if kind is NitroGen:
        arguments = {"path_time": ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999)} | arguments
    return kind(
        encoder=VisionEncoder(**ENCODER | (encoder or {})),
        mixer=Mixer(**sizes),
        dit=DiT(**sizes, max_action_horizon=8),
        action_space="gamepad",
        action_horizon=4,
        **arguments,
    )


def header(policy: VisualPolicy, **changes: Any) -> dict[str, Any]:
    facts = {"experiment_name": "mine", "step": 7, "usage": Usage(action_offset=3)} | changes
    return build_ng_header(policy.settings, policy.state_dict(), **facts)


def test_a_written_policy_is_read_as_itself(tmp_path: Path) -> None:
    policy = build()

    torch.save(build_ng_checkpoint(policy.state_dict(), header(policy)), tmp_path / "ng.pt")
    again = NitroGen.from_pretrained(tmp_path / "ng.pt", vision_num_heads=2)

    weights = policy.state_dict()
    assert again.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.state_dict().items())
    settings, expected = again.settings, policy.settings
    for options in (settings["encoder"].pop("options"), expected["encoder"].pop("options")):
        assert options["num_heads"] == 2
    assert settings == expected


def test_the_header_says_what_the_policy_does_not() -> None:
    made = header(build())

    assert made["step"] == 7
    assert made["ckpt_config"]["experiment_name"] == "mine"
    assert made["ckpt_config"]["modality_cfg"]["action_shift"] == 3
    assert made["ckpt_config"]["model_cfg"]["vision_encoder_name"] == (
        "google/siglip2-base-patch16-224"
    )


def test_the_public_code_knows_no_offset_of_zero() -> None:
    made = header(build(), usage=Usage(action_offset=0))

    assert made["ckpt_config"]["modality_cfg"]["action_shift"] == 1


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the public code's checkpoint is not here")
def test_the_config_has_every_field_that_the_public_code_writes() -> None:
    released = torch.load(GOLDEN, weights_only=True)["ckpt_config"]

    def fields(node: dict[str, Any], prefix: str = "") -> dict[str, type]:
        found: dict[str, type] = {}
        for key, value in node.items():
            inner = fields(value, f"{prefix}{key}.") if isinstance(value, dict) else None
            found |= inner or {f"{prefix}{key}": type(value)}
        return found

    assert fields(header(build())["ckpt_config"]) == fields(released)


def test_an_encoder_that_the_public_player_cannot_build_is_pointed_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        header(build())

    assert "not those of google/siglip2-base-patch16-224" in caplog.text
    assert "vision_num_heads=2" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kind": Regression}, "it is a Regression, not a NitroGen"),
        ({"button_prediction": "x_1"}, "predicts x_1 or logits"),
        ({"stick_prediction": "x_1"}, "predicts x_1 or logits"),
        ({"games": ["chess"]}, "the names of games have no place"),
        ({"path_time": LogitNormal(mean=0.0, std=1.0)}, "other path times than shifted_beta"),
        ({"encoder": {"num_frames": 2}}, "it observes 2 frames and tells them apart"),
        (
            {"encoder": {"options": ENCODER["options"] | {"act_layer": "gelu"}}},
            "GELU is exact; build it with act_layer: gelu_tanh",
        ),
        (
            {"encoder": {"options": ENCODER["options"] | {"embed_dim": 24}}},
            "a linear map follows its encoder",
        ),
        (
            {"encoder": {"name": "test_vit", "options": {"depth": 1, "embed_dim": 16}}},
            "'test_vit' is not a SigLIP tower",
        ),
    ],
)
def test_what_the_public_code_cannot_compute_is_refused_with_the_reason(
    arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"cannot be written as an ng.pt: .*{reason}"):
        header(build(**arguments))


def test_heads_that_contradict_the_name_are_refused() -> None:
    with torch.device("meta"):
        policy = VisionEncoder(
            name=SIGLIP,
            image_size=32,
            width=768,
            options={"depth": 1, "num_heads": 4, "act_layer": "gelu_tanh"},
        )
    settings = build().settings | {"encoder": policy.settings}

    with pytest.raises(ValueError, match=r"encoder has 4 heads, and .* has 12"):
        build_ng_header(
            settings,
            build().state_dict(),
            experiment_name="mine",
            step=0,
            usage=Usage(action_offset=3),
        )


def test_weights_that_are_not_finite_are_not_written() -> None:
    policy = build()
    made = header(policy)
    with torch.no_grad():
        policy.state_dict()["mixer.blocks.0.attention.query.bias"].fill_(torch.nan)

    with pytest.raises(ValueError, match="NaN or infinite weights in vl_self_attention_model"):
        build_ng_checkpoint(policy.state_dict(), made)
