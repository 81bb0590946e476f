"""A policy as an ng.pt, which the public code plays: the inverse of `ng_checkpoint`."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nitrogen_train.actions.space import GAMEPAD
from nitrogen_train.pretrained.ng_config import read_sizes, write_config
from nitrogen_train.pretrained.ng_tensors import (
    GAME_TABLE,
    NETWORK_PREFIX,
    POSITION_IDS_NAME,
    ng_rules,
)
from nitrogen_train.pretrained.policy_config import Usage
from nitrogen_train.pretrained.siglip import measure_timm_tower
from nitrogen_train.pretrained.siglip_names import (
    find_num_heads,
    find_untold_heads,
    is_published,
    to_hf_name,
)
from nitrogen_train.pretrained.tensor_rules import refuse_non_finite, to_their_names

_log = logging.getLogger(__name__)


def build_ng_header(
    settings: Mapping[str, Any],
    state: Mapping[str, Tensor],
    *,
    experiment_name: str,
    step: int,
    usage: Usage,
) -> dict[str, Any]:
    """Describe a policy that does not come from an ng.pt as one.

    Args:
        settings: Of the policy.
        state: Its weights.
        experiment_name: What the checkpoint is called.
        step: Optimizer steps that it was trained.
        usage: With an `action_offset`.

    Raises:
        ValueError: If the public code cannot compute the policy; the message says why.
    """
    _refuse_unknown_to_public_code(settings, state)
    vision = measure_timm_tower(state, prefix=NETWORK_PREFIX, where="the encoder")
    config = write_config(settings, vision, experiment_name=experiment_name, usage=usage)
    name, encoder = config["model_cfg"]["vision_encoder_name"], settings["encoder"]
    if not is_published(
        name, width=vision.width, depth=vision.depth, image_size=encoder["image_size"]
    ):
        options = list_options(settings, Usage())
        _log.warning(
            "the encoder's sizes are not those of %s, so the public player cannot build it; our "
            "commands can%s",
            name,
            f", with {options[0]}" if options else "",
        )
    return {"ckpt_config": config, "step": step, "epoch": 0, "dtypes": {}}


def list_options(settings: Mapping[str, Any], usage: Usage) -> list[str]:
    """List what our commands must be given besides an ng.pt, since it does not tell all of it.

    Args:
        settings: Of the policy.
        usage: Of the policy.

    Returns:
        Settings as KEY=VALUE.
    """
    encoder = settings["encoder"]
    options = {
        "ng.vision_num_heads": find_untold_heads(
            encoder["name"],
            width=encoder["width"],
            num_heads=encoder["options"].get("num_heads"),
        ),
        "action_offset": usage.action_offset,
    }
    return [f"{key}={value}" for key, value in options.items() if value is not None]


def build_ng_checkpoint(
    state: Mapping[str, Tensor], ng_header: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a policy into the form that `torch.save` makes an ng.pt of.

    Args:
        state: The policy's weights, in our names.
        ng_header: From `read_ng_file` or `build_ng_header`.

    Raises:
        ValueError: If the weights do not fit the header, or the layout has no place for one.
    """
    header = dict(ng_header)
    dtypes: dict[str, str] = header.pop("dtypes")
    num_games = max(0, len(state.get(GAME_TABLE, ())) - 1)
    vision = measure_timm_tower(state, prefix=NETWORK_PREFIX, where="the encoder")
    sizes = read_sizes(header["ckpt_config"], vision, num_games=num_games)
    rules = ng_rules(sizes, has_position_ids=POSITION_IDS_NAME in dtypes)
    theirs = to_their_names(rules, state, where="the policy")
    refuse_non_finite(theirs, where="the policy")
    model = {
        name: _pack(tensor, dtype=dtypes.get(name, "float32")) for name, tensor in theirs.items()
    }
    return {"model": model, **header}


def _pack(tensor: Tensor, *, dtype: str) -> Tensor:
    # A copy, since a view would be written with the whole tensor behind it.
    packed = tensor.detach().to(device="cpu", dtype=getattr(torch, dtype))
    return packed.clone(memory_format=torch.contiguous_format)


def _refuse_unknown_to_public_code(
    settings: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Name the first reason for which the public code cannot compute a policy.

    Raises:
        ValueError: If there is one.
    """
    encoder = settings["encoder"]
    name = to_hf_name(encoder["name"])
    num_heads = encoder["options"].get("num_heads")
    public_num_heads = find_num_heads(str(name), width=encoder["width"]) or num_heads
    predictions = {settings.get(f"{part}_prediction") for part in ("button", "stick")}
    reasons = {
        f"it is a {settings['policy']}, not a NitroGen": settings["policy"] != "NitroGen",
        f"its action space is {settings['action_space']['name']!r}, not {GAMEPAD.name!r}": (
            settings["action_space"]["name"] != GAMEPAD.name
        ),
        f"its encoder {encoder['name']!r} is not a SigLIP tower with a pooling head, as those of "
        "model=nitrogen and model=base": name is None,
        f"its encoder has {num_heads} heads, and {name} has {public_num_heads}": (
            num_heads not in {None, public_num_heads}
        ),
        "its encoder's GELU is exact; build it with act_layer: gelu_tanh": (
            encoder["options"].get("act_layer") != "gelu_tanh"
        ),
        "a linear map follows its encoder; build it with the encoder's own width": (
            "encoder.projection.weight" in state
        ),
        f"it observes {encoder['num_frames']} frames and tells them apart": (
            encoder["num_frames"] != 1
        ),
        "it predicts x_1 or logits, not velocities": predictions != {"velocity"},
        "it was trained on other path times than shifted_beta": (
            settings.get("path_time", {}).get("kind") != "shifted_beta"
        ),
        "it is told the game, and the names of games have no place in the file": (
            bool(settings["games"])
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(f"the policy cannot be written as an ng.pt: {reason}")
