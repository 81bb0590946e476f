"""Measure how fast a run goes, how much of the time it waits for data, and why.

    times of steps, waits ─► samples/s, share of waiting
    policy on the meta device ─► FLOPs of a sample ─► MFU, with a GPU's peak as its maker states it

On the meta device tensors have a shape and no values: counting costs seconds and no memory.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.clip_reader import LoadReport
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.training.datamodule import WindowDataModule
from nitrogen_train.training.module import LitPolicy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A kind of GPU, and the machines that it usually stands in; all numbers are peaks."""

    name: str
    device_names: tuple[str, ...]
    """Parts of the names that CUDA gives it."""
    bf16_flops: float
    """Dense bf16 matrix products summed in float32, per second."""
    fp32_flops: float
    """Per second, outside the tensor cores: torch's default for float32."""
    memory_gib: float
    memory_bytes_per_s: float
    gpus_per_node: int
    link_bytes_per_s: float
    """Rate to the other GPUs of its node, each way."""
    network_bytes_per_s: float
    """Rate to other nodes, each way: this GPU's share of its node's network."""


GPUS = (
    Gpu(
        name="H100 SXM",
        device_names=("H100 80GB HBM3", "H200"),
        bf16_flops=989.4e12,
        fp32_flops=66.9e12,
        memory_gib=79.6,
        memory_bytes_per_s=3.35e12,
        gpus_per_node=8,
        link_bytes_per_s=450e9,
        network_bytes_per_s=50e9,
    ),
    Gpu(
        name="A100",
        device_names=("A100",),
        bf16_flops=312e12,
        fp32_flops=19.5e12,
        memory_gib=80.0,
        memory_bytes_per_s=2.039e12,
        gpus_per_node=8,
        link_bytes_per_s=300e9,
        network_bytes_per_s=25e9,
    ),
    Gpu(
        name="RTX 4090",
        device_names=("RTX 4090",),
        bf16_flops=165.2e12,
        fp32_flops=82.6e12,
        memory_gib=24.0,
        memory_bytes_per_s=1.008e12,
        gpus_per_node=8,
        link_bytes_per_s=32e9,
        network_bytes_per_s=1.5625e9,
    ),
)
"""Peaks and memory, of which the A100 is the one with 80 GB.

Source:
    NVIDIA's H100 Tensor Core GPU Architecture (2022, table 2) and data sheet, A100 Tensor Core GPU
    data sheet (2021), Ada GPU Architecture (2022, appendix A). Links: NVLink 4 (900 GB/s both ways
    together), NVLink 3 (600), PCIe 4.0 x16. Networks: DGX H100 has eight ports of 400 Gbit/s, DGX
    A100 eight of 200; for the RTX 4090 one port of 100 Gbit/s among eight GPUs is our assumption.
"""


def find_gpu(device_name: str) -> Gpu | None:
    """Find a GPU by what `torch.cuda.get_device_name` calls it; None if it is not known here."""
    for gpu in GPUS:
        if any(part in device_name for part in gpu.device_names):
            return gpu
    return None


def make_random_batch(
    *, num_samples: int, num_frames: int, image_size: int, action_horizon: int, action_dim: int
) -> PolicyBatch:
    """Draw a batch on torch's default device.

    Pictures and actions are random and all valid: what a step costs does not depend on them.
    """
    size = (num_samples, num_frames)
    actions = torch.rand(num_samples, action_horizon, action_dim)
    return PolicyBatch(
        frames=torch.randint(256, (*size, 3, image_size, image_size)).byte(),
        frame_mask=torch.ones(size, dtype=torch.bool),
        actions=actions,
        action_mask=torch.ones_like(actions, dtype=torch.bool),
        game_id=torch.zeros(num_samples, dtype=torch.int64),
        sample_seed=torch.arange(num_samples),
        num_valid_in_step=torch.tensor(actions.numel()),
        window_ids=tuple(WindowId("random", "clip", frame) for frame in range(num_samples)),
    )


def make_sample(policy: VisualPolicy) -> PolicyBatch:
    """Draw a batch of one sample, as a policy takes it, on torch's default device."""
    return make_random_batch(
        num_samples=1,
        num_frames=policy.num_frames,
        image_size=policy.image_size,
        action_horizon=policy.action_horizon,
        action_dim=policy.action_space.action_dim,
    )


def count_flops(function: Callable[[], object]) -> int:
    """Count the operations of a function that works on the meta device.

    Attention is taken apart into its two products, since `FlopCounterMode` counts the CPU's fused
    one as nothing.
    """
    with (
        torch.device("meta"),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        function()
    return counter.get_total_flops()


def count_training_flops(policy: VisualPolicy) -> int:
    """Count the operations of training a policy on the meta device, forward and backward, a sample.

    Frozen parts have no backward pass. Recomputation counts where the policy checkpoints its
    activations.
    """
    with torch.device("meta"):
        batch = make_sample(policy)
    return count_flops(lambda: policy.train().compute_loss(batch).error_sum.backward())


def copy_to_meta(policy: VisualPolicy) -> VisualPolicy:
    """Build the same policy, frozen where it is, without its values."""
    settings: Mapping[str, Any] = policy.settings
    with torch.device("meta"):
        copy = type(policy).from_settings(dict(settings))
    learns = {name: parameter.requires_grad for name, parameter in policy.named_parameters()}
    _set_learning(copy, learns)
    return copy


def _set_learning(policy: nn.Module, learns: Mapping[str, bool]) -> None:
    for name, parameter in policy.named_parameters():
        parameter.requires_grad = learns[name]


class ThroughputCallback(L.Callback):
    """Logs samples/s of the whole job, MFU, and the share of time spent waiting for data.

    Only where a rate is logged does the host wait for a GPU. The share is the training thread's: a
    GPU may go on meanwhile with what is queued.

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
        self._samples += len(batch)
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        is_logged = is_step and trainer.global_step % self._every_n_steps == 0
        if is_logged and pl_module.device.type == "cuda":
            # Only here: in between the host prepares what the device will do next.
            torch.cuda.synchronize()
        self._batch_end = time.perf_counter()
        if is_logged:
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
