"""Build the policy of a run: what it starts from, what its checkpoints hold, what it ends as."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from nitrogen_train.config import NgOptions, RunConfig, build, build_for_weights
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.ng_tensors import GAME_TABLE
from nitrogen_train.pretrained.places import (
    Usage,
    find_last_checkpoint,
    find_place,
    read_run_config,
)
from nitrogen_train.pretrained.read_policy import read_policy
from nitrogen_train.training.checkpoints import read_checkpoint, read_weights

_log = logging.getLogger(__name__)


def start_policy(config: RunConfig) -> VisualPolicy:
    """Build the policy that a run trains, with the weights of `init_from` if it is given.

    A run that goes on has its own weights, and asks for no others.

    Raises:
        ValueError: If these are the weights of another network, or the policy tells other games
            apart than the data do.
    """
    if config.init_from is None:
        policy: VisualPolicy = build(config.model)
    else:
        # Its weights replace those that the encoder would fetch.
        policy = build_for_weights(config.model)
    games = tuple(config.data.games)
    if policy.games and policy.games[: len(games)] != games:
        raise ValueError(
            f"model.games={list(policy.games)} must begin with data.games={list(games)}, in the "
            "same order: the rows of the game table follow it"
        )
    has_begun = find_last_checkpoint(Path(config.output_dir) / "checkpoints") is not None
    if config.init_from is not None and not has_begun:
        initialize(policy, config.init_from, ng=config.ng, trained_games=games)
    return policy


def initialize(
    policy: VisualPolicy, init_from: str, *, ng: NgOptions, trained_games: Sequence[str]
) -> None:
    """Put another policy's weights into one of the same network, rows of games by their names.

    Args:
        policy: What is to be trained.
        init_from: A policy, a run or a checkpoint.
        ng: What an ng.pt may not say of itself.
        trained_games: Those of the data.

    Raises:
        ValueError: If these are the weights of another network.
    """
    settings, state = _read_start(init_from, ng)
    theirs, ours = _describe_network(settings), _describe_network(policy.settings)
    if differing := [
        f"{key}: {theirs.get(key)} there, {ours[key]} here"
        for key in ours
        if ours[key] != theirs.get(key)
    ]:
        raise ValueError(
            f"init_from={init_from} was trained as another network ({'; '.join(differing)}); make "
            "model=… the same"
        )
    if policy.games and GAME_TABLE in state:
        known = settings["games"]
        state = state | {GAME_TABLE: _match_rows(state[GAME_TABLE], known, policy.games)}
        _log.info("%s", _describe_rows(known, policy.games, trained_games))
    try:
        policy.load_state_dict(state)
    except RuntimeError as error:
        first_problem = str(error).splitlines()[1].strip()
        raise ValueError(
            f"init_from={init_from} does not hold the weights of this model; make model=… what it "
            f"was trained as: {first_problem[:300]}"
        ) from error


def load_checkpoint(checkpoint: Path, *, averaged: bool = True) -> VisualPolicy:
    """Rebuild a run's policy with the weights of one of its checkpoints.

    Args:
        checkpoint: In its run's folder.
        averaged: The moving average, which validation and evaluation use; else those in training.
    """
    run_dir = checkpoint.parent.parent
    # Plain, so that a run of a version with other keys is read, too.
    config = read_run_config(run_dir)
    weights = read_weights(read_checkpoint(checkpoint), averaged=averaged)
    return _rebuild(config, weights, run_dir=run_dir)


def save_policy(config: RunConfig, weights: dict[str, Tensor], folder: Path) -> None:
    """Write a policy; the one in training may lie in pieces on many ranks."""
    policy = _rebuild(asdict(config), weights, run_dir=Path(config.output_dir))
    policy.save_pretrained(folder)


def _rebuild(
    config: Mapping[str, Any], weights: dict[str, Tensor], *, run_dir: Path
) -> VisualPolicy:
    policy: VisualPolicy = build_for_weights(config["model"])
    policy.load_state_dict(weights)
    data, facts_path = config["data"], run_dir / "data.yaml"
    # Not there before a run's first start, and in runs of older versions without the rate.
    facts = yaml.safe_load(facts_path.read_text(encoding="utf-8")) if facts_path.is_file() else {}
    policy.usage = Usage(
        action_offset=data.get("action_offset"),
        frame_stride=data.get("frame_stride"),
        action_hz=data.get("action_hz") or facts.get("action_hz"),
        num_sampling_steps=config.get("num_sampling_steps"),
    )
    return policy


def _read_start(init_from: str, ng: NgOptions) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a policy's settings and weights; of a checkpoint the averaged ones."""
    place = find_place(init_from)
    if place is not None and place.kind == "checkpoint":
        policy = load_checkpoint(place.path)
        return policy.settings, policy.state_dict()
    files = read_policy(init_from, vision_num_heads=ng.vision_num_heads, games=ng.games)
    return files.config.settings, files.state


def _match_rows(table: Tensor, known: Sequence[str], games: Sequence[str]) -> Tensor:
    """Arrange the rows of a game table by name; a new game has the unconditional one."""
    ids = [known.index(game) + 1 if game in known else 0 for game in games]
    return table[torch.tensor([0, *ids])]


def _describe_rows(known: Sequence[str], games: Sequence[str], trained: Sequence[str]) -> str:
    """Say what became of each game; `games` begin with the trained ones."""
    groups = {
        "from the unconditional row": [game for game in games if game not in known],
        "from their own rows": [game for game in games if game in known and game in trained],
        "kept, though no data train them": [game for game in games if game not in trained],
        "dropped": [game for game in known if game not in games],
    }
    return "games " + "; ".join(
        f"{what}: {', '.join(names)}" for what, names in groups.items() if names
    )


def _describe_network(settings: dict[str, Any]) -> dict[str, Any]:
    """Name what weights mean, but their shapes do not show."""
    heads = {
        f"{part}.num_heads": settings[part]["num_heads"]
        for part in ("mixer", "dit")
        if "num_heads" in settings.get(part, {})
    }
    kinds = ("policy", "action_space", "button_prediction", "stick_prediction")
    return heads | {kind: settings[kind] for kind in kinds if kind in settings}
