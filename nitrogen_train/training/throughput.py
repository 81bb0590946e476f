"""How fast a run goes, how much of the time it waits for data, and why."""

import logging
import time
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.report import LoadReport
from nitrogen_train.training.datamodule import WindowDataModule
from nitrogen_train.training.gpus import find_gpu
from nitrogen_train.training.module import LitPolicy
from nitrogen_train.training.operations import copy_to_meta, count_training_flops

_log = logging.getLogger(__name__)


class ThroughputCallback(L.Callback):
    """Logs samples/s of the whole job, MFU, and the share of time spent waiting for data.

    MFU is the share of a GPU's peak rate that goes into the operations of the policy; on a CPU and
    on GPUs that `gpus` does not know it is left out.

    What is under `data/` is this rank's, over the same steps: seconds that its workers spent
    reading and decoding, MiB read, the share of each source, windows replaced.
    """

    def __init__(self, *, every_n_steps: int, max_wait_share: float, precision: str) -> None:
        """Choose how often to log.

        Args:
            every_n_steps: Optimizer steps over which one value is measured.
            max_wait_share: Of the time; waiting longer than this is warned of.
            precision: `32-true` or `bf16-mixed`: which of the GPU's peaks counts.
        """
        self._precision = precision
        self._utilization_of_rate = 0.0
        self._every_n_steps = every_n_steps
        self._max_wait_share = max_wait_share
        self._num_measured = 0
        self._samples = 0
        self._wait_s = 0.0
        self._window_start = self._batch_end = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the operations of a sample, then start the clock; before, nothing was trained."""
        self._utilization_of_rate = self._find_utilization(pl_module)
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
            wait_share = self._wait_s / elapsed
            pl_module.log("time/samples_per_s", rate)
            pl_module.log("time/data_wait_share", wait_share)
            if self._utilization_of_rate:
                mfu = rate / trainer.world_size * self._utilization_of_rate
                pl_module.log("time/mfu", mfu)
            datamodule: Any = getattr(trainer, "datamodule", None)
            if isinstance(datamodule, WindowDataModule):
                report = datamodule.take_report()
                pl_module.log_dict(_describe(report))
                self._warn(wait_share, report)
            self._restart()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the time of a validation out."""
        self._restart()

    def _find_utilization(self, pl_module: L.LightningModule) -> float:
        """Find what share of the GPU's peak one sample per second takes; 0 if it is not known."""
        device = pl_module.device
        gpu = find_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        if gpu is None or not isinstance(pl_module, LitPolicy):
            return 0.0
        peak = gpu.bf16_flops if self._precision == "bf16-mixed" else gpu.fp32_flops
        return count_training_flops(copy_to_meta(pl_module.policy)) / peak

    def _restart(self) -> None:
        self._samples, self._wait_s = 0, 0.0
        self._window_start = self._batch_end = time.perf_counter()

    def _warn(self, wait_share: float, report: LoadReport) -> None:
        self._num_measured += 1
        # The first values hold the start of the workers.
        if wait_share > self._max_wait_share and self._num_measured % 50 == 2:
            _log.warning(
                "%.0f %% of the time is spent waiting for data; its workers %s",
                100 * wait_share, _find_cause(report),
            )  # fmt: skip


def _describe(report: LoadReport) -> dict[str, float]:
    values = {
        "data/read_s": report.read_s,
        "data/decode_s": report.decode_s,
        "data/read_mib": report.bytes_read / 2**20,
        "data/replaced_windows": float(report.replaced.total()),
    }
    total = max(1, report.windows.total())
    for source, count in sorted(report.windows.items()):
        values[f"data/share_{source}"] = count / total
    for (source, cause), count in sorted(report.replaced.items()):
        values[f"data/replaced_{source}_{cause}"] = float(count)
    return values


def _find_cause(report: LoadReport) -> str:
    if report.read_s > report.decode_s:
        return (
            f"read more ({report.read_s:.1f} s) than they decode ({report.decode_s:.1f} s): keep "
            "the shards nearer, or set data.cache_dir to a local disk"
        )
    return (
        f"decode more ({report.decode_s:.1f} s) than they read ({report.read_s:.1f} s): raise "
        "data.num_workers, or store the clips at the size that is trained on"
    )
