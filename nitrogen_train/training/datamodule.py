"""The stream as Lightning asks for it, with the one number that a resume needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
from torch.utils.data import DataLoader, IterableDataset

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clips import ClipReader, Source
from nitrogen_train.data.collate import WindowCollator
from nitrogen_train.data.decode import choose_decoder
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import Split
from nitrogen_train.data.stream import Share, TrainingStream, ValidationStream
from nitrogen_train.data.windows import WindowShape


def load_sources(
    sources: Mapping[str, Mapping[str, Any]], *, split: Split, window: WindowShape
) -> list[Source]:
    """Open the data sets of a mixture.

    Args:
        sources: Name to `path`, and optionally `weight` (1) and `action_offset` (the window's).
        split: The clips to draw from.
        window: How windows are cut.

    Raises:
        ValueError: If no source is given.
    """
    if not sources:
        raise ValueError(
            "no data: give at least one source, for example data.sources.mine.path=FOLDER"
        )
    loaded: list[Source] = []
    for name, options in sources.items():
        folder = Path(options["path"])
        offset = options.get("action_offset", window.action_offset)
        manifest = read_manifest(folder).filter(split=split)
        loaded.append(
            Source(
                name=name,
                folder=folder,
                manifest=manifest,
                weight=float(options.get("weight", 1.0)),
                window=WindowShape(
                    num_frames=window.num_frames,
                    frame_stride=window.frame_stride,
                    action_horizon=window.action_horizon,
                    action_offset=offset,
                ),
            )
        )
    return loaded


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Samples of an optimizer step over all ranks, and of one `PolicyBatch`."""

    global_batch_size: int
    micro_batch_size: int


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How clips are read, kept and shuffled; see `DataConfig`."""

    clips_per_block: int
    clip_cache_gib: float
    num_val_windows: int
    num_workers: int
    prefetch_factor: int
    decoder: str


class WindowDataModule(L.LightningDataModule):
    """Streams a mixture of data sets.

    Its state is `samples_seen`, which the optimizer's step counter implies, and what the order of
    the samples depends on; a resume with another order is refused.
    """

    def __init__(
        self,
        *,
        train_sources: Sequence[Source],
        val_sources: Sequence[Source],
        space: ActionSpace,
        games: Sequence[str],
        image_size: int,
        seed: int,
        batching: Batching,
        loading: Loading,
    ) -> None:
        """Hold what the loaders are built from; nothing is read yet.

        Args:
            train_sources: The mixture to train on.
            val_sources: The same data sets' held-out sessions.
            space: The layout of the actions.
            games: Names by game id, from 1.
            image_size: Pixels a side of the frames delivered.
            seed: Of the order and of all that is random about a sample.
            batching: Samples per step and per micro-batch.
            loading: How they are read.
        """
        super().__init__()
        self._train_sources = train_sources
        self._val_sources = val_sources
        self._space = space
        self._collator = WindowCollator(space=space, games=games, seed=seed)
        self._batching = batching
        self._image_size = image_size
        self._seed = seed
        self._loading = loading
        self._start_step = 0

    def train_dataloader(self) -> DataLoader[PolicyBatch]:
        """Build this rank's endless stream, from the step to resume at."""
        stream = TrainingStream(
            sources=self._train_sources,
            share=self._share(),
            reader=self._reader(),
            collator=self._collator,
            clips_per_block=self._loading.clips_per_block,
            seed=self._seed,
            start_step=self._start_step,
        )
        return self._load(stream)

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
        return self._load(stream)

    def state_dict(self) -> dict[str, Any]:
        """Name the position in the stream, and what its order depends on."""
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks
        return {
            "samples_seen": self.trainer.global_step * self._batching.global_batch_size,
            "order": self._order(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at the saved position.

        Raises:
            ValueError: If the order of the samples is not the one that was saved.
        """
        saved, now = state_dict["order"], self._order()
        changed = [key for key in now if now[key] != saved.get(key)]
        if changed:
            details = "; ".join(f"{key}: was {saved.get(key)}, is {now[key]}" for key in changed)
            raise ValueError(
                f"cannot resume, the order of the samples has changed ({details}); restore the "
                "setting, or start a new run in another output_dir"
            )
        self._start_step = state_dict["samples_seen"] // self._batching.global_batch_size

    def _order(self) -> dict[str, Any]:
        return {
            "seed": self._seed,
            "global_batch_size": self._batching.global_batch_size,
            "clips_per_block": self._loading.clips_per_block,
            "sources": [source.describe() for source in self._train_sources],
        }

    def _share(self) -> Share:
        assert self.trainer is not None  # noqa: S101 - Lightning sets it before it asks
        return Share(
            global_batch_size=self._batching.global_batch_size,
            micro_batch_size=self._batching.micro_batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def _reader(self) -> ClipReader:
        return ClipReader(
            space=self._space,
            decoder=choose_decoder(self._loading.decoder),
            image_size=self._image_size,
            max_kept_bytes=int(self._loading.clip_cache_gib * 2**30),
        )

    def _load(self, stream: IterableDataset[PolicyBatch]) -> DataLoader[PolicyBatch]:
        num_workers = self._loading.num_workers
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=self._loading.prefetch_factor if num_workers else None,
            pin_memory=self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda",
        )
