"""Which part of every global batch a process builds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True, kw_only=True)
class Share:
    """A rank's part, and the pieces it comes in; a rank owns a contiguous slice of each batch."""

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
            nearest = sorted({max(lower, per_step), lower + per_step})
            raise ValueError(
                f"data.global_batch_size={self.global_batch_size} must be a multiple of "
                f"processes * data.micro_batch_size = {self.world_size} * "
                f"{self.micro_batch_size}; use data.global_batch_size="
                f"{' or '.join(map(str, nearest))}"
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of one rank in one optimizer step."""
        return self.global_batch_size // (self.world_size * self.micro_batch_size)

    def samples(self, step: int) -> Int64[np.ndarray, " n"]:
        """List the samples of a step that this rank builds."""
        per_rank = self.global_batch_size // self.world_size
        first = step * self.global_batch_size + self.rank * per_rank
        return np.arange(first, first + per_rank)

    def piece(
        self, step: int, micro_batch: int, *, worker: int, num_workers: int
    ) -> Int64[np.ndarray, " n"]:
        """List the samples of a micro-batch that one of the rank's workers builds.

        A slot of the batch belongs to the same worker at every step, and so does its lane: a clip
        is fetched and decoded by one worker alone.
        """
        first = micro_batch * self.micro_batch_size
        start, stop = (
            first + index * self.micro_batch_size // num_workers for index in (worker, worker + 1)
        )
        return self.samples(step)[start:stop]
