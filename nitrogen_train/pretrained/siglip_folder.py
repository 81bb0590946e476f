"""SigLIP's weights as Hugging Face's `SiglipVisionModel.save_pretrained` writes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nitrogen_train.pretrained.siglip import POSITION_IDS, VisionSizes, tower_rules
from nitrogen_train.pretrained.tensor_rules import refuse_non_finite, to_our_names

_PREFIX = "vision_model."
# The rest of a whole SigLIP model.
_NOT_VISION = ("text_model.", "logit_scale", "logit_bias")
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


def read_siglip_folder(
    path: Path, *, sizes: VisionSizes, num_heads: int, activation: str, has_head: bool
) -> dict[str, Tensor]:
    """Read a tower's weights, in timm's names.

    Args:
        path: A folder with `model.safetensors`, of a vision tower or of a whole SigLIP model; its
            `config.json` is compared if it is there.
        sizes: That the weights must have.
        num_heads: Attention heads that they must be meant for.
        activation: timm's name of the nonlinearity that they must be meant for.
        has_head: Whether the pooling head is wanted.

    Raises:
        FileNotFoundError: If there are no weights.
        ValueError: If they are damaged, of other sizes or meant for another network.
    """
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"no SigLIP weights in {path}: expected model.safetensors, as "
            "SiglipVisionModel.save_pretrained writes it"
        )
    _check_config(path / "config.json", num_heads=num_heads, activation=activation)
    try:
        with safe_open(weights, framework="pt") as file:
            names = list(file.keys())
            prefix = _PREFIX if any(name.startswith(_PREFIX) for name in names) else ""
            unused = _NOT_VISION if prefix else ()
            unused = unused if has_head else (*unused, f"{prefix}head.")
            state = {name: file.get_tensor(name) for name in names if not name.startswith(unused)}
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged: {error}; download it again") from error
    rules = tower_rules(
        sizes,
        theirs=prefix,
        ours="",
        has_head=has_head,
        has_position_ids=f"{prefix}{POSITION_IDS}" in state,
    )
    ours = to_our_names(list(rules), state, where=str(weights))
    refuse_non_finite(ours, where=str(weights))
    return ours


def _check_config(path: Path, *, num_heads: int, activation: str) -> None:
    """Compare a config with the network; what it leaves out has the base size's value.

    Raises:
        ValueError: If they contradict each other.
    """
    if not path.is_file():
        return
    try:
        config: Any = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; download it again") from error
    vision = config.get("vision_config", config) if isinstance(config, Mapping) else None
    if not isinstance(vision, Mapping):
        raise ValueError(f"{path} is not the config of a SigLIP tower: expected a JSON object")
    found = {
        "num_attention_heads": (vision.get("num_attention_heads", 12), num_heads),
        "hidden_act": (
            _ACTIVATIONS.get(str(vision.get("hidden_act", "gelu_pytorch_tanh"))),
            activation,
        ),
        "layer_norm_eps": (vision.get("layer_norm_eps", 1e-6), 1e-6),
    }
    for key, (theirs, ours) in found.items():
        if theirs != ours:
            raise ValueError(
                f"{path} says {key}={vision.get(key)}, but the network is built with {ours}: "
                "choose the network of these weights, and its options num_heads and act_layer"
            )
