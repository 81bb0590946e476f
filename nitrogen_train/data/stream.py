"""Shards to `PolicyBatch`.

    order: sample i ─► (clip, window) ─► record: one ranged read of a shard ─► decode once, keep
      ─► window: frames uint8, rows in model space ─► collate ─► PolicyBatch

Micro-batch j of a rank is j = step * accumulation + m, built by DataLoader worker j mod N, which is
also the order in which a DataLoader takes from its workers. A rank owns a contiguous slice of every
global batch, so the union over ranks does not depend on how many there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clips import ClipReader, Source
from nitrogen_train.data.collate import Window, WindowCollator
from nitrogen_train.data.order import Mixture, SourceOrder, WindowIndex


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of every global batch a process builds, and in what pieces."""

    global_batch_size: int
    """Samples in one optimizer step, over all ranks."""
    micro_batch_size: int
    """Samples in one `PolicyBatch`."""
    rank: int
    world_size: int

    def __post_init__(self) -> None:
        per_step = self.world_size * self.micro_batch_size
        if self.global_batch_size % per_step or not self.global_batch_size:
            lower = self.global_batch_size // per_step * per_step
            raise ValueError(
                f"global_batch_size={self.global_batch_size} must be a multiple of world_size * "
                f"micro_batch_size = {self.world_size} * {self.micro_batch_size}; "
                f"use {max(lower, per_step)} or {lower + per_step}"
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of one rank in one optimizer step."""
        return self.global_batch_size // (self.world_size * self.micro_batch_size)

    def samples(self, step: int, micro_batch: int | None = None) -> range:
        """List the samples of a step that this rank builds, or those of one micro-batch."""
        per_rank = self.global_batch_size // self.world_size
        first = step * self.global_batch_size + self.rank * per_rank
        if micro_batch is None:
            return range(first, first + per_rank)
        first += micro_batch * self.micro_batch_size
        return range(first, first + self.micro_batch_size)


class TrainingStream(IterableDataset[PolicyBatch]):
    """The endless stream of a rank's micro-batches, from any step on."""

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        share: Share,
        reader: ClipReader,
        collator: WindowCollator,
        clips_per_block: int,
        seed: int,
        start_step: int = 0,
    ) -> None:
        """Lay out the order; nothing is read yet.

        Args:
            sources: The mixture.
            share: What this rank builds.
            reader: Reads clips; each worker has its own copy.
            collator: Cuts windows.
            clips_per_block: Clips of a source that are shuffled together.
            seed: Of the order.
            start_step: The first optimizer step to deliver.

        Raises:
            ValueError: If a source has no window.
        """
        self._sources = sources
        self._share = share
        self._reader = reader
        self._collator = collator
        self._mixture = Mixture([source.weight for source in sources])
        self._orders: list[SourceOrder] = []
        for index, source in enumerate(sources):
            counts = [source.window.count_windows(runs) for runs in source.manifest.valid_runs]
            try:
                order = SourceOrder(
                    np.array(counts, np.int64), clips_per_block=clips_per_block, seed=(seed, index)
                )
            except ValueError as error:
                raise ValueError(f"source {source.name!r} ({source.folder}): {error}") from error
            self._orders.append(order)
        self._start_step = start_step

    def __iter__(self) -> Iterator[PolicyBatch]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        index = self._start_step * self._share.accumulation + first
        while True:
            yield self._build(*divmod(index, self._share.accumulation))
            index += stride

    def window_at(self, sample: int) -> tuple[Source, WindowIndex, int]:
        """Find a sample's source, window and last observed frame, without reading a shard."""
        source_index, position = self._mixture.locate(sample)
        source = self._sources[source_index]
        window = self._orders[source_index].window_at(position)
        frames = source.window.last_frames(source.manifest.valid_runs[window.clip])
        return source, window, int(frames[window.window])

    def _build(self, step: int, micro_batch: int) -> PolicyBatch:
        windows = []
        for sample in self._share.samples(step, micro_batch):
            source, window, frame = self.window_at(sample)
            clip = self._reader.read(source, window.clip)
            windows.append(Window(source, clip, frame, window.visit))
        return self._collator.collate(windows, num_valid_in_step=self._count_valid(step))

    def _count_valid(self, step: int) -> int:
        """Count the supervised values of this rank's whole step, from the manifests alone."""
        rows = 0
        for sample in self._share.samples(step):
            source, window, frame = self.window_at(sample)
            rows += source.window.count_rows(source.manifest.valid_runs[window.clip], frame)
        return rows * self._collator.labelled_controls


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
        same number of batches.
        """
        self._share = share
        self._reader = reader
        self._collator = collator
        self._windows: list[tuple[Source, int, int]] = []
        for index, source in enumerate(sources):
            every = [
                (source, clip, int(frame))
                for clip, runs in enumerate(source.manifest.valid_runs)
                for frame in source.window.last_frames(runs)
            ]
            generator = np.random.default_rng((seed, index))
            size = min(num_windows // len(sources), len(every))
            chosen = generator.choice(len(every), size=size, replace=False)
            # In the order of the clips, so that each is decoded once.
            self._windows += [every[i] for i in sorted(chosen)]

    def __len__(self) -> int:
        per_round = self._share.world_size * self._share.micro_batch_size
        return -(-len(self._windows) // per_round)

    def __iter__(self) -> Iterator[PolicyBatch]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        size = self._share.micro_batch_size
        for index in range(first, len(self), stride):
            start = (index * self._share.world_size + self._share.rank) * size
            real = self._windows[start : start + size]
            padded = real + [self._windows[0]] * (size - len(real))
            windows = [
                Window(source, self._reader.read(source, clip), frame, visit=0)
                for source, clip, frame in padded
            ]
            rows = sum(
                source.window.count_rows(source.manifest.valid_runs[clip], frame)
                for source, clip, frame in real
            )
            yield self._collator.collate(
                windows,
                num_valid_in_step=rows * self._collator.labelled_controls,
                supervised=len(real),
            )
