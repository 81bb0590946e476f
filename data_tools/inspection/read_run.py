"""Tell what a run would read: which data, how often, in which order; no shard is read.

The run is one that has begun, or one that would be started.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Int64

from nitrogen_train.config import RunConfig, load_defaults, read_run
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import BatchShape, Share, WindowPlan
from nitrogen_train.data.windows import number_games

_BLOCK_SAMPLES = 2**14
"""Samples that are planned at once: enough that numpy's calls cost little."""
_MAX_SAMPLES = 2**22
"""Above it, every n-th step is counted."""
_MIXTURE_BLOCK = 2**18


def choose_run(
    *,
    datasets: Sequence[str] = (),
    mixture_path: Path | None = None,
    run_dir: Path | None = None,
    seed: int | None = None,
    **data: int | None,
) -> RunConfig:
    """Read or compose a run's config.

    Args:
        datasets: Folders or URLs, each a source of weight 1 that is named by its last part.
        mixture_path: Instead of these, a file with the mapping of `data.sources`.
        run_dir: Instead of these, the folder of a run, from which all is read.
        seed: In place of the run's.
        data: Fields of `DataConfig` in place of the run's; None leaves one as it is.

    Raises:
        ValueError: If not exactly one of the three is given, or it does not name sources.
        FileNotFoundError: If a file does not exist.
    """
    if sum((bool(datasets), mixture_path is not None, run_dir is not None)) != 1:
        raise ValueError("give data sets, or --mixture FILE, or --run FOLDER")
    config = load_defaults() if run_dir is None else read_run(run_dir)
    if mixture_path is not None:
        config.data.sources = _read_mixture(mixture_path)
    elif run_dir is None:
        config.data.sources = _name_sources(datasets)
    if seed is not None:
        config.seed = seed
    for name, value in data.items():
        if value is not None:
            setattr(config.data, name, value)
    return config


def _read_mixture(path: Path) -> dict[str, dict[str, Any]]:
    try:
        sources = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    is_mapping = isinstance(sources, Mapping) and all(
        isinstance(name, str) and isinstance(values, Mapping) for name, values in sources.items()
    )
    if not is_mapping or not sources:
        raise ValueError(
            f"{path} must hold what data.sources holds, such as `mine: {{path: FOLDER, weight: 2}}`"
        )
    return {name: dict(values) for name, values in sources.items()}


def _name_sources(datasets: Sequence[str]) -> dict[str, dict[str, Any]]:
    sources: dict[str, dict[str, Any]] = {}
    for dataset in datasets:
        name = Dataset(dataset).name
        if name in sources:
            raise ValueError(
                f"two data sets are named {name!r}; name their sources in a --mixture file"
            )
        sources[name] = {"path": dataset}
    return sources


