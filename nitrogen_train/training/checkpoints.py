"""Save checkpoints that are never half-written, find them again, and decide which stay.

    step's end ─► a copy in memory ─► training goes on
                        └► files beside the target ─► whole ─► renamed to step-N.ckpt ─► old removed

A new checkpoint is whole before an old one goes, so that a full disk or a kill leaves what there
was. The end of a run, and of one that is told to stop, waits for what is being written. The thread
that writes takes part in no collective, which would get between those of the training: what it
could not do, the ranks learn from each other at a step's end.
"""

import copy
import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.pretrained.places import find_checkpoints
from nitrogen_train.runtime.atomic_files import describe_error, sync, write_atomically
from nitrogen_train.runtime.processes import count_free_bytes
from nitrogen_train.training.optimization import averages_in
from nitrogen_train.training.zero_checkpoint import PREFIX, ShardedStates

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_SMALL = 1024
"""Values of what an optimizer may leave on the CPU."""
_MEMORY_SHARE = 0.5
"""Of the memory that is free: a copy that takes more is not made."""
_PATIENCE_S = 60.0
"""Time that a rank of a run which fails gives the others' writers, of which one may be dead."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, then renames: a full disk or a kill leaves what was there."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 - as the base class
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What Lightning collected.
            path: Target file on a local or shared file system.
            storage_options: Not supported.

        Raises:
            TypeError: If storage options are given.
            OSError: If it cannot be written, for example on a full disk; nothing is lost then.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        with failure_explained(Path(path)), write_atomically(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = lambda storage, _: storage,  # noqa: ANN401 - as the base class
        weights_only: bool | None = None,  # noqa: FBT001 - as the base class
    ) -> dict[str, Any]:
        """Load a checkpoint of any strategy; nothing is unpickled.

        Args:
            path: A file, or a folder of shards, which is put together.
            map_location: As `torch.load`'s.
            weights_only: Nothing else is done.
        """
        if Path(path).is_dir() or not torch.cuda.is_available():
            return read_checkpoint(Path(path))
        # Mapped: the ranks of a node share what each moves to its GPU. What stays on the CPU, such
        # as counters, must not depend on a file that another node may remove.
        mapped = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return tree_map_only(Tensor, _own_if_small, mapped)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint; one that is a folder loses its name first."""
        remove_checkpoint(Path(path))


