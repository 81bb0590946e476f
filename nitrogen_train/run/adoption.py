"""Take over another policy's settings into a new run, for `init_from`; no torch.

    config of the run ─┐
                       ├─► the other policy's network, this run's games and training ─► config.yaml
    init_from ─────────┘

The command line may change what the weights do not depend on, and nothing else. A run that has
begun asks its own folder.
"""

import copy
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from nitrogen_train.pretrained.places import (
    CONFIG,
    KINDS,
    NG_FILE,
    Place,
    PolicyConfig,
    Usage,
    check_policy,
    find_last_checkpoint,
    iter_settings,
    read_policy_config,
    read_run_config,
    refuse_what_torch_cannot_read,
)

_log = logging.getLogger(__name__)

_PARTS = {
    "encoder": "nitrogen_train.models.encoder.VisionEncoder",
    "mixer": "nitrogen_train.models.dit.Mixer",
    "dit": "nitrogen_train.models.dit.DiT",
}
_PATH_TIMES = {
    "shifted_beta": "nitrogen_train.flow.times.ShiftedBeta",
    "uniform": "nitrogen_train.flow.times.Uniform",
    "logit_normal": "nitrogen_train.flow.times.LogitNormal",
}
_EYES = ("encoder", "mixer")
"""Parts of the network that a file of `conf/model/vision` sets."""
_TRAINING = ("control_weights", "condition_dropout")
"""Settings of a model's node that are the run's own, however the other policy was trained."""
_TARGET = "model._target_"
_FREE = re.compile(r"model\.(.+\.dropout|path_time\..+|stick_error)")
"""Weights mean the same whatever it is."""
_FROM_DATA = {
    f"model.{key}"
    for key in (
        "encoder.image_size", "encoder.num_frames", "action_space", "action_horizon", "games"
    )
}  # fmt: skip
"""Settings of a model's node that `data` states."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The policy that a run starts from."""

    model: dict[str, Any]
    """Its node, as in `conf/model`."""
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class Typed:
    """An override of the command line."""

    text: str
    place: str
    """Place that the word sets, such as `model.dit.num_heads`."""
    is_group: bool
    """True if it chooses a file of `conf`, which sets all below its place."""

    def covers(self, place: str) -> bool:
        """Say whether it sets a value."""
        return place == self.place or place.startswith(f"{self.place}.")


