"""Judge what a profile has measured, and write it as text: `nitrogen-train … profile=steps|loader`.

times of all ranks ─► p50, p95 by phase ─► the slowest rank ─► table
rate of a loader, needs of GPUs ─► workers, cores ─► table and verdict
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nitrogen_train.data.order import BatchShape
from nitrogen_train.run.forecast import MODEL_FLOPS_UTILIZATION
from nitrogen_train.runtime.progress import format_table, pluralize
from nitrogen_train.training.step_profiler import COLLECTIVE, PHASES, WAIT, RankTimes

_MOST_COLUMNS = 4
"""Ranks that have columns of their own; of more there are minimum, median and maximum."""
_EVEN = 0.05
"""Share of a step by which ranks may differ without one of them being slow."""


@dataclass(frozen=True, kw_only=True)
class SlowestRank:
    """The rank that the others wait for."""

    rank: int
    own_s: float
    """Median over its steps of what it spends outside of collectives."""
    others_s: float
    """The median of the same over the other ranks."""
    phase: str
    """In which it takes most longer than the others."""


def find_slowest(ranks: Sequence[RankTimes]) -> SlowestRank:
    """Find the rank that spends most outside of waiting for others.

    Steps end together, so all ranks take equally long; whoever is fast waits in collectives. The
    time of the exchange itself is in them too, and the same for all.

    Args:
        ranks: Two or more.
    """
    own_s = [statistics.median(sum(step.values()) - step[COLLECTIVE] for step in each.steps)
             for each in ranks]  # fmt: skip
    slowest = max(range(len(ranks)), key=own_s.__getitem__)
    others = [index for index in range(len(ranks)) if index != slowest]

    def lag_s(phase: str) -> float:
        p50 = [_percentile(each, phase, 50) for each in ranks]
        return p50[slowest] - statistics.median(p50[index] for index in others)

    return SlowestRank(
        rank=ranks[slowest].rank,
        own_s=own_s[slowest],
        others_s=statistics.median(own_s[index] for index in others),
        phase=max((phase for phase in PHASES if phase != COLLECTIVE), key=lag_s),
    )


def describe_steps(
    ranks: Sequence[RankTimes], *, shape: BatchShape, max_wait_share: float, traces: Sequence[str]
) -> str:
    """Lay the phases of steps out, and say what stands out.

    Args:
        ranks: What each has measured, in their order.
        shape: Of a step.
        max_wait_share: Of the time; waiting for data longer than this is told.
        traces: Lines that say where the traces are.
    """
    steps = [step for each in ranks for step in each.steps]
    total_s = sum(sum(step.values()) for step in steps)
    mean_s, samples = total_s / len(steps), shape.global_batch_size
    wait_share = sum(step[WAIT] for step in steps) / total_s
    lines = [
        f"{pluralize(len(ranks[0].steps), 'step')} of {samples} samples on "
        f"{pluralize(len(ranks), 'rank')}, {shape.accumulation} x {shape.micro_batch_size} on each:"
        f" {_ms(mean_s)} ms a step on average, {samples / mean_s:,.0f} samples/s",
        "",
        _lay_out_ranks(ranks) if len(ranks) <= _MOST_COLUMNS else _lay_out_spread(ranks),
        "",
        *([_describe_slowest(ranks)] if len(ranks) > 1 else []),
    ]
    if wait_share > max_wait_share:
        typical = statistics.median(step[WAIT] / sum(step.values()) for step in steps)
        few = "" if typical > max_wait_share else ", in few of the steps, as when clips are opened"
        lines.append(
            f"{wait_share:.0%} of the time is spent waiting for data{few}: profile=loader says "
            "what the loader can feed"
        )
    return "\n".join([*lines, *traces]) + "\n"


def _lay_out_ranks(ranks: Sequence[RankTimes]) -> str:
    header = ["ms per step"]
    for each in ranks:
        header += [f"rank {each.rank} p50", "p95", "share"]
    rows = [
        [phase or "whole step", *(cell for each in ranks for cell in _describe_phase(each, phase))]
        for phase in _list_rows(ranks)
    ]
    return format_table(header, rows)


def _lay_out_spread(ranks: Sequence[RankTimes]) -> str:
    slowest = find_slowest(ranks).rank
    its = next(each for each in ranks if each.rank == slowest)
    header = [
        "ms per step", "p50 min", "median", "max", "of rank", f"rank {slowest} p50", "p95", "share",
    ]  # fmt: skip
    rows = []
    for phase in _list_rows(ranks):
        p50 = [_percentile(each, phase, 50) for each in ranks]
        at = max(range(len(p50)), key=p50.__getitem__)
        spread = [_ms(value) for value in (min(p50), statistics.median(p50), p50[at])]
        rank = str(ranks[at].rank)
        rows.append([phase or "whole step", *spread, rank, *_describe_phase(its, phase)])
    return format_table(header, rows)


def _list_rows(ranks: Sequence[RankTimes]) -> list[str | None]:
    """List the phases to show; None is the whole step, and a rank alone may have no collectives."""
    is_alone = not any(step[COLLECTIVE] for each in ranks for step in each.steps)
    return [*(phase for phase in PHASES if not is_alone or phase != COLLECTIVE), None]


def _describe_phase(times: RankTimes, phase: str | None) -> tuple[str, str, str]:
    whole = sum(sum(step.values()) for step in times.steps)
    part = whole if phase is None else sum(step[phase] for step in times.steps)
    p50, p95 = (_ms(_percentile(times, phase, percent)) for percent in (50, 95))
    return p50, p95, f"{part / whole:.0%}"


def _percentile(times: RankTimes, phase: str | None, percent: int) -> float:
    values = [sum(step.values()) if phase is None else step[phase] for step in times.steps]
    return float(np.percentile(values, percent))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def _describe_slowest(ranks: Sequence[RankTimes]) -> str:
    found = find_slowest(ranks)
    host = next(each.host for each in ranks if each.rank == found.rank)
    numbers = (
        f"{_ms(found.own_s)} ms a step outside of collectives, where the "
        f"{'other takes' if len(ranks) == 2 else 'others take'} {_ms(found.others_s)} ms"
    )
    step_s = statistics.median(sum(step.values()) for each in ranks for step in each.steps)
    if found.own_s - found.others_s <= _EVEN * step_s:
        return f"the ranks are even; the slowest is rank {found.rank} on {host}: {numbers}"
    return f"slowest: rank {found.rank} on {host}, {numbers}; most of the difference: {found.phase}"


@dataclass(frozen=True, kw_only=True)
class LoaderRate:
    """What a rank's loader delivers while nothing else runs in its process."""

    num_workers: int
    num_cores: int
    """That the process and its workers may use."""
    samples: int
    seconds: float
    cpu_s: float
    """Of the process and its workers together."""
    start_s: float
    """Before that, until the clips in use were open and nothing was prepared ahead."""
    frames_decoded: int
    bytes_read: int

    @property
    def samples_per_s(self) -> float:
        """Return the rate of all workers."""
        return self.samples / self.seconds

    @property
    def samples_per_core_s(self) -> float:
        """Return samples per second of a core's time."""
        return self.samples / self.cpu_s


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """What it takes to feed a GPU."""

    is_enough: bool
    """Whether the loader as it is delivers what the GPU takes."""
    num_workers: int
    """Workers that would, if each delivers as much as one does now."""
    cores: float
    """Cores that these keep busy; the training process needs one more."""


