"""Read the released checkpoint, ng.pt, into our settings and weights, and write it.

    ng.pt ─► header, settings, weights ─► policy
    policy, header ─► ng.pt, which the public code plays

An ng.pt is what `torch.save` makes of {"model": tensors, "ckpt_config": plain values, "step",
"epoch"}. What our settings do not hold is kept as its header, so that what was read is written back
bit for bit.
"""

import json
import logging
import pickle
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nitrogen_train.actions.space import GAMEPAD
from nitrogen_train.pretrained.ng_config import (
    read_settings,
    read_sizes,
    read_usage,
    tells_games,
    write_config,
)
from nitrogen_train.pretrained.ng_tensors import (
    GAME_TABLE,
    NETWORK_PREFIX,
    POSITION_IDS_NAME,
    VISION_PREFIX,
    ng_rules,
)
from nitrogen_train.pretrained.places import PolicyConfig, Usage, refuse_what_torch_cannot_read
from nitrogen_train.pretrained.policy_folder import PolicyFiles
from nitrogen_train.pretrained.siglip import measure_timm_tower, measure_tower
from nitrogen_train.pretrained.siglip_names import (
    find_num_heads,
    find_untold_heads,
    is_published,
    to_hf_name,
)
from nitrogen_train.pretrained.tensor_rules import refuse_non_finite, to_our_names, to_their_names

_KEPT_EXACTLY = (torch.float32, torch.bfloat16, torch.float16)
_ENTRIES = {"model", "ckpt_config", "step", "epoch"}
# What damaged or hostile bytes raise inside `torch.load`.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, struct.error,
)  # fmt: skip

_log = logging.getLogger(__name__)


def read_ng_file(
    path: Path, *, vision_num_heads: int | None, games: Sequence[str] | None
) -> PolicyFiles:
    """Read an ng.pt; nothing in it is run.

    Args:
        path: The file.
        vision_num_heads: Attention heads of its encoder; None: as the encoder's name tells.
        games: Names by game id, from 1, of a checkpoint that tells games apart: it holds their
            number, but not their names.

    Raises:
        ValueError: If it is damaged, holds more than plain values, or is not a `NitroGen`.
    """
    checkpoint = _load_plain(path)
    state = _take_state(checkpoint.pop("model"), path)
    try:
        header = json.loads(json.dumps(checkpoint, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold plain values besides its tensors: {error}") from error
    config = header["ckpt_config"]
    names = _name_games(config, state, games)
    vision = measure_tower(state, prefix=VISION_PREFIX, where=str(path))
    sizes = read_sizes(config, vision, num_games=len(names))
    settings = read_settings(config, sizes, vision_num_heads=vision_num_heads, games=names)
    rules = ng_rules(sizes, has_position_ids=POSITION_IDS_NAME in state)
    ours = to_our_names(rules, state, where=str(path))
    refuse_non_finite(state, where=str(path))
    header["dtypes"] = {
        name: str(tensor.dtype).removeprefix("torch.")
        for name, tensor in state.items()
        if tensor.dtype != torch.float32
    }
    known = PolicyConfig(settings=settings, usage=read_usage(config), ng_header=header)
    return PolicyFiles(config=known, state=ours)


def _load_plain(path: Path) -> dict[str, Any]:
    refuse_what_torch_cannot_read(path)
    try:
        # torch warns of oddities, which are refused here or harmless.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # torch goes on to advise against its own protection.
        reason = reason.partition(" In PyTorch 2.6")[0]
        if blocked := re.search(r"GLOBAL (\S+)", str(error)):
            reason = f"it names {blocked[1]}, which is code"
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and plain values, and nothing of it "
            f"was run: {reason}"
        ) from error
    entries = set(checkpoint) if isinstance(checkpoint, dict) else set()
    if not {"model", "ckpt_config"} <= entries <= _ENTRIES:
        got = ", ".join(sorted(map(str, entries))[:8]) or f"a {type(checkpoint).__name__}"
        raise ValueError(
            f"{path} does not have the layout of an ng.pt: expected model, ckpt_config, step and "
            f"epoch, got {got}"
        )
    return checkpoint


def _take_state(model: object, path: Path) -> dict[str, Tensor]:
    """Check that a state dict is one, of numbers that float32 holds exactly.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(model, dict) or not all(isinstance(name, str) for name in model):
        raise ValueError(f"{path}: model must be a state dict, names to tensors")
    for name, tensor in model.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta or tensor.layout != torch.strided:
            raise ValueError(f"{path}: {name} must be an ordinary tensor, got {type(tensor)}")
        if tensor.dtype not in _KEPT_EXACTLY and name != POSITION_IDS_NAME:
            raise ValueError(
                f"{path}: {name} is of {tensor.dtype}, expected float32, bfloat16 or float16"
            )
    return {name: tensor.detach() for name, tensor in model.items()}


def _name_games(
    config: Mapping[str, Any], state: Mapping[str, Tensor], games: Sequence[str] | None
) -> Sequence[str]:
    if not tells_games(config):
        if games:
            raise ValueError("the checkpoint is not told the game: leave games out")
        return ()
    table = state.get(GAME_TABLE)
    num_games = 0 if table is None or not table.ndim else max(0, len(table) - 1)
    if games is None or len(games) != num_games or not games:
        raise ValueError(
            f"the checkpoint tells {num_games} games apart (tokenizer_cfg.game_mapping_cfg), but "
            "their names are not in it: give ng.games=[...], in the order of their ids (in Python "
            "games=[...])"
        )
    return games


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
