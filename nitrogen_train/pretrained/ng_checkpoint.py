"""The released checkpoint, ng.pt, read into our settings and weights.

An ng.pt is what `torch.save` makes of {"model": tensors, "ckpt_config": plain values, "step",
"epoch"}. What our settings do not hold is kept as its header, so that `ng_export` can write
back, bit for bit, what was read.
"""

import json
import pickle
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nitrogen_train.pretrained.folder import PolicyFiles
from nitrogen_train.pretrained.ng_config import (
    read_settings,
    read_sizes,
    read_usage,
    tells_games,
)
from nitrogen_train.pretrained.ng_tensors import (
    GAME_TABLE,
    POSITION_IDS_NAME,
    VISION_PREFIX,
    ng_rules,
)
from nitrogen_train.pretrained.places import refuse_what_torch_cannot_read
from nitrogen_train.pretrained.policy_config import PolicyConfig
from nitrogen_train.pretrained.siglip import measure_tower
from nitrogen_train.pretrained.tensor_rules import refuse_non_finite, to_our_names

_KEPT_EXACTLY = (torch.float32, torch.bfloat16, torch.float16)
_ENTRIES = {"model", "ckpt_config", "step", "epoch"}
# What damaged or hostile bytes raise inside `torch.load`.
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, struct.error,
)  # fmt: skip


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
