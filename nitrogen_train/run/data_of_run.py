"""Open the data of a run or an evaluation by its config, and lay out a run's order."""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nitrogen_train.config import DataConfig, EvaluateConfig, RunConfig
from nitrogen_train.data.mixture import Source, load_sources, share_by_game
from nitrogen_train.data.order import Interleaving, WindowPlan
from nitrogen_train.data.range_cache import RangeCache
from nitrogen_train.data.schema import Split
from nitrogen_train.data.windows import WindowShape
from nitrogen_train.pretrained.places import find_last_checkpoint, read_run_config
from nitrogen_train.runtime.atomic_files import default_index_dir, describe_error, did_you_mean
from nitrogen_train.runtime.progress import pluralize

_log = logging.getLogger(__name__)
_NAMED_GAMES = 6
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def open_sources(data: DataConfig, *, split: Split) -> list[Source]:
    """Open the data sets of a run; for a run without validation, none to validate on."""
    if split == "val" and not data.num_val_windows:
        return []
    window = WindowShape(
        num_frames=data.num_frames,
        frame_stride=data.frame_stride,
        action_horizon=data.action_horizon,
        action_offset=data.action_offset,
        action_hz=data.action_hz,
    )
    return load_sources(data.sources, split=split, window=window, **_find_caches(data))


def open_datasets(config: EvaluateConfig, window: WindowShape) -> dict[Split, list[Source]]:
    """Open the data sets of an evaluation, by split.

    Raises:
        ValueError: If one cannot be opened, lacks a split, or has other rates than asked for.
        FileNotFoundError: If there is none in a folder.
    """
    named, caches = read_datasets(config), _find_caches(config)
    open_split = partial(load_sources, named, window=window, setting="datasets", **caches)
    return {"train": open_split(split="train"), "val": open_split(split="val")}


def read_datasets(config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """Read the data sets of an evaluation as `data.sources` would name them.

    Rates may differ: clips are reduced to the policy's rate, if that is known.

    Raises:
        ValueError: If they are neither a list nor a mapping.
    """
    named = config.datasets or {}
    if isinstance(named, list):
        if groups := [each for each in named if isinstance(each, dict | list)]:
            raise ValueError(
                f"datasets holds {groups[0]}: a list is of folders and URLs alone, for more give "
                "+datasets.NAME.path=FOLDER and the like"
            )
        if repeated := {str(each) for each in named if named.count(each) > 1}:
            raise ValueError(f"datasets names {sorted(repeated)[0]} twice")
        named = {str(place): {"path": path} for place, path in enumerate(named)}
    if not isinstance(named, dict):
        raise ValueError(f"datasets={named}: expected a list, datasets=[{named}]")
    sources: dict[str, dict[str, Any]] = {}
    for name, values in named.items():
        if not isinstance(values, dict):
            raise ValueError(
                f"datasets.{name} is a group of settings: give +datasets.{name}.path={values}"
            )
        parts = [f"({part})" for part in (config.where, values.get("where")) if part]
        sources[name] = {"any_fps": True, **values, "where": " and ".join(parts) or None}
    return sources


def _find_caches(config: DataConfig | EvaluateConfig) -> dict[str, Any]:
    cache = None
    if config.cache_dir is not None:
        try:
            cache = RangeCache(Path(config.cache_dir), max_bytes=int(config.cache_gib * 2**30))
        except OSError as error:
            key = "data.cache_dir" if isinstance(config, DataConfig) else "cache_dir"
            raise ValueError(
                f"{key}={config.cache_dir} cannot be written: {describe_error(error)}"
            ) from error
    index_dir = default_index_dir() if config.index_dir is None else Path(config.index_dir)
    return {"index_dir": index_dir, "cache": cache}


def build_plan(config: RunConfig) -> WindowPlan:
    """Open the training clips of a run, and lay out their order; no shard is read."""
    return WindowPlan(open_sources(config.data, split="train"), _interleave(config))


def _interleave(config: RunConfig) -> Interleaving:
    data = config.data
    try:
        return Interleaving(
            global_batch_size=data.global_batch_size,
            lane_groups=data.lane_groups,
            windows_per_visit=data.windows_per_visit,
            seed=config.seed,
        )
    except ValueError as error:
        raise ValueError(f"data.{error}") from error


def choose_games(config: RunConfig) -> list[str]:
    """Name the games that a policy is told apart, and check the data on the way; no shard is read.

    A run that goes on keeps its own. Otherwise it is those that were given, or all of the data.

    Returns:
        The games by id, from 1.

    Raises:
        ValueError: If a game that was given is none of the data's, the data is of another action
            space, there is nothing to train or to validate on, or no order can be as asked.
    """
    data = config.data
    _interleave(config)
    sources = open_sources(data, split="train")
    for source in sources:
        space = source.manifest.action_space.name
        if space != data.action_space:
            raise ValueError(
                f"data.sources.{source.name} holds actions of {space}, and data.action_space is "
                f"{data.action_space}: give data.action_space={space}"
            )
    open_sources(data, split="val")
    shares = share_by_game(sources)
    run_dir = Path(config.output_dir)
    if not data.games and find_last_checkpoint(run_dir / "checkpoints") is not None:
        games = read_run_config(run_dir)["data"]["games"]
    else:
        _refuse_unknown_games(data.games, shares)
        games = data.games or sorted(shares)
    _warn_of_untold_games(games, shares)
    if is_first_rank():
        _log.info("run folder %s: %s", run_dir, _describe_work(config, sources))
    return games


def is_first_rank() -> bool:
    """Tell whether this process is the one that speaks for all; before torch knows."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def _describe_work(config: RunConfig, sources: Sequence[Source]) -> str:
    counts = [count for source in sources for count in source.table.game_counts if count.num_clips]
    names = sorted({count.game for count in counts})
    more = ", …" if len(names) > _NAMED_GAMES else ""
    hours = sum(count.hours for count in counts)
    time = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
    clips = pluralize(sum(count.num_clips for count in counts), "clip")
    return (
        f"{clips} to train on ({time}) of {', '.join(names[:_NAMED_GAMES])}{more}; "
        f"{pluralize(config.max_steps, 'step')} of {config.data.global_batch_size} samples"
    )


def _refuse_unknown_games(games: list[str], shares: Mapping[str, float]) -> None:
    """Refuse a game that the data does not have.

    Raises:
        ValueError: Which game, and those that there are.
    """
    there = ", ".join(sorted(shares))
    for game in games:
        if game not in shares:
            hint = did_you_mean(game, shares, lead=", ", otherwise=";")
            raise ValueError(
                f"data.games: no clip to train on is of {game!r}{hint} the data has {there}; leave "
                "data.games out to take them all"
            )


def _warn_of_untold_games(games: list[str], shares: Mapping[str, float]) -> None:
    untold = sorted(shares.keys() - set(games)) if games else []
    if untold and is_first_rank():
        _log.warning(
            "the policy is not told %s, %.3g %% of the samples: not in data.games",
            ", ".join(untold),
            100 * sum(shares[game] for game in untold),
        )
