"""Hugging Face's towers in timm's networks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_nitrogen import PlainNitroGen, Shape, build_ng
from safetensors.torch import save_file
from torch import Tensor

from nitrogen_train.models.encoder import VisionEncoder

SHAPE = Shape()
OPTIONS = {
    "embed_dim": SHAPE.width, "depth": SHAPE.vision_depth, "num_heads": SHAPE.vision_heads,
    "mlp_ratio": SHAPE.vision_hidden / SHAPE.width, "patch_size": SHAPE.patch,
    "act_layer": "gelu_tanh",
}  # fmt: skip
CONFIG = {"num_attention_heads": 3, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
PREFIX = "vision_encoder."


def write_tower(
    folder: Path, *, prefix: str = "", config: dict[str, Any] | None = None, **extra: Tensor
) -> Path:
    """Write what `save_pretrained` of a tower writes."""
    state = {
        prefix + name.removeprefix(PREFIX): tensor
        for name, tensor in build_ng(SHAPE)["model"].items()
        if name.startswith(PREFIX)
    }
    save_file(state | extra, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    return folder


def build(folder: Path, *, name: str = "vit_base_patch16_siglip_224", **options: Any) -> Any:
    size = SHAPE.patch * SHAPE.grid
    return VisionEncoder(
        name=name,
        image_size=size,
        width=SHAPE.width,
        pretrained=str(folder),
        options=OPTIONS | options,
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "vision_model."])
@pytest.mark.parametrize("name", ["vit_base_patch16_siglip_224", "vit_base_patch16_siglip_gap_224"])
def test_tokens_are_those_of_the_tower(prefix: str, name: str, tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (2, 1, 3, 8, 8), dtype=torch.uint8)
    plain = PlainNitroGen(build_ng(SHAPE)["model"], Shape(mixer_layers=0))

    tokens = build(write_tower(tmp_path, prefix=prefix), name=name)(frames)

    torch.testing.assert_close(tokens, plain.encode(frames), rtol=1e-5, atol=1e-5)


def test_the_text_half_of_a_whole_model_is_left_out(tmp_path: Path) -> None:
    text = {"text_model.head.bias": torch.zeros(1), "logit_scale": torch.ones(1)}

    encoder = build(
        write_tower(tmp_path, prefix="vision_model.", config={"vision_config": CONFIG}, **text)
    )

    bias = build_ng(SHAPE)["model"][f"{PREFIX}embeddings.patch_embedding.bias"]
    assert torch.equal(encoder.network.patch_embed.proj.bias, bias)


def test_the_order_of_positions_may_be_stored(tmp_path: Path) -> None:
    ids = torch.arange(SHAPE.tokens)[None]

    build(write_tower(tmp_path, **{"embeddings.position_ids": ids}))


@pytest.mark.parametrize(
    ("config", "options", "problem"),
    [
        (CONFIG, {"num_heads": 4}, "says num_attention_heads=3, but the network is built with 4"),
        ({}, {}, "num_attention_heads=None, but the network is built with 3"),
        (CONFIG, {"act_layer": "gelu"}, "says hidden_act=gelu_pytorch_tanh, .* built with gelu"),
        (CONFIG | {"layer_norm_eps": 1e-5}, {}, "says layer_norm_eps=1e-05"),
        (CONFIG, {"depth": 3}, r"missing encoder\.layers\.2\.layer_norm1\.bias"),
        (CONFIG, {"mlp_ratio": 2}, r"mlp.fc1.bias of the shape \(40,\) instead of \(48,\)"),
        (CONFIG, {"depth": 1}, r"unknown encoder\.layers\.1\."),
    ],
)
def test_a_tower_for_another_network_is_refused(
    config: dict[str, Any], options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    write_tower(tmp_path, config=config)

    with pytest.raises(ValueError, match=problem):
        build(tmp_path, **options)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", r"config\.json is not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"vision_config": "base"}', "expected a JSON object"),
        ('{"hidden_act": []}', r"says (num_attention_heads=None|hidden_act=\[\])"),
    ],
)
def test_a_config_that_is_none_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    (write_tower(tmp_path) / "config.json").write_text(text)

    with pytest.raises(ValueError, match=problem):
        build(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    write_tower(tmp_path, **{"post_layernorm.bias": torch.full((SHAPE.width,), torch.nan)})

    with pytest.raises(ValueError, match=r"NaN or infinite weights in norm\.bias"):
        build(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no SigLIP weights in .*: expected model"):
        build(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_tower(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        build(tmp_path)


def test_only_siglip_networks_load_a_tower(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only timm's networks vit_\\*_siglip_\\*"):
        VisionEncoder(
            name="test_vit", image_size=32, width=8, pretrained=str(tmp_path), options={"depth": 1}
        )