def _own_if_small(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.numel() <= _SMALL else tensor


class BackgroundCheckpointIO(AtomicCheckpointIO):
    """Writes a copy of what it is given while training goes on; one checkpoint at a time."""

    def __init__(self) -> None:
        """Begin with nothing to write."""
        super().__init__()
        self._staging = _Staging()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._parts: list[Future[None]] = []
        """This rank's files, and on rank 0 of a folder what makes it whole."""
        self._is_given_up = threading.Event()

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ANN401 - as the base class
    ) -> None:
        """Copy a checkpoint, and begin to write it; what is still being written is waited for.

        Where memory does not hold a copy besides, it is written before this returns.

        Args:
            checkpoint: What Lightning collected.
            path: Target file on a local or shared file system.
            storage_options: Not supported.

        Raises:
            OSError: If the one before could not be written; of this one `finish` tells.
        """
        # DDP's other ranks are not here.
        for part in self._take_parts():
            part.result()

        def write(kept: dict[str, Any]) -> None:
            super(BackgroundCheckpointIO, self).save_checkpoint(kept, path, storage_options)

        self.begin(checkpoint, write, is_copied=self.has_room(checkpoint))

    def has_room(self, content: dict[str, Any], *, num_sharing: int = 1) -> bool:
        """Tell whether memory holds a copy in each of so many processes of this machine at once."""
        tensors = [leaf for leaf in tree_leaves(content) if isinstance(leaf, Tensor)]
        fresh = sum(tensor.nbytes for tensor in tensors) - self._staging.num_bytes
        return num_sharing * fresh <= _MEMORY_SHARE * count_free_bytes()

    def begin(
        self,
        content: dict[str, Any],
        write: Callable[[dict[str, Any]], None],
        complete: Callable[[threading.Event], None] | None = None,
        *,
        is_copied: bool,
    ) -> None:
        """Begin to write, in a thread; what was written before is finished.

        Args:
            content: A copy of it is given to `write`, if `is_copied`; else this waits.
            write: Writes this rank's part.
            complete: Called after it, also if it failed; the event tells that no part will come.
            is_copied: See above.
        """
        kept = self._staging.copy(content) if is_copied else content
        self._is_given_up = threading.Event()
        written = self._pool.submit(write, kept)
        self._parts = [written]
        if complete is not None:
            self._parts.append(self._pool.submit(complete, self._is_given_up))
        if not is_copied:
            wait([written])

    @property
    def is_writing(self) -> bool:
        """Tell whether what this rank began to write is not complete yet."""
        return not all(part.done() for part in self._parts)

    @property
    def has_failed(self) -> bool:
        """Tell whether this rank could not write what it should; `finish` says why."""
        return any(part.done() and part.exception() for part in self._parts)

    def finish(self) -> None:
        """Wait, all ranks together, until what they write is on disk.

        Raises:
            OSError: If a rank could not write; on all, and nothing that was there is lost then.
        """
        parts = self._take_parts()
        try:
            # First each its own: rank 0 must not wait for the file of one that has failed, nor
            # remove the folder in which another one still writes.
            do_together(lambda: [part.result() for part in parts[:1]])
            do_together(lambda: [part.result() for part in parts[1:]])
        finally:
            self._is_given_up.set()
            wait(parts)

    def teardown(self) -> None:
        """Leave nothing half-written; a run that fails does not wait long for its other ranks.

        Raises:
            OSError: If it could not be written; where a run fails anyhow, this is only logged.
        """
        parts = self._take_parts()
        wait(parts[:1])
        wait(parts, timeout=_PATIENCE_S)
        self._is_given_up.set()
        wait(parts)
        for part in parts:
            if (error := part.exception()) is not None:
                if sys.exception() is None:
                    raise error
                _log.warning("%s", error)
                return

    def _take_parts(self) -> list[Future[None]]:
        parts, self._parts = self._parts, []
        return parts


