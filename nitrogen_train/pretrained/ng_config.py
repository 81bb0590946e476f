"""Translate an ng.pt's `ckpt_config` into our settings, and back.

    ckpt_config ─► fields, by dotted names, checked one by one ─► our settings ─► and back

The config describes more networks than `NitroGen` computes: what would change a number is refused
by name. Settings that only concern training, such as which parts are trained, are kept and not
read.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen_train.actions.space import GAMEPAD
from nitrogen_train.pretrained.ng_tensors import NgSizes
from nitrogen_train.pretrained.places import FORMAT_VERSION, Usage
from nitrogen_train.pretrained.siglip import VisionSizes
from nitrogen_train.pretrained.siglip_names import (
    find_image_size,
    find_num_heads,
    to_hf_name,
    to_timm_name,
)

_DIT = "model_cfg.diffusion_model_cfg"
_MIXER = "model_cfg.vl_self_attention_cfg"
# The public code's; what it means may also be our 0.
_LEAST_SHIFT = 1
# A checkpoint from a stranger may say anything.
_MAX_LAYERS = 1000

# The only values that NitroGen computes.
_TRANSFORMER: dict[str, Any] = {
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "final_dropout": True,
    "positional_embeddings": None,
}
_DIT_ALONE: dict[str, Any] = {
    "norm_type": "ada_norm",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-5,
    "interleave_self_attention": True,
    "cross_attention_dim": None,
}
_MODEL: dict[str, Any] = {
    "add_pos_embed": True,
    "action_dim": GAMEPAD.action_dim,
    "num_timestep_buckets": 1000,
    "max_num_embodiments": 1,
    "add_view_embed": False,
}
_MODALITY: dict[str, Any] = {"action_interleaving": False, "token_set": "new"}
_ONLY = {
    **{f"model_cfg.{key}": value for key, value in _MODEL.items()},
    **{f"{_DIT}.{key}": value for key, value in (_TRANSFORMER | _DIT_ALONE).items()},
    **{f"{_MIXER}.{key}": value for key, value in _TRANSFORMER.items()},
    "tokenizer_cfg.max_action_dim": GAMEPAD.action_dim,
    **{f"modality_cfg.{key}": value for key, value in _MODALITY.items()},
}
# Fields that change no number; the released checkpoint's values.
_UNREAD_TRANSFORMER: dict[str, Any] = {
    "num_embeds_ada_norm": 1000,
    "upcast_attention": False,
    "max_num_positional_embeddings": 512,
    "compute_dtype": "float32",
}


def look_up(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a plain value
    """Find a field.

    Raises:
        ValueError: If there is none.
    """
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise ValueError(f"ckpt_config lacks {key}: is this a checkpoint of NitroGen's layout?")
        node = node[part]
    return node


def require(config: Mapping[str, Any], key: str, value: object, why: str) -> None:
    """Check that a field has a value.

    Raises:
        ValueError: If it has another; the message says `why` it matters.
    """
    got = look_up(config, key)
    if got != value:
        raise ValueError(f"ckpt_config says {key}={got!r}, expected {value!r}: {why}")


def read_integer(
    config: Mapping[str, Any], key: str, *, at_least: int = 1, at_most: int | None = None
) -> int:
    """Read a whole number.

    Raises:
        ValueError: If the field is not one within the limits.
    """
    got = look_up(config, key)
    if not isinstance(got, int) or got < at_least or (at_most is not None and got > at_most):
        limits = f"from {at_least}" + ("" if at_most is None else f" to {at_most}")
        raise ValueError(f"ckpt_config says {key}={got!r}, expected a whole number {limits}")
    return got


def read_number(config: Mapping[str, Any], key: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: If the field is not one.
    """
    got = look_up(config, key)
    if not isinstance(got, int | float) or not math.isfinite(got):
        raise ValueError(f"ckpt_config says {key}={got!r}, expected a finite number")
    return float(got)


def read_truth(config: Mapping[str, Any], key: str) -> bool:
    """Read true or false.

    Raises:
        ValueError: If the field is neither.
    """
    got = look_up(config, key)
    if not isinstance(got, bool):
        raise ValueError(f"ckpt_config says {key}={got!r}, expected true or false")
    return got


