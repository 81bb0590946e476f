"""Tell which window is sample i of a run: a pure function, not a state.

    sample i ─► lane, visit, atom ─► source ─► game ─► pass, shuffled visit ─► position of a window

Sample i depends on the manifests, the mixture and the seed alone. Global batch s is samples s*B to
(s+1)*B, so the state to resume from is one integer, at any number of ranks and workers.

A *lane* is a place in the global batch that stays with one clip for a while. It makes *visits*: Q
neighbouring windows of a source, read at once and handed out one by one in shuffled order, one each
time the lane's turn comes. So a batch of B samples comes from B places, and a clip is opened once
for Q samples. The visits of a pass are shuffled; a pass of N windows holds each once, but for N mod
Q, others in each pass. Lanes begin at different atoms of their first visit, so that about as many
visits end in each step as in any other.

Slots are dealt to sources in proportion to their weights, evenly along the way. `BatchShape` says
how a global batch is divided, `Share` which part of it a process builds, and `WindowPlan` joins all
of it to a plan that is known without reading a shard.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from nitrogen_train.data.mixture import Source
from nitrogen_train.data.permutation import derive_key, permute
from nitrogen_train.data.schema import WindowId
from nitrogen_train.data.windows import Located

STRETCH = 64
"""Windows that are decoded together; a visit is one or more of them."""

PART_ATTEMPTS = 8
"""Replacements that are drawn from a window's own part, before the whole source is drawn from."""

_MICRO_BATCH = "data.micro_batch_size"
_PHASE, _ROTATION, _VISIT, _STRETCH, _WINDOW, _REPLACEMENT = range(6)
"""Uses for which a key is derived."""


def deal_evenly(weights: Sequence[float], *, count: int) -> Int64[np.ndarray, " slots"]:
    """Deal slots so that any run of neighbours has nearly every source's share.

    Each source asks for its n-th slot in the middle of the n-th of its equal spans; who asks first
    is served first.

    Args:
        weights: Positive; only their ratios matter.
        count: Slots to deal.

    Returns:
        The index of the source of each slot.

    Raises:
        ValueError: If a weight is not positive and finite.
    """
    shares = np.asarray(weights, np.float64)
    if not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError(f"mixture weights must be positive, got {list(weights)}")
    spans = (shares.sum() / shares).tolist()
    # Ties go to the source that is named first.
    waiting = [(span / 2, source) for source, span in enumerate(spans)]
    heapq.heapify(waiting)
    slots = np.empty(count, np.int64)
    for slot in range(count):
        due, source = waiting[0]
        slots[slot] = source
        heapq.heapreplace(waiting, (due + spans[source], source))
    return slots


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Divides the samples of a step equally over processes and their micro-batches."""

    global_batch_size: int
    """Samples in one optimizer step, over all processes."""
    micro_batch_size: int
    """Samples in one `PolicyBatch`."""
    world_size: int
    """Processes."""

    def __post_init__(self) -> None:
        _divide(self.global_batch_size, self.world_size, self.micro_batch_size, _MICRO_BATCH)

    @classmethod
    def accumulate(
        cls, global_batch_size: int, *, world_size: int, accumulation: int, setting: str
    ) -> "BatchShape":
        """Divide a step into a number of micro-batches for each process.

        Args:
            global_batch_size: Samples in one optimizer step.
            world_size: Processes.
            accumulation: Micro-batches of each.
            setting: What sets the global batch size, as the message writes it before a number.

        Raises:
            ValueError: If they cannot be of equal size.
        """
        size = _divide(global_batch_size, world_size, accumulation, "accumulation", setting=setting)
        return cls(
            global_batch_size=global_batch_size, micro_batch_size=size, world_size=world_size
        )

    @classmethod
    def fit(cls, global_batch_size: int, *, world_size: int, most: int) -> "BatchShape":
        """Divide a step into the largest micro-batches of at most `most` samples.

        Raises:
            ValueError: If the processes cannot share the samples equally, or `most` is below 1.
        """
        whole = cls(global_batch_size=global_batch_size, micro_batch_size=1, world_size=world_size)
        share = whole.samples_per_process
        if most < 1:
            raise ValueError(f"data.micro_batch_size must be at least 1, got {most}")
        size = max(size for size in range(1, min(most, share) + 1) if share % size == 0)
        return replace(whole, micro_batch_size=size)

    @property
    def samples_per_process(self) -> int:
        """Samples of one process in one optimizer step."""
        return self.global_batch_size // self.world_size

    @property
    def accumulation(self) -> int:
        """Micro-batches of one process in one optimizer step."""
        return self.samples_per_process // self.micro_batch_size


def _divide(
    global_batch_size: int,
    world_size: int,
    factor: int,
    name: str,
    *,
    setting: str = "data.global_batch_size=",
) -> int:
    """Divide a step by processes * factor; the rule of every batch, and its message.

    Raises:
        ValueError: If it does not divide; the message names the nearest sizes that do.
    """
    if world_size < 1:
        raise ValueError(f"processes must be at least 1, got {world_size}")
    if factor < 1:
        raise ValueError(f"{name} must be at least 1, got {factor}")
    unit = world_size * factor
    parts, rest = divmod(global_batch_size, unit)
    if rest or not parts:
        nearest = sorted({max(parts, 1) * unit, (parts + 1) * unit})
        share, rest = divmod(global_batch_size, world_size)
        smaller = ""
        if name == _MICRO_BATCH and share and not rest:
            size = max(size for size in range(1, min(factor, share) + 1) if share % size == 0)
            smaller = f"{name}={size}, which changes no result, or "
        raise ValueError(
            f"data.global_batch_size={global_batch_size} must be a multiple of processes * {name} "
            f"= {world_size} * {factor}; use {smaller}{setting}{' or '.join(map(str, nearest))}"
        )
    return parts


@dataclass(frozen=True, kw_only=True)
class Share:
    """A rank's part of every batch: a contiguous slice, and its workers' parts of that."""

    shape: BatchShape
    rank: int

    def samples(self, step: int) -> Int64[np.ndarray, " n"]:
        """List the samples of a step that this rank builds."""
        num = self.shape.samples_per_process
        first = step * self.shape.global_batch_size + self.rank * num
        return np.arange(first, first + num)

    def slots(self, *, worker: int, num_workers: int) -> tuple[int, int]:
        """Tell which samples of every micro-batch one of the rank's workers builds: from, up to.

        A slot of the batch belongs to the same worker at every step, and so does its lane: a clip
        is fetched and decoded by one worker alone.
        """
        size = self.shape.micro_batch_size
        return worker * size // num_workers, (worker + 1) * size // num_workers

    def part(
        self, step: int, micro_batch: int, *, worker: int, num_workers: int
    ) -> Int64[np.ndarray, " n"]:
        """List the samples of a micro-batch that one of the rank's workers builds."""
        start, stop = self.slots(worker=worker, num_workers=num_workers)
        first = micro_batch * self.shape.micro_batch_size
        return self.samples(step)[first + start : first + stop]