class _Staging:
    """Memory for copies of a checkpoint, kept from one to the next: fresh pages cost the most."""

    def __init__(self) -> None:
        self._spare: dict[tuple[Any, ...], list[Tensor]] = {}
        self._copies: dict[tuple[Any, ...], Tensor] = {}

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._copies.values())

    def copy(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Copy a checkpoint into it, over the one before; tensors that are shared stay so."""
        for tensor in self._copies.values():
            self._spare.setdefault(_describe_layout(tensor), []).append(tensor)
        self._copies = {}
        kept = self._copy(checkpoint)
        # What is no longer needed goes.
        self._spare = {}
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return kept

    def _copy(self, value: Any) -> Any:  # noqa: ANN401 - whatever a checkpoint holds
        if isinstance(value, Tensor):
            place = (value.data_ptr() if value.numel() else id(value), *_describe_layout(value))
            if place not in self._copies:
                self._copies[place] = self._take(value).copy_(value.detach(), non_blocking=True)
            return self._copies[place]
        if isinstance(value, dict):
            # Also what a state dict carries besides its items.
            kept = copy.copy(value)
            kept.update((key, self._copy(each)) for key, each in value.items())
            return kept
        if type(value) in (list, tuple):
            return type(value)(self._copy(each) for each in value)
        return value

    def _take(self, like: Tensor) -> Tensor:
        spare = self._spare.get(_describe_layout(like))
        if spare:
            return spare.pop()
        return torch.empty_like(like, device="cpu", pin_memory=like.is_cuda, requires_grad=False)


def _describe_layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype


def finish_saving(trainer: L.Trainer) -> None:
    """Wait, all ranks together, until the checkpoint that a trainer is writing is on disk.

    Raises:
        OSError: If it could not be written; on all ranks.
    """
    writer = trainer.strategy.checkpoint_io
    if isinstance(writer, BackgroundCheckpointIO):
        writer.finish()


def do_together(part: Callable[[], _Result]) -> list[_Result]:
    """Do something on all ranks, and return what each of them got.

    Raises:
        OSError: If it fails on any rank; on all. One process raises its own error.
    """
    if not torch.distributed.is_initialized():
        return [part()]
    result, failure = None, None
    try:
        result = part()
    except Exception as error:  # noqa: BLE001 - raised on all ranks
        failure = describe_error(error)
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, (result, failure))
    for _, reason in everyone:
        if reason is not None:
            raise OSError(reason)
    return [each for each, _ in everyone]


@contextmanager
def failure_explained(path: Path, *, rank: int | None = None) -> Iterator[None]:
    """Say what a user has to know if the block cannot write a checkpoint, or a rank's part of it.

    Raises:
        OSError: If it cannot.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as a RuntimeError of its zip writer.
        who = "" if rank is None else f"rank {rank}: "
        raise OSError(
            f"cannot save {path}: {who}{describe_error(error)}; the checkpoints saved before it "
            "are intact: free some space and start the same command again"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of any strategy as one process would have written it.

    Raises:
        FileNotFoundError: If it, or a part of it, is missing.
    """
    if path.is_dir():
        return ShardedStates(path).plain()
    # Mapped: who wants the average alone does not read the moments, which a training has itself.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint; a folder loses its name first, so that no half is found."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def replace_folder(temporary: Path, path: Path) -> None:
    """Give a folder its name, whose files' writers have synced them; another of this name goes."""
    sync(temporary)
    doomed = path.with_name(f".{path.name}.old")
    shutil.rmtree(doomed, ignore_errors=True)
    if path.exists():
        path.rename(doomed)
    temporary.rename(path)
    sync(path.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def read_weights(checkpoint: dict[str, Any], *, averaged: bool = True) -> dict[str, Tensor]:
    """Take the policy's weights out of a checkpoint, in fp32.

    Args:
        checkpoint: From `read_checkpoint`.
        averaged: The moving average, which validation and evaluation use; else those in training.
    """
    weights = {
        name.removeprefix(PREFIX): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    return weights | (averages_in(checkpoint["optimizer_states"][0]) if averaged else {})


@dataclass(frozen=True, kw_only=True)
class CheckpointPolicy:
    """The rule of how often checkpoints are saved, and which of them stay."""

    every_n_steps: int
    """Optimizer steps between checkpoints; the end of a run is saved besides."""
    every_minutes: float | None = None
    """Minutes after one checkpoint at which another is due; rank 0's clock tells."""
    keep_last: int
    """Number of the latest that stay, at least 1."""
    keep_every_n_steps: int | None = None
    """Those at multiples of this stay for good."""
    keep_best: int = 0
    """Number of the best that stay."""
    metric: str = "val/loss"
    """Metric by which checkpoints are the best."""
    is_lowest_best: bool = True

    def find_superfluous(self, steps: Iterable[int], scores: Mapping[int, float]) -> list[int]:
        """Choose what goes.

        Args:
            steps: At which there are checkpoints.
            scores: Step to the metric, for those that were judged.
        """
        there = sorted(steps)
        judged = [step for step in there if step in scores]
        judged.sort(key=lambda step: scores[step], reverse=not self.is_lowest_best)
        kept = {*there[-self.keep_last :], *judged[: self.keep_best]}
        if self.keep_every_n_steps is not None:
            kept |= {step for step in there if step % self.keep_every_n_steps == 0}
        return [step for step in there if step not in kept]


class CheckpointCallback(Checkpoint):
    """Saves checkpoints `step-N.ckpt` and removes those that are not to be kept."""

    def __init__(self, *, folder: Path, policy: CheckpointPolicy) -> None:
        """Write to a folder.

        Args:
            folder: On a file system that all ranks see; it also gets `scores.json`.
            policy: What is kept.
        """
        self._folder = folder
        self._policy = policy
        self._last_saved: int | None = None
        self._saved_at_s = monotonic()
        self._has_failed = self._is_due = False
        self._is_untidy = False
        """Whether one will be superfluous when what is being written is complete."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note where a run continues, this step is saved already, and remove what a kill left."""
        self._last_saved, self._saved_at_s = trainer.global_step, monotonic()
        for path in self._folder.glob(".*step-*") if trainer.is_global_zero else ():
            remove_checkpoint(path)

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Save what is due, on every rank, once the step's metrics and validation are written.

        Saved any earlier, a run that is killed after the save would never write them.

        Raises:
            OSError: If a rank could not write the checkpoint before; on all.
        """
        if self._has_failed:
            finish_saving(trainer)
        writer = trainer.strategy.checkpoint_io
        if self._is_untidy and not (
            isinstance(writer, BackgroundCheckpointIO) and writer.is_writing
        ):
            self._tidy()
        step, last = trainer.global_step, self._last_saved
        # At the step after a save, what is due was told before it.
        is_due = self._is_due and (last is None or step > last + 1)
        if is_due or step % self._policy.every_n_steps == 0:
            self.save(trainer)

    def tell(self, trainer: L.Trainer) -> tuple[bool, bool]:
        """Tell, for `hear`, whether this rank could not write, and whether it is time to save."""
        writer = trainer.strategy.checkpoint_io
        has_failed = isinstance(writer, BackgroundCheckpointIO) and writer.has_failed
        minutes = self._policy.every_minutes
        is_time = minutes is not None and monotonic() >= self._saved_at_s + 60 * minutes
        return has_failed, is_time and trainer.is_global_zero

    def hear(self, *told: bool) -> None:
        """Note at the end of a step, on all ranks, what any of them has told."""
        self._has_failed, self._is_due = told

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Judge the checkpoint of this step.

        Raises:
            ValueError: If validation has no such metric.
        """
        if not self._policy.keep_best:
            return
        value = trainer.callback_metrics.get(self._policy.metric)
        if value is None:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise ValueError(f"best_metric={self._policy.metric} is not one of {known}")
        if not trainer.is_global_zero:
            return
        scores = self._read_scores() | {trainer.global_step: float(value)}
        with write_atomically(self._scores_path) as temporary:
            temporary.write_text(json.dumps(scores), encoding="utf-8")
        self._tidy()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end of the run, whole."""
        self.save_whole(trainer)

    def save_whole(self, trainer: L.Trainer) -> Path:
        """Save this step unless it is saved, to the end, on all ranks together; return where.

        Raises:
            OSError: If a rank could not write it, or the one before; on all.
        """
        path = self.save(trainer)
        finish_saving(trainer)
        if trainer.is_global_zero:
            self._tidy()
        return path

    def save(self, trainer: L.Trainer) -> Path:
        """Begin to save this step unless it is saved, on all ranks together; return where.

        Raises:
            OSError: If a rank could not write the checkpoint before; on all.
        """
        step = trainer.global_step
        path = self._folder / f"step-{step}.ckpt"
        if step == self._last_saved:
            return path
        finish_saving(trainer)
        # `weights_only` means that the optimizer is left out; unsaid, Lightning logs a line.
        trainer.save_checkpoint(path, weights_only=False)
        self._last_saved, self._saved_at_s = step, monotonic()
        if trainer.is_global_zero:
            self._tidy()
            self._is_untidy = True
        return path

    def _tidy(self) -> None:
        self._is_untidy = False
        there = find_checkpoints(self._folder)
        for step in self._policy.find_superfluous(there, self._read_scores()):
            remove_checkpoint(there[step])

    @property
    def _scores_path(self) -> Path:
        return self._folder / "scores.json"

    def _read_scores(self) -> dict[int, float]:
        if not self._scores_path.exists():
            return {}
        scores = json.loads(self._scores_path.read_text(encoding="utf-8"))
        return {int(step): value for step, value in scores.items()}
