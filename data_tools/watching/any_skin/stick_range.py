"""Find where sticks rest, and how far they go, from all the places of their caps in a video.

A place that is taken often may be rest, or where the stick is held: forward, for most of a race.
Rest lies in the middle of an axis that is used both ways, near where the layout has it, and is
taken often; each of these alone misleads. The axes are told apart: one may be held alone. Both
sticks go equally far, and of one that is pushed forward only, the end of its way tells its rest.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

_OUTER = 1.0
"""Percentile of places beyond which they do not count for the range."""
_OFTEN = 3.0
"""Percentile of places within which more than single ones lie."""
_USED = 0.5
"""Of the wider axis' range: a narrower one says nothing about its middle."""
_BY_MIDDLE, _BY_END, _BY_TIMES = 2.0, 2.0, 0.45
_PLACE_PX = 3.0
"""Pixels by which a layout is usually off, if a stick is parked most of all."""
_SHORT = 0.75
"""Of the other stick's reach: one that goes less far is not moved to its ends."""
_FAR, _TOO_FAR = 1.15, 8.0
"""Reach, as a share of the expected one, above which a place is not rest, and its cost."""
_LEAST_REACH = 0.25
"""Of the expected travel: a stick that is hardly moved is not stretched to its ends."""
_AWAY, _REACH = 0.4, 95.0
"""Share of the furthest places from which on a stick is away, and percentile of these places."""
_LONG = 1.3
_STEP_PX, _NEAR_PX = 0.25, 1.0


Range = tuple[Float32[np.ndarray, " 2"], float]


def find_stick_ranges(
    places: Sequence[Float32[np.ndarray, "_ 2"]], travels: Sequence[float]
) -> list[Range]:
    """Find rest and reach of a controller's sticks.

    Args:
        places: Of each one's cap, from where the layout has it at rest.
        travels: How far the layout says that each goes.

    Returns:
        Of each, the place at rest, and how far an axis of 1 is from there.
    """
    widest = max(map(_measure_width, places), default=0.0)
    ranges = [
        _find_range(each, max(travel, widest / 2))
        for each, travel in zip(places, travels, strict=True)
    ]
    most = max((reach for _, reach in ranges), default=0.0)
    return [(rest, most if reach < _SHORT * most else reach) for rest, reach in ranges]


def _measure_width(places: Float32[np.ndarray, "n 2"]) -> float:
    """Measure the range of the axis on which a stick is moved most, without single places."""
    if not len(places):
        return 0.0
    return float(np.ptp(np.percentile(places, (_OUTER, 100 - _OUTER), axis=0), axis=0).max())


def _find_range(places: Float32[np.ndarray, "n 2"], expected: float) -> Range:
    if not len(places):
        return np.zeros(2, np.float32), expected
    rest = _find_rest(places, expected)
    off = places - rest
    ways = np.sort([_find_reach(way) for way in np.concatenate([off, -off], axis=1).T])
    # One way that is much longer than the others holds what was read wrong.
    is_wrong = ways[-1] / 3 < ways[-2] < ways[-1] / _LONG
    return rest, max(float(ways[-2] if is_wrong else ways[-1]), _LEAST_REACH * expected)


def _find_reach(way: Float32[np.ndarray, " n"]) -> float:
    """Find how far a stick goes one way, when it does."""
    far = way[way > _AWAY * np.percentile(way, 100 - _OUTER / 2)]
    return float(np.percentile(far, _REACH)) if len(far) and far.max() > 0 else 0.0


def _find_rest(places: Float32[np.ndarray, "n 2"], expected: float) -> Float32[np.ndarray, " 2"]:
    low, high = np.percentile(places, (_OUTER, 100 - _OUTER), axis=0)
    least, most = np.percentile(places, (_OFTEN, 100 - _OFTEN), axis=0)
    wide = high - low
    reach = max(expected, float(wide.max()) / 2, 1.0)
    rest = np.zeros(2, np.float32)
    for axis, used in enumerate(wide >= _USED * wide.max()):
        steps = np.arange(np.floor(low[axis]), np.ceil(high[axis]) + 1, _STEP_PX)
        off = np.abs(places[:, axis, None] - steps)
        times = np.clip(1 - off / _NEAR_PX, 0, 1).sum(axis=0)
        middle = np.abs(steps - (low[axis] + high[axis]) / 2) / reach
        share = np.log(np.maximum(times, 0.5) / times.max())
        # No way is longer than half of the widest range.
        far = np.maximum(most[axis] - steps, steps - least[axis]) / reach
        cost = _BY_MIDDLE * used * middle + _TOO_FAR * np.maximum(far - _FAR, 0)
        # Whoever pushes a stick far pushes it to its end.
        cost += _BY_END * used * np.maximum(1 - far, 0)
        distance = np.abs(steps) / _PLACE_PX
        cost += np.where(distance < 1, distance**2 / 2, distance - 0.5) - _BY_TIMES * share
        near = off[:, cost.argmin()] <= _NEAR_PX
        rest[axis] = np.median(places[near, axis]) if near.any() else steps[cost.argmin()]
    return rest
