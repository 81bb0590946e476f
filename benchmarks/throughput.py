"""What the operations of a training step predict for GPUs. Computed, not measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.workload import Workload, count_flops
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.run.forecast import MODEL_FLOPS_UTILIZATION
from nitrogen_train.runtime.progress import format_table
from nitrogen_train.training.throughput import GPUS

PEAK_FLOPS = {gpu.name: gpu.bf16_flops for gpu in GPUS}
"""bf16 matrix products per second."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What training is predicted to reach."""

    name: str
    flops_per_sample: int
    """Forward and backward, without the recomputation of activation checkpointing."""

    @property
    def samples_per_s(self) -> dict[str, float]:
        """By GPU."""
        return {
            gpu: MODEL_FLOPS_UTILIZATION * peak / self.flops_per_sample
            for gpu, peak in PEAK_FLOPS.items()
        }


def predict_throughput(workload: Workload) -> Throughput:
    """Count the operations of a training step on one sample."""

    def train(policy: NitroGen, batch: PolicyBatch) -> None:
        policy.train().compute_loss(batch).error_sum.backward()

    return Throughput(name=workload.name, flops_per_sample=count_flops(workload, train))


def describe_throughput(throughputs: Sequence[Throughput]) -> str:
    """Lay predictions out as a table."""
    header = ("size", "GFLOP/sample", *(f"{gpu}, samples/s" for gpu in PEAK_FLOPS))
    rows = [
        (
            each.name,
            f"{each.flops_per_sample / 1e9:.1f}",
            *(f"{rate:.0f}" for rate in each.samples_per_s.values()),
        )
        for each in throughputs
    ]
    peaks = ", ".join(f"{gpu} {peak / 1e12:.1f}" for gpu, peak in PEAK_FLOPS.items())
    return (
        f"{format_table(header, rows)}\n"
        f"computed, not measured: {MODEL_FLOPS_UTILIZATION:.0%} of the dense bf16 peak "
        f"({peaks} TFLOP/s) over the operations of a forward and backward pass\n"
    )
