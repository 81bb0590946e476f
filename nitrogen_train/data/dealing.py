"""Slots dealt to sources in proportion to weights, evenly along the way."""

import heapq
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64


def deal_evenly(weights: Sequence[float], *, count: int) -> Int64[np.ndarray, " slots"]:
    """Deal slots so that any run of neighbours has nearly every source's share.

    Each source asks for its n-th slot in the middle of the n-th of its equal spans; who asks first
    is served first.

    Args:
        weights: Positive; only their ratios matter.
        count: Slots to deal.

    Returns:
        The index of the source of each slot.

    Raises:
        ValueError: If a weight is not positive and finite.
    """
    shares = np.asarray(weights, np.float64)
    if not (np.isfinite(shares) & (shares > 0)).all():
        raise ValueError(f"mixture weights must be positive, got {list(weights)}")
    spans = (shares.sum() / shares).tolist()
    # Ties go to the source that is named first.
    waiting = [(span / 2, source) for source, span in enumerate(spans)]
    heapq.heapify(waiting)
    slots = np.empty(count, np.int64)
    for slot in range(count):
        due, source = waiting[0]
        slots[slot] = source
        heapq.heapreplace(waiting, (due + spans[source], source))
    return slots
