"""What the batches of a plan hold, beside what independent draws would; plans of one source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from benchmarks.batch_contents import (
    ClipFacts,
    Gaps,
    draw_gaps,
    expect_distinct,
    expect_pairs,
    expect_shared,
    find_gaps,
    find_nearest,
    name_windows,
    summarize_gaps,
)
from nitrogen_train.data.order import WindowPlan
from nitrogen_train.data.windows import Located, WindowTable

_BLOCK_STEPS = 64


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many of something a batch has."""

    observed: float
    """The mean over steps."""
    least: int
    most: int
    expected: float
    """Of independent uniform draws of windows."""


@dataclass(frozen=True, kw_only=True)
class CommonGaps:
    """Pairs of samples of a batch that have something in common."""

    observed: Gaps
    expected: Gaps
    """Of independent draws; their distances are drawn, their number is exact."""


@dataclass(frozen=True, kw_only=True)
class Succession:
    """A batch, and one some steps later."""

    num_steps: int
    observed: float
    """Share of the later samples whose clip is in the earlier batch."""
    expected: float
    median_s: float | None
    """From such a sample to the nearest of its clip in the earlier batch; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class PassCount:
    """What the stream hands out of one pass."""

    number: int
    """From 0."""
    num_windows: int
    """Of the data."""
    handed_out: int
    """Distinct windows."""
    most_often: int
    """How often the window that comes most often does."""


def spread_steps(plan: WindowPlan, count: int) -> list[int]:
    """Spread steps evenly over a pass."""
    num_steps = plan.sources[0].table.num_windows // plan.interleaving.global_batch_size
    return np.linspace(0, num_steps, count, endpoint=False).astype(np.int64).tolist()


def count_distinct(facts: ClipFacts, batches: Sequence[Located]) -> dict[str, Count]:
    """Count the clips, sessions and games of batches."""
    counts: dict[str, Count] = {}
    for name, group in {**_name_groups(facts), "game": facts.game}.items():
        found = [len(np.unique(group[batch.clip])) for batch in batches]
        counts[name] = Count(
            observed=float(np.mean(found)),
            least=min(found),
            most=max(found),
            expected=expect_distinct(
                np.bincount(group, weights=facts.num_windows), num_draws=len(batches[0].clip)
            ),
        )
    return counts


def count_repeats(batches: Sequence[Located]) -> int:
    """Count the samples whose window comes earlier in their batch."""
    names = [name_windows(batch) for batch in batches]
    return sum(len(each) - len(np.unique(each)) for each in names)


def measure_gaps(
    facts: ClipFacts, batches: Sequence[Located], *, table: WindowTable, num_drawn: int
) -> dict[str, CommonGaps]:
    """Measure the distances in time of samples of a batch that are of one clip, or one session.

    Args:
        facts: Of the clips.
        batches: To look at.
        table: To draw independent pairs from, for comparison.
        num_drawn: How many.
    """
    common: dict[str, CommonGaps] = {}
    for name, group in _name_groups(facts).items():
        found = [find_gaps(group[batch.clip], facts.times_s(batch)) for batch in batches]
        gaps_s = np.concatenate(found)
        drawn = draw_gaps(facts, table, group, num_pairs=num_drawn)
        num_expected = expect_pairs(
            np.bincount(group, weights=facts.num_windows), num_draws=len(batches[0].clip)
        )
        common[name] = CommonGaps(
            observed=summarize_gaps(gaps_s, num_pairs=len(gaps_s) / len(batches)),
            expected=summarize_gaps(drawn, num_pairs=num_expected),
        )
    return common


def compare_batches(
    plan: WindowPlan, facts: ClipFacts, *, steps: Sequence[int], apart: int
) -> Succession:
    """Look for the clips of batches in those that come some steps later."""
    shared, distances_s = 0, [np.empty(0)]
    for step in steps:
        earlier, later = locate_step(plan, step), locate_step(plan, step + apart)
        is_shared, frames = find_nearest(earlier, later)
        shared += int(is_shared.sum())
        distances_s.append(frames / facts.fps[later.clip[is_shared]])
    batch = plan.interleaving.global_batch_size
    return Succession(
        num_steps=apart,
        observed=shared / (len(steps) * batch),
        expected=expect_shared(facts.num_windows, num_draws=batch),
        median_s=float(np.median(np.concatenate(distances_s))) if shared else None,
    )


def count_pass(plan: WindowPlan, *, number: int) -> PassCount:
    """Enumerate what the stream hands out of a pass, from its first step on."""
    laid, num_windows = plan.interleaving, plan.sources[0].table.num_windows
    visits = _visits_per_pass(plan)
    # Until the lane that makes the pass's last visit has left it.
    turns = -(-(number + 1) * visits // laid.num_lanes) * laid.windows_per_visit
    names = [
        name_windows(locate(plan, samples[plan.turns(samples).visit // visits == number]))
        for samples in _iter_blocks(turns * laid.lane_groups, laid.global_batch_size)
    ]
    _, times = np.unique(np.concatenate(names), return_counts=True)
    return PassCount(
        number=number,
        num_windows=num_windows,
        handed_out=len(times),
        most_often=int(times.max(initial=0)),
    )


def find_whole_pass(plan: WindowPlan) -> int:
    """Find the first pass that has no lane's first visit, which begins anywhere in its windows."""
    return -(-plan.interleaving.num_lanes // _visits_per_pass(plan))


def locate_step(plan: WindowPlan, step: int) -> Located:
    """Find the windows of a global batch."""
    batch = plan.interleaving.global_batch_size
    return locate(plan, np.arange(step * batch, (step + 1) * batch))


def locate(plan: WindowPlan, samples: Int64[np.ndarray, " n"]) -> Located:
    """Find the windows of some samples of a plan that has one source."""
    if not len(samples):
        return Located(clip=samples, frame=samples, num_rows=samples)
    ((_, _, located),) = plan.locate(samples)
    return located


def _visits_per_pass(plan: WindowPlan) -> int:
    return max(1, plan.sources[0].table.num_windows // plan.interleaving.windows_per_visit)


def _name_groups(facts: ClipFacts) -> dict[str, Int64[np.ndarray, " clips"]]:
    return {"clip": np.arange(len(facts.session)), "session": facts.session}


def _iter_blocks(num_steps: int, batch: int) -> Iterator[Int64[np.ndarray, " n"]]:
    for first in range(0, num_steps, _BLOCK_STEPS):
        yield np.arange(first * batch, min(first + _BLOCK_STEPS, num_steps) * batch)
