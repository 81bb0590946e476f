"""Disks and memory that a rank does without; loaded by `+callbacks.…`."""

import resource
import signal
import threading
from pathlib import Path

import lightning as L  # noqa: N812 - Lightning's own convention
import torch

from nitrogen_train.training import checkpoints


class FullDisk(L.Callback):
    """A rank's disk is full from step 3."""

    def __init__(self, *, rank: int) -> None:
        self._rank = rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == self._rank and trainer.global_step == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))


class HeldDisk(L.Callback):
    """Rank 1's disk takes nothing of a checkpoint before the training is so much further."""

    def __init__(self, *, step: int, until_step: int | None = None) -> None:
        self._until_step = until_step
        self._name = f"step-{step}.ckpt"
        self._is_released = threading.Event()

    def on_train_start(self, trainer, pl_module) -> None:
        save = torch.save

        def hold(content, path) -> None:
            if f".{self._name}.part" in str(path):
                assert self._is_released.wait(600)
            save(content, path)

        if trainer.global_rank == 1:
            torch.save = hold

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and trainer.global_step == self._until_step:
            folder = Path(trainer.default_root_dir) / "checkpoints"
            assert (folder / f".{self._name}.part").is_dir()
            assert not (folder / self._name).exists()
            self._is_released.set()


class NoMemory(L.Callback):
    """Rank 1 has no memory for a copy of a checkpoint."""

    def on_train_start(self, trainer, pl_module) -> None:
        if trainer.global_rank == 1:
            checkpoints.count_free_bytes = lambda: 0.0
