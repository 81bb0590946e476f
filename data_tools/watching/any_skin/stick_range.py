"""Find where a stick rests, and how far it goes, from all the places of its cap in a video.

A place that is taken often may be rest, or where the stick is held: forward, for most of a race.
Rest lies in the middle of an axis that is used both ways, near where the layout has it, and is
taken often; each of these alone misleads. The axes are told apart: one may be held alone.
"""

import numpy as np
from jaxtyping import Float32

_OUTER = 1.0
"""Percentile of places beyond which they do not count for the range."""
_USED = 0.5
"""Of the wider axis' range: a narrower one says nothing about its middle."""
_BY_DISTANCE, _BY_TIMES = 0.7, 0.3
_REACH = 99.0
_LEAST_REACH = 0.25
"""Of the expected travel: a stick that is hardly moved is not stretched to its ends."""
_NEAR_PX = 1.5


def find_stick_range(
    places: Float32[np.ndarray, "n 2"], expected: float
) -> tuple[Float32[np.ndarray, " 2"], float]:
    """Find rest and reach of a stick.

    Args:
        places: Of its cap, from where the layout has it at rest.
        expected: How far the layout says that it goes.

    Returns:
        The place at rest, and how far an axis of 1 is from there.
    """
    if not len(places):
        return np.zeros(2, np.float32), expected
    rest = _find_rest(places, expected)
    size = np.abs(places - rest).max(axis=1)
    return rest, max(float(np.percentile(size, _REACH)), _LEAST_REACH * expected)


def _find_rest(places: Float32[np.ndarray, "n 2"], expected: float) -> Float32[np.ndarray, " 2"]:
    low, high = np.percentile(places, (_OUTER, 100 - _OUTER), axis=0)
    wide = high - low
    reach = max(expected, float(wide.max()) / 2, 1.0)
    rest = np.zeros(2, np.float32)
    for axis, used in enumerate(wide >= _USED * wide.max()):
        steps = np.arange(np.floor(low[axis]), np.ceil(high[axis]) + 1)
        off = np.abs(places[:, axis, None] - steps)
        times = np.clip(1 - off / 2, 0, 1).sum(axis=0)
        middle = np.abs(steps - (low[axis] + high[axis]) / 2) / reach
        share = np.log(np.maximum(times, 0.5) / times.max())
        cost = used * middle + _BY_DISTANCE * np.abs(steps) / reach - _BY_TIMES * share
        near = off[:, cost.argmin()] <= _NEAR_PX
        rest[axis] = np.median(places[near, axis]) if near.any() else steps[cost.argmin()]
    return rest
