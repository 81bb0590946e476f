"""What a forecast is asked for: a strategy on a number of GPUs, with a batch and a precision."""

from dataclasses import dataclass
from typing import Literal

STAGES = {"single": 0, "ddp": 0, "zero_1": 1, "zero_2": 2, "zero_3": 3}
"""Of ZeRO, by the name of a strategy; offload forms begin with one of these."""

Offload = Literal["none", "optimizer", "everything"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One training job."""

    strategy: str
    """A name of `conf/strategy`."""
    num_gpus: int
    micro_batch_size: int
    accumulation: int
    """Micro-batches of a rank in one step."""
    precision: str
    """`32-true` or `bf16-mixed`."""
    is_checkpointed: bool
    num_moments: int
    """Values that the optimizer keeps of each weight."""
    bucket_values: int
    """DeepSpeed's reduce_bucket_size."""
    live_values: int = 1_000_000_000
    """DeepSpeed's stage3_max_live_parameters; this is its default."""
    reuse_values: int = 1_000_000_000
    """DeepSpeed's stage3_max_reuse_distance; this is its default."""

    @property
    def stage(self) -> int:
        """Of ZeRO; 0 is none."""
        return STAGES[self.strategy.removesuffix("_offload")]

    @property
    def offload(self) -> Offload:
        """What lies in the host's memory."""
        if not self.strategy.endswith("_offload"):
            return "none"
        return "everything" if self.stage == 3 else "optimizer"

    @property
    def is_autocast(self) -> bool:
        """Whether it computes in bf16, from weights that are fp32 under every strategy."""
        return self.precision == "bf16-mixed"


def divide_batch(*, global_batch_size: int, num_gpus: int, most: int) -> tuple[int, int] | None:
    """Divide a global batch among GPUs.

    Args:
        global_batch_size: Samples of a step.
        num_gpus: Ranks.
        most: Samples in a micro-batch, at most.

    Returns:
        The largest micro-batch that divides it, and how many a rank accumulates; None if the
        samples cannot be shared equally.
    """
    share, rest = divmod(global_batch_size, num_gpus)
    if rest or not share:
        return None
    micro = max(size for size in range(1, min(most, share) + 1) if share % size == 0)
    return micro, share // micro
