"""Tables of what loading costs, and of the targets that it has to meet."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.loading import LoadingCost, ReaderCost, StartCost, compare
from benchmarks.loading_readers import (
    LEROBOT,
    OPENS,
    SEQUENTIAL,
    STRETCHES,
    WEBDATASET_ONE,
    WEBDATASET_WHOLE,
    WORKER,
)
from nitrogen_train.runtime.progress import format_table

_MIN_DECODED_SHARE = {96: {STRETCHES: 0.6, WORKER: 0.5}, 256: {STRETCHES: 0.85, WORKER: 0.75}}
"""By the side of the picture: what a window costs beside its decoding weighs more in small ones."""
MIN_OVER_OPENS = 10.0
MIN_OVER_WEBDATASET = 1.2
MAX_RESUME_RATIO = 1.2


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A ratio or a rate, one number per round, with the bound it has to keep."""

    name: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """Say what was asked for, and whether it is reached."""
        if self.at_least is not None:
            return f"{'met' if self.median >= self.at_least else 'missed'}: >= {self.at_least:g}"
        if self.at_most is not None:
            return f"{'met' if self.median <= self.at_most else 'missed'}: <= {self.at_most:g}"
        return ""


def describe_loading(cost: LoadingCost) -> str:
    """Lay all of it out."""
    clips = cost.clips
    return (
        f"{clips['clips']} clips, {clips['frames']} frames of {clips['side']}x{clips['side']}, "
        f"batches of {clips['micro_batch_size']}, one frame a window; one core for each reader "
        "and its workers\n\n"
        f"{_describe_readers(cost)}\n\n{_describe_comparisons(list_comparisons(cost))}\n\n"
        f"{_describe_starts(cost.starts)}\n\n{_describe_memories(cost)}\n"
    )


def list_comparisons(cost: LoadingCost) -> list[Comparison]:
    """Compare ours with the others, round by round."""
    stored, long = int(cost.clips["group_frames"]), int(cost.clips["long_group_frames"])
    nearest = min(_MIN_DECODED_SHARE, key=lambda side: abs(side - cost.clips["side"]))
    shares = _MIN_DECODED_SHARE[nearest]
    listed: list[Comparison] = []
    for name, group in ((STRETCHES, stored), (WORKER, stored), (STRETCHES, long)):
        ours, fastest = cost.find(name, group), _find_fastest(cost, group)
        if ours is None or fastest is None:
            continue
        listed.append(
            Comparison(
                name=f"{name}, groups of {group}: frames decoded, over {fastest.name}",
                values=compare(ours, fastest, lambda reader: reader.decoded_rates),
                at_least=shares[name] if group == stored else None,
            )
        )
        if group == stored:
            listed.append(
                Comparison(
                    name=f"{name}, groups of {group}: windows/core s",
                    values=ours.rates,
                )
            )
    for name, rival, group, at_least in (
        (STRETCHES, OPENS, stored, MIN_OVER_OPENS),
        (STRETCHES, OPENS, long, MIN_OVER_OPENS),
        (STRETCHES, WEBDATASET_ONE, stored, None),
        (STRETCHES, WEBDATASET_WHOLE, stored, MIN_OVER_WEBDATASET),
        (WORKER, WEBDATASET_WHOLE, stored, MIN_OVER_WEBDATASET),
        (STRETCHES, LEROBOT, stored, None),
    ):
        ours, theirs = cost.find(name, group), cost.find(rival, group)
        if ours is not None and theirs is not None:
            listed.append(
                Comparison(
                    name=f"{name}, groups of {group}: windows, over {rival}",
                    values=compare(ours, theirs, lambda reader: reader.rates),
                    at_least=at_least,
                )
            )
    return listed + _compare_starts(cost.starts)