def split_rank(
    global_batch_size: int, *, world_size: int, rank: int, accumulation: int | None, default: int
) -> Share:
    """Find what a rank builds of each step.

    Args:
        global_batch_size: Samples of one optimizer step.
        world_size: Ranks.
        rank: Which one.
        accumulation: Micro-batches of a rank in a step; None: as many as `default` implies.
        default: Samples of a micro-batch where `accumulation` does not say.

    Raises:
        ValueError: If the step cannot be split so.
    """
    if world_size < 1:
        raise ValueError(f"--world-size must be at least 1, got {world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"--rank must lie in [0, {world_size}), got {rank}")
    if accumulation is not None:
        shape = BatchShape.accumulate(
            global_batch_size,
            world_size=world_size,
            accumulation=accumulation,
            setting="--global-batch-size ",
        )
        return Share(shape=shape, rank=rank)
    try:
        shape = BatchShape(
            global_batch_size=global_batch_size, micro_batch_size=default, world_size=world_size
        )
    except ValueError as error:
        raise ValueError(f"{error}; or give --accumulation") from error
    return Share(shape=shape, rank=rank)


def iter_order(plan: WindowPlan, share: Share, *, start: int, num_steps: int) -> Iterator[str]:
    """Name a rank's windows in the order in which its loader delivers them.

    Args:
        plan: The order.
        share: The rank's part.
        start: The first optimizer step.
        num_steps: How many.

    Yields:
        A line of JSON for each sample; `slot` is its place in the micro-batch.

    Raises:
        ValueError: If a step is negative.
    """
    if start < 0 or num_steps < 0:
        raise ValueError(f"steps are counted from 0, got start={start} and {num_steps} steps")
    shape = share.shape
    micro_batches = range(shape.accumulation)
    per_block = max(1, _BLOCK_SAMPLES // shape.samples_per_process)
    for first in range(start, start + num_steps, per_block):
        steps = range(first, min(first + per_block, start + num_steps))
        pieces = [
            share.part(step, micro_batch, worker=0, num_workers=1)
            for step in steps
            for micro_batch in micro_batches
        ]
        places = (
            {"step": step, "micro_batch": micro_batch, "slot": slot}
            for step in steps
            for micro_batch in micro_batches
            for slot in range(shape.micro_batch_size)
        )
        window_ids = plan.window_ids(np.concatenate(pieces))
        for place, window_id in zip(places, window_ids, strict=True):
            yield json.dumps(place | window_id._asdict())


@dataclass(frozen=True, kw_only=True)
class Use:
    """A source, or a game of one, over the steps in question."""

    name: str
    num_clips: int
    """That are selected and of the training split."""
    num_windows: int
    hours: float
    """Hours of those clips' video."""
    share: float
    """Share of all planned samples."""
    passes: float
    """Number of times that each window comes, on average."""


@dataclass(frozen=True, kw_only=True)
class SourceUse(Use):
    """A source with its games."""

    path: str
    weight: float
    where: str | None
    """Clips that are in use, as a `Selection`; None: all of the training split."""
    games: list[Use]


@dataclass(frozen=True, kw_only=True)
class MixtureUse:
    """The clips that N steps take from a mixture."""

    global_batch_size: int
    num_steps: int
    num_steps_counted: int
    """Fewer where there are very many samples: every n-th."""
    sources: list[SourceUse]


def measure_use(plan: WindowPlan, *, num_steps: int) -> MixtureUse:
    """Count the planned samples of the first steps, without reading a shard.

    Args:
        plan: The mixture, and its order.
        num_steps: How many steps, at least 1.

    Raises:
        ValueError: If there is no step.
    """
    if num_steps < 1:
        raise ValueError(f"steps must be at least 1, got {num_steps}")
    batch = plan.interleaving.global_batch_size
    num_counted = min(num_steps, max(1, _MAX_SAMPLES // batch))
    steps = np.arange(num_counted) * num_steps // num_counted
    codes = {source.name: number_games(source.manifest) for source in plan.sources}
    counts = {name: np.zeros(len(games), np.int64) for name, (games, _) in codes.items()}
    for samples in _iter_samples(steps, batch):
        for _, source, located in plan.locate(samples):
            games, game_of_clip = codes[source.name]
            drawn = game_of_clip[located.clip]
            counts[source.name] += np.bincount(drawn, minlength=len(games))
    num_samples, sources = num_steps * batch, list[SourceUse]()
    for source in plan.sources:
        shares = counts[source.name] / (num_counted * batch)
        by_game = dict(zip(codes[source.name][0], shares.tolist(), strict=True))
        sources.append(_describe(source, by_game, num_samples))
    return MixtureUse(
        global_batch_size=batch,
        num_steps=num_steps,
        num_steps_counted=num_counted,
        sources=sources,
    )


def format_use(use: MixtureUse) -> str:
    """Lay the numbers out as a table, a source's games below it."""
    head = ("source / game", "clips", "windows", "hours", "share", "passes")
    lines = ["{:<28} {:>9} {:>12} {:>10} {:>8} {:>9}".format(*head)]
    for source in use.sources:
        lines += [_format_line(source.name, source)]
        lines += [_format_line(f"  {game.name}", game) for game in source.games]
    steps = f"{use.num_steps} steps of {use.global_batch_size} samples"
    if use.num_steps_counted < use.num_steps:
        steps += f"; shares counted in {use.num_steps_counted} of them"
    return "\n".join([*lines, steps])


def _format_line(name: str, use: Use) -> str:
    return (
        f"{name:<28} {use.num_clips:>9} {use.num_windows:>12} {use.hours:>10.2f} "
        f"{use.share:>8.2%} {use.passes:>9.3g}"
    )


def _describe(source: Source, shares: dict[str, float], num_samples: int) -> SourceUse:
    games = [
        Use(
            name=count.game,
            num_clips=count.num_clips,
            num_windows=count.num_windows,
            hours=count.hours,
            share=shares[count.game],
            passes=shares[count.game] * num_samples / max(1, count.num_windows),
        )
        for count in source.table.game_counts
    ]
    share = sum(game.share for game in games)
    return SourceUse(
        name=source.name,
        path=str(source.dataset),
        weight=source.options.weight,
        where=source.options.where,
        num_clips=sum(game.num_clips for game in games),
        num_windows=source.table.num_windows,
        hours=sum(game.hours for game in games),
        share=share,
        passes=share * num_samples / source.table.num_windows,
        games=games,
    )


def _iter_samples(
    steps: Int64[np.ndarray, " steps"], batch: int
) -> Iterator[Int64[np.ndarray, " n"]]:
    per_block = max(1, _MIXTURE_BLOCK // batch)
    for first in range(0, len(steps), per_block):
        block = steps[first : first + per_block]
        yield (block[:, None] * batch + np.arange(batch)).ravel()