def read_sizes(config: Mapping[str, Any], vision: VisionSizes, *, num_games: int) -> NgSizes:
    """Read the sizes of an ng.pt.

    Args:
        config: Its `ckpt_config`.
        vision: What the tensors of its encoder show.
        num_games: Games in its table of games, the unconditional one not counted.

    Raises:
        ValueError: If a field is missing, contradicts the others or the encoder, or asks for what
            `NitroGen` does not compute.
    """
    for key, value in _ONLY.items():
        require(config, key, value, "NitroGen computes nothing else")
    num_frames = read_integer(config, "modality_cfg.frame_per_sample")
    num_tokens = num_frames * vision.num_tokens + (num_games > 0)
    for key, value in (
        ("model_cfg.hidden_size", vision.width),
        ("model_cfg.vision_hidden_size", vision.width),
        (f"{_DIT}.output_dim", vision.width),
        ("tokenizer_cfg.num_visual_tokens_per_frame", vision.num_tokens),
        ("tokenizer_cfg.action_horizon", read_integer(config, "model_cfg.action_horizon")),
    ):
        require(config, key, value, "it must agree with the encoder's tensors and model_cfg")
    require(
        config,
        "tokenizer_cfg.max_sequence_length",
        num_tokens,
        "the public code pads to it, and attends to the padding",
    )
    for part in (_DIT, _MIXER):
        num_heads = read_integer(config, f"{part}.num_attention_heads")
        require(
            config,
            f"{part}.attention_head_dim",
            vision.width / num_heads,
            f"{num_heads} heads share the width {vision.width}",
        )
    return NgSizes(
        vision=vision,
        num_mixer_layers=read_integer(
            config, f"{_MIXER}.num_layers", at_least=0, at_most=_MAX_LAYERS
        ),
        num_dit_layers=read_integer(config, f"{_DIT}.num_layers", at_most=_MAX_LAYERS),
        max_action_horizon=read_integer(config, "model_cfg.max_seq_len"),
        num_frames=num_frames,
        num_games=num_games,
        old_layout=read_truth(config, "tokenizer_cfg.old_layout"),
    )


def read_settings(
    config: Mapping[str, Any],
    sizes: NgSizes,
    *,
    vision_num_heads: int | None,
    games: Sequence[str],
) -> dict[str, Any]:
    """Describe the policy of an ng.pt.

    Args:
        config: Its `ckpt_config`, checked by `read_sizes`.
        sizes: From `read_sizes`.
        vision_num_heads: Attention heads of the encoder; None: as its name tells.
        games: Names by game id, from 1.

    Returns:
        What `NitroGen.from_settings` needs.

    Raises:
        ValueError: If a field is missing, or the encoder's heads are not known.
    """
    name = str(look_up(config, "model_cfg.vision_encoder_name"))
    vision = sizes.vision
    num_heads = vision_num_heads or find_num_heads(name, width=vision.width)
    if num_heads is None:
        raise ValueError(
            f"the encoder {name!r} with a width of {vision.width} does not tell its attention "
            "heads: give ng.vision_num_heads=N (in Python vision_num_heads=N)"
        )
    if num_heads < 1 or vision.width % num_heads:
        raise ValueError(f"vision_num_heads={num_heads} must divide the width {vision.width}")
    return {
        "format_version": FORMAT_VERSION,
        "policy": "NitroGen",
        "encoder": {
            "name": to_timm_name(name),
            "image_size": find_image_size(
                name, patch_size=vision.patch_size, grid_size=vision.grid_size
            ),
            "width": sizes.width,
            "num_frames": sizes.num_frames,
            "options": {
                "embed_dim": vision.width,
                "depth": vision.depth,
                "num_heads": num_heads,
                "mlp_ratio": vision.mlp_ratio,
                "patch_size": vision.patch_size,
                "act_layer": "gelu_tanh",
            },
        },
        "mixer": _read_transformer(config, _MIXER, sizes.width),
        "action_space": {"name": GAMEPAD.name, "controls": list(GAMEPAD.controls)},
        "action_horizon": read_integer(config, "model_cfg.action_horizon"),
        "games": list(games),
        "control_weights": {},
        "dit": {
            **_read_transformer(config, _DIT, sizes.width),
            "max_action_horizon": sizes.max_action_horizon,
        },
        "path_time": {
            "kind": "shifted_beta",
            "alpha": read_number(config, "model_cfg.noise_beta_alpha"),
            "beta": read_number(config, "model_cfg.noise_beta_beta"),
            "scale": read_number(config, "model_cfg.noise_s"),
        },
        "button_prediction": "velocity",
        "stick_prediction": "velocity",
        "condition_dropout": 0.0,
    }


