"""How fast a run goes, and how much of the time it waits for data."""

import time
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch

from nitrogen_train.batch import PolicyBatch


class ThroughputCallback(L.Callback):
    """Logs samples/s of the whole job and the share of the time spent waiting for data."""

    def __init__(self, *, every_n_steps: int = 10) -> None:
        """Choose how often to log.

        Args:
            every_n_steps: Optimizer steps over which one value is measured.
        """
        self._every_n_steps = every_n_steps
        self._samples = 0
        self._wait_s = 0.0
        self._window_start = self._batch_end = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; what came before was not training."""
        self._restart()

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Count the time since the last batch as waiting."""
        self._wait_s += time.perf_counter() - self._batch_end

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Log once per `every_n_steps` optimizer steps."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self._samples += len(batch)
        self._batch_end = time.perf_counter()
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step and trainer.global_step % self._every_n_steps == 0:
            elapsed = self._batch_end - self._window_start
            rate = self._samples * trainer.world_size / elapsed
            pl_module.log("time/samples_per_s", rate, prog_bar=True)
            pl_module.log("time/data_wait_share", self._wait_s / elapsed, prog_bar=True)
            self._restart()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave validation out of the measured time."""
        self._restart()

    def _restart(self) -> None:
        self._samples = 0
        self._wait_s = 0.0
        self._window_start = self._batch_end = time.perf_counter()
