"""The loss of a whole step, by group of controls and by source, over micro-batches and ranks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nitrogen_train.batch import WindowId
from nitrogen_train.models.policy import LossOutput

_GROUPS = ("buttons", "sticks")


class StepLosses:
    """Sums on the device: nothing waits for them until `take`."""

    def __init__(self, sources: Sequence[str]) -> None:
        """Tell sources apart.

        Args:
            sources: Their names, the same on all ranks; windows of others count only in the total.
        """
        self._names = (*_GROUPS, *(f"source_{source}" for source in sources))
        self._source_ids = {source: index for index, source in enumerate(sources)}
        self._sums: Tensor | None = None

    def add(self, output: LossOutput, window_ids: Sequence[WindowId]) -> None:
        """Add a micro-batch.

        Args:
            output: Its errors.
            window_ids: Where its samples come from.
        """
        groups = torch.stack(
            [
                torch.stack([output.error_sum_buttons, output.error_sum_sticks]).double(),
                torch.stack([output.num_valid_buttons, output.num_valid_sticks]).double(),
            ]
        )
        other = len(self._source_ids)
        ids = [self._source_ids.get(window.source, other) for window in window_ids]
        per_sample = torch.stack(
            [output.error_sum_by_sample.double(), output.num_valid_by_sample.double()]
        )
        by_source = per_sample.new_zeros(2, other + 1).index_add(
            1, torch.tensor(ids, device=per_sample.device), per_sample
        )
        sums = torch.cat([groups, by_source[:, :other]], dim=1)
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Hand out the means by name, and begin again; all ranks together.

        Args:
            sum_over_ranks: Sums a tensor.

        Returns:
            `train/loss` of the step, and `train/loss_…` of what occurred in it.
        """
        if self._sums is None:
            return {}
        errors, counts = sum_over_ranks(self._sums).tolist()
        self._sums = None
        num_groups = len(_GROUPS)
        total = sum(errors[:num_groups]) / max(1.0, sum(counts[:num_groups]))
        return {"train/loss": total} | {
            f"train/loss_{name}": error / count
            for name, error, count in zip(self._names, errors, counts, strict=True)
            if count
        }