def read_usage(config: Mapping[str, Any]) -> Usage:
    """Read how the policy of an ng.pt is used, as far as its config says it.

    An `action_shift` of 1 is not believed: `write_config` writes it for 0, too.

    Raises:
        ValueError: If a field is missing, or not a whole number.
    """
    shift = read_integer(config, "modality_cfg.action_shift", at_least=0)
    return Usage(
        action_offset=shift if shift > _LEAST_SHIFT else None,
        frame_stride=1 if read_integer(config, "modality_cfg.frame_per_sample") == 1 else None,
        num_sampling_steps=read_integer(config, "model_cfg.num_inference_timesteps"),
    )


def tells_games(config: Mapping[str, Any]) -> bool:
    """Say whether the policy of an ng.pt is told the game."""
    return look_up(config, "tokenizer_cfg.game_mapping_cfg") is not None


def write_config(
    settings: Mapping[str, Any], vision: VisionSizes, *, experiment_name: str, usage: Usage
) -> dict[str, Any]:
    """Describe a policy as the public code reads it, the inverse of `read_settings`.

    Args:
        settings: Of a `NitroGen` that an ng.pt can hold.
        vision: Sizes of its encoder.
        experiment_name: What the checkpoint is called.
        usage: With an `action_offset`. The public code knows no 0, and its player does not use
            the value: 1 is written for it.
    """
    horizon, width = settings["action_horizon"], settings["dit"]["width"]
    path_time = settings["path_time"]
    return {
        "experiment_name": experiment_name,
        "model_cfg": {
            "model_type": "nitrogen",
            **_MODEL,
            "model_dtype": "float32",
            "diffusion_model_cfg": {
                **_write_transformer(settings["dit"]),
                **_DIT_ALONE,
                "output_dim": width,
            },
            "vl_self_attention_cfg": {
                **_write_transformer(settings["mixer"]),
                "output_dim": 26,
                "interleave_self_attention": False,
            },
            "hidden_size": width,
            "max_seq_len": settings["dit"]["max_action_horizon"],
            "action_horizon": horizon,
            "noise_beta_alpha": path_time["alpha"],
            "noise_beta_beta": path_time["beta"],
            "noise_s": path_time["scale"],
            "num_inference_timesteps": usage.num_sampling_steps or 16,
            "vision_encoder_name": to_hf_name(settings["encoder"]["name"]),
            "vision_hidden_size": width,
            "tune_vision_tower": True,
            "tune_mm_projector": True,
            "tune_diffusion_model": True,
            "tune_multi_projector": True,
            "tune_vl_mixing": True,
        },
        "tokenizer_cfg": {
            "tokenizer_id": "nitrogen",
            "training": True,
            "num_visual_tokens_per_frame": vision.num_tokens,
            "max_action_dim": GAMEPAD.action_dim,
            "max_sequence_length": vision.num_tokens,
            "action_horizon": horizon,
            "game_mapping_cfg": None,
            "old_layout": False,
        },
        "modality_cfg": {
            "frame_per_sample": 1,
            "frame_spacing": horizon,
            "action_per_chunk": horizon,
            "action_shift": max(_LEAST_SHIFT, usage.action_offset or 0),
            **_MODALITY,
        },
    }


def _count_layers(config: Mapping[str, Any], part: str) -> int:
    return read_integer(config, f"{part}.num_layers", at_least=0, at_most=_MAX_LAYERS)


def _read_transformer(config: Mapping[str, Any], part: str, width: int) -> dict[str, Any]:
    return {
        "width": width,
        "num_heads": read_integer(config, f"{part}.num_attention_heads"),
        "num_layers": _count_layers(config, part),
        "dropout": read_number(config, f"{part}.dropout"),
    }


def _write_transformer(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_attention_heads": settings["num_heads"],
        "attention_head_dim": settings["width"] // settings["num_heads"],
        "num_layers": settings["num_layers"],
        "dropout": settings["dropout"],
        **_TRANSFORMER,
        **_UNREAD_TRANSFORMER,
    }
