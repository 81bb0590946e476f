"""What is judged before a step is taken: is it finite, is it a spike?

Every judgement is made on a number that all ranks share, so that all of them stop or skip together
and none waits for the others.
"""

import logging
import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch.distributed

from nitrogen_train.batch import WindowId

_log = logging.getLogger(__name__)
_WINDOW = 100
"""Steps that the running median looks back."""
_MIN_HISTORY = 20
"""Steps before the first judgement: a run's first losses fall steeply."""


class SpikeDetector:
    """Compares each step's loss with the median of those before it.

    Skipped losses enter the median too: a level that stays is accepted after half a window.
    """

    def __init__(self, *, factor: float) -> None:
        """Judge losses above `factor` times the median, which must be above 1.

        Raises:
            ValueError: If it is not.
        """
        if factor <= 1:
            raise ValueError(f"skip_loss_above={factor} must be above 1: it multiplies a median")
        self._factor = factor
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self.num_skipped = 0

    def is_spike(self, loss: float) -> bool:
        """Judge a step's loss, and remember it."""
        median = statistics.median(self._losses) if len(self._losses) >= _MIN_HISTORY else math.inf
        self._losses.append(loss)
        is_spike = loss > self._factor * median
        self.num_skipped += is_spike
        return is_spike

    def state_dict(self) -> dict[str, Any]:
        """Remember across a resume."""
        return {"losses": list(self._losses), "num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self._losses.extend(state_dict["losses"])
        self.num_skipped = state_dict["num_skipped"]


def describe_windows(windows: Sequence[WindowId]) -> str:
    """Name a batch's windows in one line, as `nitrogen-data order` does."""
    return ", ".join(f"{window.source}/{window.clip_id}@{window.frame}" for window in windows)


def explain_non_finite(
    *,
    step: int,
    rank: int,
    losses: Sequence[float],
    windows: Sequence[Sequence[WindowId]],
    gradient_norm: float,
) -> FloatingPointError:
    """Find out, on all ranks together, where a number that is not finite comes from.

    Args:
        step: Optimizer steps taken before it.
        rank: Of this process.
        losses: Of this rank's micro-batches.
        windows: Of the same.
        gradient_norm: Over all ranks; NaN if it is not known.
    """
    causes = [
        f"the loss is {loss} at step {step}, rank {rank}; its windows are {describe_windows(ids)}"
        for loss, ids in zip(losses, windows, strict=True)
        if not math.isfinite(loss)
    ]
    mine = causes[0] if causes else None
    first = windows[0] if windows else ()
    batch = f"rank {rank}: {describe_windows(first)}"
    everyone: list[tuple[str | None, str]] = [(mine, batch)]
    if torch.distributed.is_initialized():
        everyone = [(None, "")] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everyone, (mine, batch))
    found = [cause for cause, _ in everyone if cause is not None]
    if found:
        return FloatingPointError("; ".join(found))
    return FloatingPointError(
        f"the gradient's norm is {gradient_norm} at step {step}, where the losses are finite; the "
        f"step's first windows are, on {'; '.join(text for _, text in everyone)}"
    )