@dataclass(frozen=True, kw_only=True)
class Interleaving:
    """The rule by which visits are laid side by side in the stream."""

    global_batch_size: int
    """Samples of one optimizer step, B."""
    lane_groups: int
    """Steps from one turn of a lane to the next: there are `lane_groups` * B lanes."""
    windows_per_visit: int
    """Q, a multiple of `STRETCH`."""
    seed: int

    def __post_init__(self) -> None:
        for name in ("global_batch_size", "lane_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.windows_per_visit < 1 or self.windows_per_visit % STRETCH:
            raise ValueError(
                f"windows_per_visit must be a multiple of {STRETCH}, got {self.windows_per_visit}"
            )

    @property
    def num_lanes(self) -> int:
        """Return visits that are open at once, over all ranks."""
        return self.lane_groups * self.global_batch_size


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Samples as lanes see them; arrays of one length."""

    lane: Int64[np.ndarray, " n"]
    source: Int64[np.ndarray, " n"]
    """Index of the source that the lane belongs to."""
    visit: Int64[np.ndarray, " n"]
    """Number of the visit in the source's endless sequence."""
    atom: Int64[np.ndarray, " n"]
    """Place among the visit's windows, in the order of handing out."""

    def cut(self, start: int, stop: int) -> "Turns":
        """Take those from `start` up to `stop`."""
        return Turns(
            lane=self.lane[start:stop],
            source=self.source[start:stop],
            visit=self.visit[start:stop],
            atom=self.atom[start:stop],
        )


class LaneOrder:
    """Deals samples to lanes, and lanes to sources."""

    def __init__(self, interleaving: Interleaving, *, weights: Sequence[float]) -> None:
        """Deal the lanes.

        Args:
            interleaving: How many there are, and how long they stay.
            weights: One per source, positive; every step has each source's share of samples,
                to within one.

        Raises:
            ValueError: If a weight is not positive, or a source gets no sample in a step.
        """
        self._interleaving = interleaving
        batch = interleaving.global_batch_size
        shares = np.asarray(weights, np.float64) / np.sum(weights)
        # One group after the other, so that each step, not just each round, has the shares.
        slots = deal_evenly(weights, count=batch)
        counts = np.bincount(slots, minlength=len(shares))
        if not counts.all():
            raise ValueError(
                f"mixture weight {min(weights)} of {list(weights)} gets no sample in a global "
                f"batch of {batch}; the smallest batch that admits it is about "
                f"{int(np.ceil(1 / shares.min()))}"
            )
        self._source = slots
        self._counts = counts
        self._place = _count_before(slots)

    def locate(self, samples: Int64[np.ndarray, " n"]) -> Turns:
        """Find the turns of some samples of the endless stream."""
        laid = self._interleaving
        step, slot = np.divmod(samples, laid.global_batch_size)
        turn, group = np.divmod(step, laid.lane_groups)
        lane = group * laid.global_batch_size + slot
        visit, atom = np.divmod(turn + self._phase(lane), laid.windows_per_visit)
        source = self._source[slot]
        lanes_of_source = self._counts[source] * laid.lane_groups
        place = group * self._counts[source] + self._place[slot]
        return Turns(lane=lane, source=source, visit=place + visit * lanes_of_source, atom=atom)

    def _phase(self, lane: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        # Multiples of the golden ratio: any run of neighbouring lanes, so the lanes of any rank
        # and worker, has phases spread evenly.
        start = float(derive_key(self._interleaving.seed, _PHASE)[0]) / 2**64
        fraction = (start + lane * 0.6180339887498949) % 1.0
        return (fraction * self._interleaving.windows_per_visit).astype(np.int64)


class SourceOrder:
    """The endless sequence of one source's visits, as positions in its table of windows."""

    def __init__(
        self,
        *,
        windows_per_visit: int,
        starts: Sequence[int],
        weights: Sequence[float],
        seed: int,
        index: int,
    ) -> None:
        """Lay out the source's parts.

        Args:
            windows_per_visit: Q.
            starts: Positions at which the source's parts begin, and the end of the last one;
                parts are the games where the mixture balances them, else there is one part.
            weights: Of the parts; only their ratios matter.
            seed: Of the run.
            index: Of the source, so that two sources of the same data differ.

        Raises:
            ValueError: If a part has no window.
        """
        self._starts = np.asarray(starts[:-1], np.int64)
        self._sizes = np.diff(np.asarray(starts, np.int64))
        if not (self._sizes > 0).all():
            raise ValueError("no window to train on: no row is valid in any clip")
        self._windows_per_visit = windows_per_visit
        self._visits_per_pass = np.maximum(1, self._sizes // windows_per_visit)
        self._key = derive_key(seed, index)
        # Long enough for the rarest part to have its share to about a tenth.
        cycle = 64 if len(weights) == 1 else min(2**20, int(8 * sum(weights) / min(weights)))
        self._parts = deal_evenly(weights, count=cycle)
        self._counts = np.bincount(self._parts, minlength=len(weights))
        if not self._counts.all():
            raise ValueError(
                f"the rarest game has {min(weights) / sum(weights):.2g} of a source's windows, too "
                "little for the order to reach it; balance the games, or leave it out"
            )
        self._place = _count_before(self._parts)

    def positions(
        self,
        visit: Int64[np.ndarray, " visits"],
        atom: Int64[np.ndarray, " n"],
        *,
        attempt: int = 0,
    ) -> Int64[np.ndarray, " n"]:
        """Find windows.

        Args:
            visit: Numbers in the endless sequence of visits: of each window, or one for all.
            atom: Which of a visit's windows, in the order of handing out.
            attempt: 0 is what was planned; from 1 on, windows that stand in for it where a clip
                cannot be read: first of the same part, then of any.

        Returns:
            Positions in the source's table of windows.
        """
        cycle, slot = np.divmod(visit, len(self._parts))
        part = self._parts[slot]
        first, size, width = self._starts[part], self._sizes[part], self._windows_per_visit
        number = cycle * self._counts[part] + self._place[slot]
        within = self._shuffle_atoms(atom, part=part, number=number)
        if attempt > PART_ATTEMPTS:
            first, size = self._starts[:1], self._sizes.sum(keepdims=True)
        if attempt:
            # Not a visit of the pass: a small part has but one, with the same windows in it.
            drawn = derive_key(self._key, _REPLACEMENT, part, number, attempt)
            return first + ((drawn % size.astype(np.uint64)).astype(np.int64) + within) % size
        visits = self._visits_per_pass[part]
        passed, place = np.divmod(number, visits)
        shuffled = permute(place, size=visits, key=derive_key(self._key, _VISIT, part, passed))
        rotation = derive_key(self._key, _ROTATION, part, passed) % size.astype(np.uint64)
        return first + (rotation.astype(np.int64) + shuffled * width + within) % size

    def _shuffle_atoms(
        self,
        atom: Int64[np.ndarray, " n"],
        *,
        part: Int64[np.ndarray, " visits"],
        number: Int64[np.ndarray, " visits"],
    ) -> Int64[np.ndarray, " n"]:
        """Shuffle a visit's stretches, and the windows of each stretch."""
        stretch, window = np.divmod(atom, STRETCH)
        visit_key = derive_key(self._key, _STRETCH, part, number)
        stretch = permute(stretch, size=self._windows_per_visit // STRETCH, key=visit_key)
        window_key = derive_key(self._key, _WINDOW, part, number, stretch)
        return stretch * STRETCH + permute(window, size=STRETCH, key=window_key)


def _count_before(slots: Int64[np.ndarray, " slots"]) -> Int64[np.ndarray, " slots"]:
    """Count, for each slot, the earlier ones of the same value."""
    by_value = np.argsort(slots, kind="stable")
    values = slots[by_value]
    first = np.searchsorted(values, values)
    before = np.empty_like(slots)
    before[by_value] = np.arange(len(slots)) - first
    return before


class WindowPlan:
    """Samples of the endless stream to windows of clips."""

    def __init__(self, sources: Sequence[Source], interleaving: Interleaving) -> None:
        """Lay out the order.

        Args:
            sources: The mixture.
            interleaving: How the sources' visits are laid side by side.

        Raises:
            ValueError: If a source has no window, or no sample in a step.
        """
        self.sources = sources
        self.interleaving = interleaving
        self._lanes = LaneOrder(interleaving, weights=[source.options.weight for source in sources])
        self._orders: list[SourceOrder] = []
        for index, source in enumerate(sources):
            try:
                order = SourceOrder(
                    windows_per_visit=interleaving.windows_per_visit,
                    starts=source.starts,
                    weights=source.part_weights,
                    seed=interleaving.seed,
                    index=index,
                )
            except ValueError as error:
                raise ValueError(f"source {source.name!r} ({source.dataset}): {error}") from error
            self._orders.append(order)

    def turns(self, samples: Int64[np.ndarray, " n"]) -> Turns:
        """Find whose turn each sample is."""
        return self._lanes.locate(samples)

    def windows(
        self, source: int, visit: int, atoms: Int64[np.ndarray, " n"], *, attempt: int = 0
    ) -> Located:
        """Find windows of one visit.

        Args:
            source: Index of the source.
            visit: Number in its endless sequence.
            atoms: Which of the visit's windows, in the order of handing out.
            attempt: 0 for what was planned, from 1 on for what stands in.
        """
        positions = self._orders[source].positions(np.array([visit]), atoms, attempt=attempt)
        return self.sources[source].table.locate(positions)

    def locate(
        self, samples: Int64[np.ndarray, " n"]
    ) -> list[tuple[Int64[np.ndarray, " k"], Source, Located]]:
        """Find the planned windows of some samples, source by source.

        Returns:
            For each source that has some: which of the samples, the source, and their windows.
        """
        turns = self.turns(samples)
        found: list[tuple[Int64[np.ndarray, " k"], Source, Located]] = []
        for index in np.unique(turns.source):
            which = np.flatnonzero(turns.source == index)
            order, source = self._orders[index], self.sources[index]
            positions = order.positions(turns.visit[which], turns.atom[which])
            found.append((which, source, source.table.locate(positions)))
        return found

    def window_ids(self, samples: Int64[np.ndarray, " n"]) -> list[WindowId]:
        """Name the planned windows of some samples."""
        ids: dict[int, WindowId] = {}
        for index, source, located in self.locate(samples):
            for place, clip, frame in zip(index, located.clip, located.frame, strict=True):
                clip_id = source.manifest.clip_id(int(clip))
                ids[int(place)] = WindowId(source.name, clip_id, int(frame))
        return [ids[place] for place in range(len(samples))]

    def count_rows(self, samples: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Count the supervised rows of the planned window of each of some samples."""
        counts = np.zeros(len(samples), np.int64)
        for which, _, located in self.locate(samples):
            counts[which] = located.num_rows
        return counts

    def identity(self) -> dict[str, Any]:
        """Say what the order depends on: a run resumes only where all of it is the same."""
        laid = self.interleaving
        return {
            "seed": laid.seed,
            "global_batch_size": laid.global_batch_size,
            "lane_groups": laid.lane_groups,
            "windows_per_visit": laid.windows_per_visit,
            "windows_per_stretch": STRETCH,
            "sources": [source.describe() for source in self.sources],
        }
