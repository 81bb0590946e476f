"""Turn shards into `PolicyBatch`.

plan: sample i ─► window of a clip ─► visit: one ranged read, stretches decoded as they come up
  ─► window: frames uint8, rows in model space ─► collate ─► a worker's samples of a micro-batch

worker 0 ─┐
worker 1 ─┼─► memory of a micro-batch ─► a thread: tensors, pinned ─► the training step
worker 2 ─┘   names, reports ─► summed for the log; faults ─► quarantine
"""

import contextlib
import os
import queue
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.batch_memory import BatchLayout, BatchMemory
from nitrogen_train.data.clip_reader import ClipReader, DecodedClip, LoadReport, Quarantine
from nitrogen_train.data.collate import Window, WindowCollator, cut_windows
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import Share, Turns, WindowPlan
from nitrogen_train.data.permutation import derive_key, permute
from nitrogen_train.data.reads_ahead import SAMPLES_AHEAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.visits import VisitReader
from nitrogen_train.data.windows import WindowShape
from nitrogen_train.runtime.processes import end_with

_PLANNED_SAMPLES = 1024
_READY = 2
"""Micro-batches that are put together and pinned ahead of the training step."""
_HELD = 4
"""Micro-batches that a training holds at once: one in its step, the one before, what is fetched."""
_LOOK_UP_S = 0.2
_Item = TypeVar("_Item")
_LOST_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(is killed by signal: [\w ]+\w|exited unexpectedly)"
)


@dataclass(frozen=True, kw_only=True)
class BatchPart:
    """What a worker says of its samples of a micro-batch, when they are in its memory."""

    window_ids: list[WindowId]
    planned_window_ids: list[WindowId]
    num_valid_in_step: int
    """Of the worker's samples of the whole step; see `PolicyBatch`."""
    report: LoadReport
    """Counts of the worker since its last part."""


class _PlannedPart(NamedTuple):
    """What a worker will read for a micro-batch."""

    samples: Int64[np.ndarray, " n"]
    turns: Turns
    num_rows_in_step: int
    """Supervised rows of the worker's samples of the whole optimizer step."""


