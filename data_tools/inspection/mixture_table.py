"""List what is in use of a mixture, and how often training comes by it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import WindowPlan
from nitrogen_train.data.windows import number_games

_MAX_SAMPLES = 2**22
"""Above it, every n-th step is counted."""
_BLOCK_SAMPLES = 2**18


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
        path=source.storage.root,
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
    per_block = max(1, _BLOCK_SAMPLES // batch)
    for first in range(0, len(steps), per_block):
        block = steps[first : first + per_block]
        yield (block[:, None] * batch + np.arange(batch)).ravel()
