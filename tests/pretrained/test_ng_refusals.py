"""What is not an ng.pt that we can compute is refused: by name, in one line, and never run."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_nitrogen import Shape, build_ng

from nitrogen_train import NitroGen


def load(checkpoint: Any, folder: Path) -> NitroGen:
    torch.save(checkpoint, folder / "ng.pt")
    return NitroGen.from_pretrained(folder / "ng.pt", vision_num_heads=3)


def _drop(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda model: model.pop(name)


def _put(name: str, tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda model: model.update({name: tensor})


TENSOR_FAULTS = {
    "missing model.proj_out_2.bias": _drop("model.proj_out_2.bias"),
    "not those of a SigLIP tower: missing vision_encoder.embeddings.patch_embedding.weight": _drop(
        "vision_encoder.embeddings.patch_embedding.weight"
    ),
    "missing vision_encoder.encoder.layers.1.self_attn.k_proj.bias": _drop(
        "vision_encoder.encoder.layers.1.self_attn.k_proj.bias"
    ),
    "unknown vis_sep_embedding": _put("vis_sep_embedding", torch.zeros(24)),
    r"action_decoder.layer2.W of the shape \(1, 24, 21\) instead of \(1, 24, 25\)": _put(
        "action_decoder.layer2.W", torch.zeros(1, 24, 21)
    ),
    "NaN or infinite weights in model.proj_out_2.bias": _put(
        "model.proj_out_2.bias", torch.full((24,), torch.nan)
    ),
    "NaN or infinite weights in position_embedding.weight": _put(
        "position_embedding.weight", torch.full((9, 24), torch.inf)
    ),
    "model.proj_out_2.bias is of torch.float64, expected float32": _put(
        "model.proj_out_2.bias", torch.zeros(24, dtype=torch.float64)
    ),
    "extra must be an ordinary tensor": _put("extra", torch.zeros(3).to_sparse()),
    "position table of .* has 5 rows, which is not a square image": _put(
        "vision_encoder.embeddings.position_embedding.weight", torch.zeros(5, 24)
    ),
    "must have 4, 2 and 2 axes": _put(
        "vision_encoder.embeddings.patch_embedding.weight", torch.zeros(24, 48)
    ),
    r"2 axes, none empty, got shapes \(24, 3, 0, 0\)": _put(
        "vision_encoder.embeddings.patch_embedding.weight", torch.zeros(24, 3, 0, 0)
    ),
    r"2 axes, none empty, got .*, \(\)": _put(
        "vision_encoder.encoder.layers.0.mlp.fc1.weight", torch.tensor(1.0)
    ),
    "unknown game_embedding.weight": _put("game_embedding.weight", torch.tensor(1.0)),
    "position_ids must count the positions from 0": _put(
        "vision_encoder.embeddings.position_ids", torch.zeros(1, 4, dtype=torch.int64)
    ),
}


@pytest.mark.parametrize("problem", TENSOR_FAULTS)
def test_tensors_that_do_not_fit_are_named_in_one_line(problem: str, tmp_path: Path) -> None:
    checkpoint = build_ng(Shape())
    TENSOR_FAULTS[problem](checkpoint["model"])

    with pytest.raises(ValueError, match=problem) as caught:
        load(checkpoint, tmp_path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_cfg.action_dim", 21),
        ("model_cfg.add_pos_embed", False),
        ("model_cfg.add_view_embed", True),
        ("model_cfg.max_num_embodiments", 2),
        ("model_cfg.num_timestep_buckets", 100),
        ("model_cfg.hidden_size", 48),
        ("model_cfg.vision_hidden_size", 48),
        ("model_cfg.action_horizon", 0),
        ("model_cfg.noise_beta_alpha", "much"),
        ("model_cfg.diffusion_model_cfg.attention_head_dim", 64),
        ("model_cfg.diffusion_model_cfg.interleave_self_attention", False),
        ("model_cfg.diffusion_model_cfg.norm_type", "layer_norm"),
        ("model_cfg.diffusion_model_cfg.cross_attention_dim", 48),
        ("model_cfg.diffusion_model_cfg.num_layers", 10**9),
        ("model_cfg.vl_self_attention_cfg.activation_fn", "geglu"),
        ("model_cfg.vl_self_attention_cfg.positional_embeddings", "sinusoidal"),
        ("tokenizer_cfg.action_horizon", 6),
        ("tokenizer_cfg.max_sequence_length", 300),
        ("tokenizer_cfg.num_visual_tokens_per_frame", 256),
        ("tokenizer_cfg.old_layout", None),
        ("modality_cfg.action_interleaving", True),
        ("modality_cfg.frame_per_sample", 2.5),
    ],
)
def test_a_config_that_means_other_numbers_is_refused_by_name(
    key: str, value: object, tmp_path: Path
) -> None:
    checkpoint = build_ng(Shape())
    *path, last = key.split(".")
    node = checkpoint["ckpt_config"]
    for part in path:
        node = node[part]
    node[last] = value

    with pytest.raises(ValueError, match=rf"ckpt_config says {key}={value!r}, expected"):
        load(checkpoint, tmp_path)
    del node[last]
    with pytest.raises(ValueError, match=rf"ckpt_config lacks {key}"):
        load(checkpoint, tmp_path)


@pytest.mark.parametrize(
    "checkpoint",
    [
        [1, 2],
        {"vision_encoder.probe": torch.zeros(1)},
        {"model": {}, "config": {}},
        {"model": {}, "ckpt_config": {}, "optimizer": {}},
    ],
)
def test_another_layout_is_refused_with_what_it_has(checkpoint: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"layout of an ng\.pt: expected model, ckpt_config, step"):
        load(checkpoint, tmp_path)


def test_a_config_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    checkpoint = build_ng(Shape()) | {"step": torch.tensor(3)}

    with pytest.raises(ValueError, match=r"must hold plain values besides its tensors"):
        load(checkpoint, tmp_path)


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("never printed",)


def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"nothing of it was run: it names .*print") as caught:
        load(build_ng(Shape()) | {"epoch": _Code()}, tmp_path)

    assert "\n" not in str(caught.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-200],
        lambda _: b"",
        lambda _: b"not a checkpoint at all",
        lambda _: pickle.dumps({"model": 1}),
        lambda _: pickle.dumps({"model": _Code()}),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    load(build_ng(Shape()), tmp_path)
    path = tmp_path / "ng.pt"
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(ValueError, match=r"ng\.pt") as caught:
        NitroGen.from_pretrained(path, vision_num_heads=3)

    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_weights_without_their_settings_are_refused(tmp_path: Path) -> None:
    load(build_ng(Shape()), tmp_path).save_pretrained(tmp_path / "policy")

    with pytest.raises(
        ValueError, match=r"model\.safetensors holds weights alone: give its folder"
    ):
        NitroGen.from_pretrained(tmp_path / "policy" / "model.safetensors")


def test_frames_of_another_size_are_refused_with_both(tmp_path: Path) -> None:
    policy = load(build_ng(Shape()), tmp_path)

    with pytest.raises(ValueError, match=r"expects frames of .* = \(1, 3, 8, 8\), got \(1, 3, 16"):
        policy.encode_frames(torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8))