def _compare_starts(starts: Sequence[StartCost]) -> list[Comparison]:
    near, far = (
        next(each for each in starts if not each.is_cold and each.step == step)
        for step in (0, max(each.step for each in starts))
    )
    return [
        Comparison(
            name=f"first batch at step {far.step:,} over step 0, {what}",
            values=[one / other for one, other in zip(of_far, of_near, strict=True)],
            at_most=MAX_RESUME_RATIO,
        )
        for what, of_far, of_near in (
            ("from the process's start", far.process_s, near.process_s),
            ("on the core alone", far.cpu_s, near.cpu_s),
        )
    ]


def _find_fastest(cost: LoadingCost, group_frames: int) -> ReaderCost | None:
    found = [cost.find(name, group_frames) for name in SEQUENTIAL.values()]
    ran = [reader for reader in found if reader is not None]
    return max(ran, key=lambda reader: statistics.median(reader.decoded_rates), default=None)


def _describe_readers(cost: LoadingCost) -> str:
    header = (
        "reader", "group", "windows/s", "on the core", "windows/core s", "frames", "decoded",
        "delivered/decoded",
    )  # fmt: skip
    rows = [
        (
            reader.name,
            str(reader.group_frames),
            _median_rate([block.windows / block.seconds for block in reader.blocks]),
            f"{statistics.median(block.cpu_s / block.seconds for block in reader.blocks):.0%}",
            _median_rate(reader.rates),
            _median_rate([block.frames / block.cpu_s for block in reader.blocks]),
            *_describe_decoding(reader),
        )
        for reader in cost.readers
    ]
    rows += [(name, "", "not run", *[""] * 5) for name in cost.missing]
    notes = [f"{name}: not run: {reason}" for name, reason in cost.missing.items()]
    notes += [f"{name}: {fact}" for name, fact in cost.facts.items()]
    rounds = len(cost.readers[0].blocks)
    notes.append(
        f"medians of {rounds} rounds; in order, frames are delivered, not windows; windows, frames "
        "and decoded frames are per second on the core, from which others on it took nothing"
    )
    return "\n".join([format_table(header, rows), *notes])


def _describe_decoding(reader: ReaderCost) -> tuple[str, str]:
    decoded, frames = (
        [block.decoded for block in reader.blocks],
        sum(block.frames for block in reader.blocks),
    )
    if None in decoded:
        return "", ""
    total = sum(count or 0 for count in decoded)
    return _median_rate(reader.decoded_rates), f"{frames / total:.2f}" if total else "all kept"


def _median_rate(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.0f}"


def _describe_comparisons(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (
            each.name,
            f"{each.median:.2f}",
            f"{min(each.values):.2f}",
            f"{max(each.values):.2f}",
            each.verdict,
        )
        for each in comparisons
    ]
    return format_table(("compared in the same round", "median", "least", "most", "target"), rows)


def _describe_starts(starts: Sequence[StartCost]) -> str:
    header = (
        "start",
        "step",
        "first batch s",
        "of it loader",
        "on the core",
        "early windows/s",
        "of steady",
    )
    rows = [
        (
            "cold" if start.is_cold else "resumed",
            f"{start.step:,}",
            f"{statistics.median(start.process_s):.2f}",
            f"{statistics.median(start.loader_s):.2f}",
            f"{statistics.median(start.cpu_s):.2f}",
            _median_rate(start.early_rates),
            f"{_share(start.early_rates, start.steady_rates):.3f}",
        )
        for start in starts
    ]
    note = "early: until each lane has handed out two windows; rates are per second on the core"
    return f"{format_table(header, rows)}\n{note}"


def _share(parts: Sequence[float], wholes: Sequence[float]) -> float:
    return statistics.median(part / whole for part, whole in zip(parts, wholes, strict=True))


def _describe_memories(cost: LoadingCost) -> str:
    rows = [
        (
            memory.name,
            f"{memory.num_samples}",
            f"{memory.peak_mib:.0f}",
            f"{memory.first_mib:.0f}",
            f"{memory.last_mib:.0f}",
            f"{memory.last_mib / memory.first_mib - 1:+.1%}",
        )
        for memory in cost.memories
    ]
    header = ("worker's memory", "samples", "peak MiB", "first tenth", "last tenth", "growth")
    return format_table(header, rows)