class TrainingStream(IterableDataset[BatchPart | Exception]):
    """The endless stream of a rank's parts of micro-batches, from any step on."""

    def __init__(
        self,
        *,
        plan: WindowPlan,
        share: Share,
        reader: ClipReader,
        collator: WindowCollator,
        max_kept_bytes: int,
        start_step: int = 0,
    ) -> None:
        """Hold what is needed; nothing is read yet.

        Args:
            plan: The order.
            share: What this rank builds.
            reader: Reads clips; each worker has its own copy.
            collator: Cuts windows.
            max_kept_bytes: See `VisitReader`.
            start_step: The first optimizer step to deliver.
        """
        self._plan = plan
        self._share = share
        self._reader = reader
        self._collator = collator
        self._max_kept_bytes = max_kept_bytes
        self._start_step = start_step
        self.memory: BatchMemory | None = None
        """Where micro-batches are put together; whoever iterates reserves it."""

    @property
    def layout(self) -> BatchLayout:
        """Size of a micro-batch."""
        window = self._plan.sources[0].window
        return _lay_out(self._share, window, self._reader, self._collator)

    def __iter__(self) -> Iterator[BatchPart | Exception]:
        try:
            yield from self._iter_parts()
        except (ShardError, OSError) as error:
            # Handed over as it is: raised here, it would arrive wrapped in a traceback.
            yield error

    def _iter_parts(self) -> Iterator[BatchPart]:
        # Another iteration has another one.
        memory = self.memory
        assert memory is not None  # noqa: S101 - whoever iterates gives it
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        visits = VisitReader(self._plan, self._reader, max_kept_bytes=self._max_kept_bytes)
        start, stop = self._share.slots(worker=worker, num_workers=num_workers)
        planned = self._iter_planned(worker, num_workers)
        num_ahead = -(-SAMPLES_AHEAD // self._share.shape.micro_batch_size)
        coming: deque[_PlannedPart] = deque()
        with contextlib.closing(visits):
            for number in count():
                for part in islice(planned, num_ahead + 1 - len(coming)):
                    visits.announce(part.turns)
                    coming.append(part)
                part = coming.popleft()
                windows = visits.read(part.turns)
                out = memory.find(number).cut(start, stop)
                self._collator.collate(windows, occurrences=part.samples.tolist(), out=out)
                yield BatchPart(
                    window_ids=[window.id for window in windows],
                    planned_window_ids=[window.planned for window in windows],
                    num_valid_in_step=part.num_rows_in_step * self._collator.labelled_controls,
                    report=self._reader.report.take(),
                )

    def _iter_planned(self, worker: int, num_workers: int) -> Iterator[_PlannedPart]:
        """Plan a worker's part of one micro-batch after the other."""
        accumulation = self._share.shape.accumulation
        start, stop = self._share.slots(worker=worker, num_workers=num_workers)
        size = stop - start
        # Many steps at once: for a small batch, a call costs more than what it computes.
        num_steps = max(1, _PLANNED_SAMPLES // (accumulation * size))
        for first in count(self._start_step, num_steps):
            samples = np.concatenate(
                [
                    self._share.part(step, micro_batch, worker=worker, num_workers=num_workers)
                    for step in range(first, first + num_steps)
                    for micro_batch in range(accumulation)
                ]
            )
            turns = self._plan.turns(samples)
            num_rows = self._plan.count_rows(samples).reshape(num_steps, -1).sum(axis=1)
            for index, rows in enumerate(np.repeat(num_rows, accumulation).tolist()):
                begin, end = index * size, (index + 1) * size
                yield _PlannedPart(samples[begin:end], turns.cut(begin, end), rows)


class ValidationStream(IterableDataset[PolicyBatch]):
    """A fixed, seeded list of windows, each visited once."""

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        share: Share,
        reader: ClipReader,
        collator: WindowCollator,
        num_windows: int,
        seed: int,
    ) -> None:
        """Draw the windows: an equal number from each source, all of it if it has fewer.

        Ranks whose share is short get windows with an all-False mask, so that every rank has the
        same number of batches; so does whoever meets a clip that cannot be read.
        """
        self._share = share
        self._reader = reader
        self._collator = collator
        self._windows: list[tuple[Source, int, int]] = []
        for index, source in enumerate(sources):
            size = source.table.num_windows
            drawn = np.arange(min(num_windows // len(sources), size))
            # In the order of the clips, so that each is decoded once.
            positions = np.sort(permute(drawn, size=size, key=derive_key(seed, index)))
            located = source.table.locate(positions)
            self._windows += [
                (source, int(clip), int(frame))
                for clip, frame in zip(located.clip, located.frame, strict=True)
            ]

    def __len__(self) -> int:
        shape = self._share.shape
        per_round = shape.world_size * shape.micro_batch_size
        return -(-len(self._windows) // per_round)

    def __iter__(self) -> Iterator[PolicyBatch]:
        info = get_worker_info()
        first, stride = (info.id, info.num_workers) if info else (0, 1)
        shape = self._share.shape
        size = shape.micro_batch_size
        for index in range(first, len(self), stride):
            start = (index * shape.world_size + self._share.rank) * size
            windows = self._read(self._windows[start : start + size])
            source = self._windows[0][0]
            windows += [self._blank(source)] * (size - len(windows))
            layout = _lay_out(self._share, source.window, self._reader, self._collator)
            out = layout.allocate()
            self._collator.collate(windows, occurrences=[0] * size, out=out)
            yield out.to_batch(
                num_valid_in_step=0,
                window_ids=[window.id for window in windows],
                planned_window_ids=[window.planned for window in windows],
            )

    def _read(self, wanted: Sequence[tuple[Source, int, int]]) -> list[Window]:
        frames_of: dict[tuple[str, int], list[int]] = {}
        for source, clip, frame in wanted:
            frames_of.setdefault((source.name, clip), []).append(frame)
        decoded: dict[tuple[str, int], DecodedClip | None] = {}
        windows: list[Window] = []
        for source, clip, frame in wanted:
            key = source.name, clip
            if key not in decoded:
                decoded[key] = self._decode(source, clip, frames_of[key])
            found = decoded[key]
            windows.append(self._blank(source) if found is None else _cut_one(source, found, frame))
        return windows

    def _decode(self, source: Source, clip: int, frames: Sequence[int]) -> DecodedClip | None:
        seen = source.window.frame_indices(np.array(frames))
        try:
            row = source.manifest.row(clip)
            joined = source.window.rows_per_action(row.fps)
            encoded = self._reader.fetch(source.dataset, row, rows_per_action=joined)
            return self._reader.decode(encoded, np.unique(np.maximum(seen, 0)))
        except ShardError:
            return None

    def _blank(self, source: Source) -> Window:
        """Build a window whose mask is all False."""
        return _cut_one(source, self._reader.blank(), 0)


def _lay_out(
    share: Share, window: WindowShape, reader: ClipReader, collator: WindowCollator
) -> BatchLayout:
    return BatchLayout(
        num_samples=share.shape.micro_batch_size,
        num_frames=window.num_frames,
        image_size=reader.image_size,
        action_horizon=window.action_horizon,
        action_dim=collator.action_dim,
    )


def _cut_one(source: Source, clip: DecodedClip, frame: int) -> Window:
    (window,) = cut_windows(clip, np.array([frame]), shape=source.window, source=source.name)
    return window


class TrainingLoader:
    """The endless iterable of a rank's micro-batches."""

    def __init__(
        self,
        stream: TrainingStream,
        *,
        num_workers: int,
        prefetch_factor: int,
        pin_memory: bool,
        quarantine: Quarantine,
    ) -> None:
        """Set up the workers; they start with the iteration.

        Args:
            stream: What each of them runs.
            num_workers: Processes; 0 reads in this one. At most one per sample of a micro-batch.
            prefetch_factor: Micro-batches that are prepared ahead.
            pin_memory: Whether batches go to a GPU.
            quarantine: Watches what cannot be read.
        """
        self._stream = stream
        self._parts = DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            worker_init_fn=obey_training_alone,
            # Forked, they share what is mapped; Python has other defaults, by version and system.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        )
        # Whom torch asks for parts ahead of the one that is taken.
        self._num_ahead = prefetch_factor if num_workers else 0
        self._pin_memory = pin_memory
        self._quarantine = quarantine
        self.report = LoadReport()
        """Sums since somebody took them."""

    def __iter__(self) -> Iterator[PolicyBatch]:
        num_workers = self._parts.num_workers
        memory = self._stream.memory = BatchMemory(
            self._stream.layout,
            num_ahead=self._num_ahead,
            max_lent=_READY + _HELD,
            is_shared=num_workers > 0,
        )
        for number in range(self._num_ahead):
            memory.reserve(number)
        # In this process without torch: its loader adds a fifth of what we do ourselves.
        parts = iter(self._parts if num_workers else self._stream)
        joined = self._join(parts, memory)
        # In this process, reading is work of the training thread, wherever it is done.
        batches = ahead_of(joined, _READY) if num_workers else joined
        try:
            for batch, reports in batches:
                for report in reports:
                    self.report.add(report)
                    self._quarantine.add(report)
                yield batch
        finally:
            batches.close()
            # The workers end with this, or, if a traceback keeps the frame, at the process's exit.
            del parts, joined, batches

    def _join(
        self, parts: Iterator[BatchPart | Exception], memory: BatchMemory
    ) -> Generator[tuple[PolicyBatch, list[LoadReport]]]:
        """Hand micro-batches over when each worker's part of them is there.

        Raises:
            ShardError: If a worker has met data that cannot be read.
            OSError: If storage fails.
        """
        try:
            for number in count():
                # Taking a part asks its worker for another one, so far ahead.
                memory.reserve(number + self._num_ahead)
                told: list[BatchPart] = []
                for part in islice(parts, max(1, self._parts.num_workers)):
                    if isinstance(part, Exception):
                        raise part
                    told.append(part)
                batch = memory.lend(number).to_batch(
                    num_valid_in_step=sum(part.num_valid_in_step for part in told),
                    window_ids=[name for part in told for name in part.window_ids],
                    planned_window_ids=[name for part in told for name in part.planned_window_ids],
                )
                if self._pin_memory:
                    batch = batch.pin_memory()
                yield batch, [part.report for part in told]
                del batch
        finally:
            # A traceback may keep this frame, and the workers live as long as what they come from.
            del parts


def ahead_of(items: Generator[_Item], num_ready: int) -> Generator[_Item]:
    """Let a thread prepare what comes next, in order, up to so many items ahead.

    Args:
        items: Run by the thread, to its end or until this is closed.
        num_ready: That wait to be taken, at most.

    Raises:
        Exception: What `items` raises, once what came before it is taken.
    """
    ready: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(num_ready)
    is_over = threading.Event()

    def hand_over(item: _Item | None, error: BaseException | None = None) -> None:
        while not is_over.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=_LOOK_UP_S)
                return

    def prepare() -> None:
        try:
            for item in items:
                hand_over(item)
                if is_over.is_set():
                    return
            hand_over(None, StopIteration())
        except BaseException as error:  # noqa: BLE001 - raised where the items are taken
            hand_over(None, error)

    thread = threading.Thread(target=prepare, name="loader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None  # noqa: S101 - an item or an error
            yield item
    finally:
        is_over.set()
        # It may wait for a worker that reads; nobody waits for that at a run's end.
        thread.join(_LOOK_UP_S)


def obey_training_alone(_worker_id: int) -> None:
    """Let a worker go on when its process group is told to stop; it ends with its training.

    SLURM signals every process of a job, a terminal all of the foreground. A worker that obeyed
    would end the step that the training wants to finish and save. SIGTERM from the training itself
    is how multiprocessing ends its workers at exit, which then waits for them.
    """
    training = os.getppid()
    end_with(training)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # Elsewhere torch's own handler obeys every SIGTERM.
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_the_end, args=(training,), daemon=True).start()


def _wait_for_the_end(training: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
        pass
    # Any other status would be a lost worker's.
    os._exit(0)


def explain_lost_worker(error: RuntimeError) -> str | None:
    """Say in one line what happened if an error of torch's means that a worker's process is gone.

    torch raises it from a signal handler, so anywhere in the training step.
    """
    found = _LOST_WORKER.search(str(error))
    if found is None:
        return None
    pids, end = found.groups()
    if "Bus error" in end:
        cause = "shared memory has run out: enlarge /dev/shm, or lower data.prefetch_factor"
    else:
        cause = (
            "most often because memory has run out: lower data.num_workers, data.prefetch_factor "
            "or data.clip_cache_gib"
        )
    return f"worker process {pids}, which loads data, {end}; {cause}, then start again"