def judge_loader(rate: LoaderRate, *, needed_per_s: float) -> Feeding:
    """Judge whether a loader feeds a GPU.

    Args:
        rate: Of the loader.
        needed_per_s: Samples per second that the GPU takes.
    """
    per_worker = rate.samples_per_s / max(1, rate.num_workers)
    return Feeding(
        is_enough=rate.num_workers > 0 and rate.samples_per_s >= needed_per_s,
        num_workers=max(1, math.ceil(needed_per_s / per_worker)),
        cores=needed_per_s / rate.samples_per_core_s,
    )


def describe_loader(
    rate: LoaderRate, needs: Mapping[str, float], *, micro_batch_size: int, notes: Sequence[str]
) -> str:
    """Lay a loader's rate out beside what GPUs need.

    Args:
        rate: Of the loader.
        needs: Samples per second that one GPU takes, by its name.
        micro_batch_size: Samples that the loader puts together.
        notes: Lines on the needs.
    """
    lines = [
        f"{pluralize(rate.samples, 'sample')} in micro-batches of {micro_batch_size} from the "
        f"loader alone, data.num_workers={rate.num_workers}: {rate.seconds:.1f} s, after "
        f"{rate.start_s:.1f} s in which clips were opened",
        "",
        f"samples/s           {rate.samples_per_s:10,.0f}",
        f"samples/s per core  {rate.samples_per_core_s:10,.0f}  {_describe_cores(rate)}",
        f"decoded per sample  {rate.frames_decoded / rate.samples:10.2f}  frames",
        f"read                {rate.bytes_read / 2**20 / rate.seconds:10.1f}  MiB/s",
        "",
        _lay_out_needs(rate, needs),
        "",
        f"Needed: computed for {MODEL_FLOPS_UTILIZATION:.0%} of the GPU's peak, as by plan=true. "
        "Cores: the loader's and one of the training.",
        *notes,
    ]
    if rate.num_workers > rate.num_cores:
        lines.append(
            f"{rate.num_workers} workers share {pluralize(rate.num_cores, 'core')}: what one of "
            f"them delivers says nothing; measure with data.num_workers={rate.num_cores} or fewer."
        )
    return "\n".join(lines) + "\n"


def _describe_cores(rate: LoaderRate) -> str:
    return f"of {pluralize(rate.num_cores, 'core')} {rate.cpu_s / rate.seconds:.1f} are in use"


def _lay_out_needs(rate: LoaderRate, needs: Mapping[str, float]) -> str:
    rows = [
        (
            gpu,
            f"{needed:,.0f}",
            _describe_verdict(rate, needed, feeding),
            str(feeding.num_workers),
            f"{feeding.cores:.1f} + 1",
        )
        for gpu, needed in needs.items()
        for feeding in [judge_loader(rate, needed_per_s=needed)]
    ]
    header = ("each GPU", "needs samples/s", "this loader is", "data.num_workers", "cores")
    return format_table(header, rows)


def _describe_verdict(rate: LoaderRate, needed_per_s: float, feeding: Feeding) -> str:
    if rate.num_workers == 0:
        return "in the training's way"
    if feeding.is_enough:
        return f"enough, {rate.samples_per_s / needed_per_s:.1f} times"
    return f"too slow, {rate.samples_per_s / needed_per_s:.0%}"
