"""Give the stream to Lightning, with the one number that a resume needs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
from torch.utils.data import DataLoader

from nitrogen_train.actions import ActionSpace
from nitrogen_train.actions.space import SAME_RATE
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clip_reader import ClipReader, LoadReport, Quarantine
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.mixture import Source
from nitrogen_train.data.order import BatchShape, Share, WindowPlan
from nitrogen_train.data.stream import (
    TrainingLoader,
    TrainingStream,
    ValidationStream,
    obey_training_alone,
)
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.data.visits import estimate_lane_bytes, fits_decoded
from nitrogen_train.runtime.processes import count_cores

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loading:
    """The settings by which windows are read; see `DataConfig`.

    None of them changes which, but where a clip is damaged in part: what cannot be decoded together
    is replaced together, and `clip_cache_gib` and `decoder` decide what that is.
    """

    micro_batch_size: int
    clip_cache_gib: float
    max_lane_gib: float
    num_val_windows: int
    num_workers: int
    prefetch_factor: int
    decoder: str
    max_fault_share: float
    quarantine_dir: Path
    """Folder in which each rank lists the clips that it could not read."""


class WindowDataModule(L.LightningDataModule):
    """Streams a mixture of data sets.

    Its state is `samples_seen`, which the optimizer's step counter implies, and what the order of
    the samples depends on; a resume with another order is refused.
    """

    def __init__(
        self,
        *,
        plan: WindowPlan,
        val_sources: Sequence[Source],
        space: ActionSpace,
        games: Sequence[str],
        image_size: int,
        loading: Loading,
    ) -> None:
        """Hold what the loaders are built from; nothing is read yet.

        Args:
            plan: The mixture to train on, and its order.
            val_sources: The same data sets' held-out sessions.
            space: The layout of the actions.
            games: Names by game id, from 1.
            image_size: Pixels a side of the frames delivered.
            loading: How they are read.
        """
        super().__init__()
        self._plan = plan
        self._val_sources = val_sources
        self._space = space
        self._seed = plan.interleaving.seed
        self._collator = WindowCollator(space=space, games=games, seed=self._seed)
        self._image_size = image_size
        self._loading = loading
        self._start_step = 0
        self._training_loader: TrainingLoader | None = None

    def train_dataloader(self) -> TrainingLoader:
        """Build this rank's endless stream, from the step to resume at.

        Raises:
            ValueError: If what its lanes would hold exceeds the limit.
        """
        share, reader = self._share(), self._reader()
        max_kept_bytes = int(self._loading.clip_cache_gib * 2**30)
        if not fits_decoded(
            self._plan, frame_bytes=reader.frame_bytes, max_kept_bytes=max_kept_bytes
        ):
            self._check_lanes(share.shape, reader)
        stream = TrainingStream(
            plan=self._plan,
            share=share,
            reader=reader,
            collator=self._collator,
            max_kept_bytes=max_kept_bytes,
            start_step=self._start_step,
        )
        quarantine = Quarantine(
            self._loading.quarantine_dir / f"rank-{share.rank}.jsonl",
            max_share=self._loading.max_fault_share,
        )
        self._training_loader = TrainingLoader(
            stream,
            num_workers=self._count_workers(),
            prefetch_factor=self._loading.prefetch_factor,
            pin_memory=self._is_on_gpu(),
            quarantine=quarantine,
        )
        return self._training_loader

    def val_dataloader(self) -> DataLoader[PolicyBatch]:
        """Build this rank's share of the fixed list of validation windows."""
        stream = ValidationStream(
            sources=self._val_sources,
            share=self._share(),
            reader=self._reader(),
            collator=self._collator,
            num_windows=self._loading.num_val_windows,
            seed=self._seed,
        )
        num_workers = self._loading.num_workers
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=self._loading.prefetch_factor if num_workers else None,
            pin_memory=self._is_on_gpu(),
            worker_init_fn=obey_training_alone,
        )

    def take_report(self) -> LoadReport:
        """Take what this rank's training loader has counted since the last time."""
        return (
            LoadReport() if self._training_loader is None else self._training_loader.report.take()
        )

    @property
    def order(self) -> dict[str, Any]:
        """Return what the samples and their order depend on, with the hashes of the manifests."""
        return self._plan.identity()

    @property
    def action_hz(self) -> float | None:
        """Return rows per second of all training data, None where they differ."""
        ranges = [source.table.fps_range for source in self._plan.sources]
        slowest, fastest = min(low for low, _ in ranges), max(high for _, high in ranges)
        return slowest if fastest <= slowest * SAME_RATE else None

    def state_dict(self) -> dict[str, Any]:
        """Name the position in the stream, and what its order depends on."""
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks
        global_batch_size = self._plan.interleaving.global_batch_size
        return {
            "samples_seen": self.trainer.global_step * global_batch_size,
            "order": self.order,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the saved position.

        Raises:
            ValueError: If the order of the samples is not the one that was saved.
        """
        saved, now = state_dict["order"], self.order
        changed = [key for key in now if now[key] != saved.get(key)]
        if changed:
            details = "; ".join(f"{key}: was {saved.get(key)}, is {now[key]}" for key in changed)
            raise ValueError(
                f"cannot resume, the order of the samples has changed ({details}); restore the "
                "setting, or start a new run in another output_dir"
            )
        self._start_step = state_dict["samples_seen"] // self._plan.interleaving.global_batch_size

    def _share(self) -> Share:
        """Take this rank's part of each step.

        Raises:
            ValueError: If the trainer would end a step elsewhere: part of each batch would be lost.
        """
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks
        shape = BatchShape(
            global_batch_size=self._plan.interleaving.global_batch_size,
            micro_batch_size=self._loading.micro_batch_size,
            world_size=self.trainer.world_size,
        )
        taken = self.trainer.accumulate_grad_batches
        if shape.accumulation != taken:
            raise ValueError(
                f"a step of {shape.world_size} processes is {shape.accumulation} micro-batches, "
                f"the trainer ends it after {taken}: start as many processes as trainer.devices * "
                "trainer.num_nodes"
            )
        return Share(shape=shape, rank=self.trainer.global_rank)

    def _check_lanes(self, shape: BatchShape, reader: ClipReader) -> None:
        samples = shape.samples_per_process
        gib = (
            estimate_lane_bytes(
                self._plan, samples_per_step=samples, frame_bytes=reader.frame_bytes
            )
            / 2**30
        )
        limit = self._loading.max_lane_gib
        if gib > limit:
            raise ValueError(
                f"{samples} samples a step on each of {shape.world_size} ranks hold about "
                f"{gib:.1f} GiB of open clips, data.max_lane_gib is {limit:g}: use more ranks, a "
                "smaller data.global_batch_size or data.lane_groups, or raise the limit if each "
                "rank has the memory"
            )

    def _count_workers(self) -> int:
        asked, most = self._loading.num_workers, self._loading.micro_batch_size
        if asked > most:
            _log.warning(
                "%d of data.num_workers=%d are used: each builds a part of every micro-batch of %d",
                most, asked, most,
            )  # fmt: skip
        cores = count_cores()
        if min(asked, most) > cores:
            _log.warning(
                "data.num_workers=%d processes share %d core%s with training: they take its time; "
                "give more cores to each task (SLURM: --cpus-per-task), or fewer workers",
                min(asked, most), cores, "s" * (cores != 1),
            )  # fmt: skip
        return min(asked, most)

    def _is_on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _reader(self) -> ClipReader:
        return ClipReader(
            space=self._space,
            decoder=choose_decoder(self._loading.decoder),
            image_size=self._image_size,
        )