def adopt_policy(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Put the network of `init_from`, and the windows that it sees, into a run's config.

    Args:
        cfg: Of the run, composed. Without `init_from` it stays as it is.
        overrides: What was typed, as Hydra has it.

    Raises:
        FileNotFoundError: If there is no such policy.
        ValueError: If it cannot be read, or what was typed contradicts it; the message says which.
    """
    if not cfg.init_from:
        return
    origin, typed = _find_origin(cfg), list(_list_typed(overrides))
    composed: Any = OmegaConf.to_container(cfg, resolve=True)
    model = _adopt_network(composed, origin.model, typed)
    model["games"] = _adopt_games(composed, origin.model, typed)
    window = {
        "image_size": model["encoder"]["image_size"],
        "num_frames": model["encoder"].get("num_frames", 1),
        "action_space": model["action_space"],
        "action_horizon": model["action_horizon"],
    }
    for key, theirs in window.items():
        _compare(f"data.{key}", composed, theirs, typed)
    for key in ("action_offset", "frame_stride"):
        if key in origin.usage.known and _find_typed(f"data.{key}", typed) is None:
            window[key] = origin.usage.known[key]
    steps = origin.usage.num_sampling_steps
    with open_dict(cfg):
        cfg.model = model
        if steps is not None and _find_typed("num_sampling_steps", typed) is None:
            cfg.num_sampling_steps = steps
        cfg.data = OmegaConf.merge(cfg.data, window)


def adopt_games(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Name the games of the data first, then those that the policy knew besides; and say so.

    Args:
        cfg: After `adopt_policy`, with the games of the data.
        overrides: What was typed.
    """
    if not cfg.init_from:
        return
    chosen = _find_typed("model.games", list(_list_typed(overrides)))
    if cfg.model.games and (chosen is None or chosen.is_group):
        games = list(cfg.data.games)
        cfg.model.games = [*games, *(game for game in cfg.model.games if game not in games)]
    _log.info("init_from=%s: %s", cfg.init_from, _describe(cfg))


def to_node(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write a policy's settings as a node of `conf/model`, whose building gives them back.

    Raises:
        ValueError: If they are of no kind that this version knows.
    """
    kind = settings.get("policy")
    if kind not in KINDS:
        raise ValueError(f"a policy of the kind {kind!r}; known: {', '.join(KINDS)}")
    try:
        node = {"_target_": KINDS[kind], **settings}
        del node["format_version"], node["policy"]
        for part in _PARTS.keys() & node.keys():
            node[part] = {"_target_": _PARTS[part], **node[part]}
        node["encoder"]["pretrained"] = False
        node["action_space"] = node["action_space"]["name"]
        if "path_time" in node:
            times = dict(node["path_time"])
            node["path_time"] = {"_target_": _PATH_TIMES[times.pop("kind")], **times}
    except (KeyError, TypeError) as error:
        raise ValueError(f"the settings do not describe a policy: {error!r}") from error
    return node


def _find_origin(cfg: DictConfig) -> Origin:
    """Read what the run starts from: itself, once it has begun.

    Raises:
        ValueError: If the run in the folder has begun from something else.
    """
    if find_last_checkpoint(Path(cfg.output_dir) / "checkpoints") is None:
        return _read_origin(cfg.init_from, cfg.ng)
    config = read_run_config(Path(cfg.output_dir))
    if not _is_same_origin(config.get("init_from"), cfg.init_from):
        raise ValueError(
            f"the run in {cfg.output_dir} started from init_from={config.get('init_from')}: "
            "restore it to continue, or start a new run in another output_dir"
        )
    return _origin_of_run(config)


def _is_same_origin(before: str | None, now: str) -> bool:
    return before is not None and (before == now or Path(before).resolve() == Path(now).resolve())


def _read_origin(init_from: str, ng: DictConfig) -> Origin:
    place = check_policy("init_from", init_from)
    if place is not None and place.kind == "checkpoint":
        return _origin_of_run(read_run_config(place.run_dir))
    known = _read_config(init_from, place, ng)
    try:
        return Origin(model=to_node(known.settings), usage=known.usage)
    except ValueError as error:
        raise ValueError(f"init_from={init_from} holds {error}") from error


def _read_config(init_from: str, place: Place | None, ng: DictConfig) -> PolicyConfig:
    """Read a policy's config; a folder's needs no torch."""
    if place is None:
        # Only now, it takes a while to import.
        from nitrogen_train.pretrained.hub import download_file

        found = download_file(init_from, CONFIG, NG_FILE)
        place = Place(kind="folder" if found.name == CONFIG else "ng", path=found)
    if place.kind == "folder":
        return read_policy_config(place.path)
    refuse_what_torch_cannot_read(place.path)
    from nitrogen_train.pretrained.ng_pt import read_ng_file

    return read_ng_file(
        place.path, vision_num_heads=ng.vision_num_heads, games=ng.games and list(ng.games)
    ).config


def _origin_of_run(config: Mapping[str, Any]) -> Origin:
    data = config["data"]
    usage = Usage(
        action_offset=data.get("action_offset"),
        frame_stride=data.get("frame_stride"),
        num_sampling_steps=config.get("num_sampling_steps"),
    )
    return Origin(model=config["model"], usage=usage)


def _list_typed(overrides: Sequence[str]) -> Iterator[Typed]:
    """Read what was typed, place by place."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        text, key, value = str(override.input_line), override.key_or_group, override.value()
        if key == "model/vision":
            yield from (Typed(text=text, place=f"model.{p}", is_group=True) for p in _EYES)
        elif isinstance(value, dict):
            for place, _ in iter_settings(value, key):
                yield Typed(text=text, place=place, is_group=False)
        else:
            is_group = "/" in key or (key == "model" and not override.is_delete())
            yield Typed(text=text, place=key.replace("/", "."), is_group=is_group)


def _find_typed(place: str, typed: Sequence[Typed]) -> Typed | None:
    """Find the last override that sets a value, a group only where the data do not say it."""
    found = [
        each for each in typed if each.covers(place) and not (each.is_group and place in _FROM_DATA)
    ]
    return found[-1] if found else None


def _adopt_network(
    composed: Mapping[str, Any], theirs: Mapping[str, Any], typed: Sequence[Typed]
) -> dict[str, Any]:
    """Take a node over, but for what the run may choose; games aside.

    Raises:
        ValueError: If something else was typed.
    """
    node, ours = copy.deepcopy(dict(theirs)), composed["model"]
    chooses_times = any(each.is_group and each.covers("model.path_time") for each in typed)
    if chooses_times and "path_time" in node and "path_time" in ours:
        node["path_time"] = ours["path_time"]
    # The kind first: its sizes say less.
    for place, value in sorted(iter_settings(ours, "model"), key=lambda leaf: leaf[0] != _TARGET):
        if _find_typed(place, typed) is None:
            continue
        if _FREE.fullmatch(place):
            _put(node, place.split(".")[1:], value)
        elif not place.startswith(tuple(f"model.{key}" for key in ("games", *_TRAINING))):
            _compare(place, composed, _look_up({"model": theirs}, place), typed)
    return node | {key: ours[key] for key in _TRAINING if key in ours and key in theirs}


def _adopt_games(
    composed: Mapping[str, Any], theirs: Mapping[str, Any], typed: Sequence[Typed]
) -> list[str]:
    """List the games of the new policy: those of the data, then those that it knew besides.

    Raises:
        ValueError: If games are typed of a policy that is not told the game, or none of one that
            is.
    """
    games, known = composed["data"]["games"] or [], theirs.get("games") or []
    chosen = _find_typed("model.games", typed)
    if chosen is None or chosen.is_group:
        return [*games, *(game for game in known if game not in games)] if known else []
    if bool(composed["model"]["games"]) != bool(known):
        _refuse(chosen, f"games={list(known)}", init_from=composed["init_from"])
    return composed["model"]["games"]


def _compare(
    place: str, composed: Mapping[str, Any], theirs: object, typed: Sequence[Typed]
) -> None:
    """Refuse another value than the policy's, if it was typed.

    Raises:
        ValueError: If it was.
    """
    override = _find_typed(place, typed)
    if override is not None and not _is_same(place, _look_up(composed, place), theirs):
        name = str(theirs).rpartition(".")[2] if place == _TARGET else repr(theirs)
        _refuse(override, f"{place}={name}", init_from=composed["init_from"])


def _refuse(override: Typed, theirs: str, *, init_from: str) -> None:
    """Refuse what was typed.

    Raises:
        ValueError: Always.
    """
    raise ValueError(
        f"{override.text} contradicts init_from={init_from}, whose policy has {theirs}: "
        "leave it out, or train without init_from"
    )


def _is_same(place: str, ours: object, theirs: object) -> bool:
    if place == "model.encoder.name":
        # timm's tag names the weights, not the network.
        ours, theirs = (str(name).partition(".")[0] for name in (ours, theirs))
    return ours == theirs


def _look_up(node: Any, place: str) -> Any:  # noqa: ANN401 - plain values
    for key in place.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _put(node: dict[str, Any], keys: Sequence[str], value: object) -> None:
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value


def _describe(cfg: DictConfig) -> str:
    data, games = cfg.data, ", ".join(cfg.model.games)
    return (
        f"a {cfg.model['_target_'].rpartition('.')[2]} that sees {data.num_frames} frame(s) of "
        f"{data.image_size}x{data.image_size} and predicts {data.action_horizon} rows of "
        f"{data.action_space}; {f'told the game: {games}' if games else 'not told the game'}"
    )
