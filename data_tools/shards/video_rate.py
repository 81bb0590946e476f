"""Find the frame rate that a video follows, from the times at which its frames are shown.

    shown at    0   17   33   50             117  133  150    (ms; three frames were lost)
    place       0    1    2    3    .    .    7    8    9     (time = phase + place / rate)
    left over   0 +0.3 -0.3    0           +0.3 -0.3    0     (ms; what rounding to ticks explains)

A rate is judged by what it leaves over, over the whole span: a lost frame, a doubled tick or a
pause costs nothing, and the longer a video, the closer the rates that are told apart: 59.94 and 60
after a second or two of whole milliseconds. In this order:

1. Rates near the typical step: the usual ones, the one that the container states, and the one that
   fits best, as a fraction. Of those that the times cannot tell apart, a usual one is taken, if
   possible the stated one. After a pause the frames may have another phase.
2. Usual rates of up to four times as many frames a second, the lowest that fits: more than half of
   the frames were lost, or all of a stretch that lie at odd places.
3. The rate varies: the usual whole rate that is nearest to the typical step, or a simple one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float64, Int64

USUAL_RATES = tuple(
    sorted([
        *map(Fraction, (10, 12, 15, 20, 24, 25, 30, 45, 48, 50, 60, 72, 75, 90, 100, 120, 144)),
        *map(Fraction, (165, 240)),
        *(Fraction(whole * 1000, 1001) for whole in (24, 30, 60, 120)),
    ])
)  # fmt: skip
"""Frames per second."""

_NEAR = 0.05
"""Share by which the typical step may differ from a rate's."""
_SAME = 1e-4
"""Containers state 59.94 as 19001/317 and in other ways."""
_LARGEST_MULTIPLE = 4.2
_FEWEST_TIMES = 3
_FEWEST_TIMES_OF_MULTIPLE = 30
"""A fine grid fits a few times by chance."""
_FEWEST_TICKS_OF_MULTIPLE = 4
"""A grid as fine as the ticks fits everything."""
_SHARE = 0.98
"""Share of the frames that must follow a rate."""
_LARGEST_REST_S = 0.0016
"""Many recorders round to milliseconds, whatever the ticks, and are one off now and then."""
_LARGEST_REST_TICKS = 1.6
_LARGEST_REST_STEPS = 0.38
_AS_GOOD = 1.5
"""Rates are alike if one leaves at most so many times as much as the other."""
_PAUSE_STEPS = 10
_NUM_RUNS = 64
_RUN_LENGTH = 512
"""Frames of a run; of a long video `_NUM_RUNS` such runs are looked at, spread evenly."""
_FIRST_STRETCH_STEPS = 8
_LARGEST_DENOMINATOR = 1001


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Times at which something new is shown, in groups that share a phase."""

    seconds: Float64[np.ndarray, " times"]
    """Seconds from the first time on; strictly increasing."""
    groups: Int64[np.ndarray, " times"]
    """Numbers that grow after a pause."""
    tick_s: float

    @property
    def span_s(self) -> float:
        return float(self.seconds[-1])

    def rests(self, rate: float, groups: Int64[np.ndarray, " times"]) -> Float64[np.ndarray, " t"]:
        """Find how far each time lies from the nearest of its group's grid, in steps."""
        steps = self.seconds * rate
        return _wrap(steps - _find_phases(steps, groups)[groups])

    def measure(self, rate: Fraction, groups: Int64[np.ndarray, " times"]) -> float | None:
        """Measure what a rate typically leaves over, in seconds; `None` if it does not fit."""
        step_s = float(1 / rate)
        rests = np.abs(self.rests(float(rate), groups)) * step_s
        largest = max(_LARGEST_REST_S, _LARGEST_REST_TICKS * self.tick_s)
        if np.quantile(rests, _SHARE) > min(largest, _LARGEST_REST_STEPS * step_s):
            return None
        # Less than rounding to ticks leaves says nothing.
        return max(float(np.median(rests)), self.tick_s / 4)

    def keep_best(
        self, rates: Iterable[Fraction], groups: Int64[np.ndarray, " times"]
    ) -> dict[Fraction, float]:
        """Keep the rates that fit as well as the best, each with what it leaves over."""
        found = {rate: rest for rate in rates if (rest := self.measure(rate, groups)) is not None}
        return {
            rate: rest for rate, rest in found.items() if rest <= _AS_GOOD * min(found.values())
        }


def find_video_rate(
    ticks: Int64[np.ndarray, " frames"], time_base: Fraction, *, stated: Fraction | None
) -> Fraction | None:
    """Find the rate that a video follows, or that suits it if its rate varies.

    Args:
        ticks: When each frame is shown, in order.
        time_base: Seconds per tick.
        stated: What the container says, often an average that frames are missing from.

    Returns:
        Frames per second; `None` if too few frames are there to tell, and nothing is stated.
    """
    ticks = np.unique(ticks)
    stated = _recognize(stated) if stated else None
    if len(ticks) < _FEWEST_TIMES:
        return stated
    seconds = (ticks - ticks[0]) * float(time_base)
    typical = _find_typical_rate(seconds)
    groups = _count_pauses(seconds, typical)
    is_seen = np.arange(len(seconds)) % max(1, len(seconds) // _NUM_RUNS) < _RUN_LENGTH
    times = _Times(seconds=seconds[is_seen], groups=groups[is_seen], tick_s=float(time_base))
    return (
        _find_near_rate(times, typical, stated)
        or _find_multiple(times, typical, stated)
        or _suit_rate(typical, stated)
    )


def find_places(
    ticks: Int64[np.ndarray, " frames"], time_base: Fraction, rate: Fraction
) -> Int64[np.ndarray, " frames"] | None:
    """Find which frame of a constant rate each frame of a video is, counted from the first one.

    Args:
        ticks: When each frame is shown, in order.
        time_base: Seconds per tick.
        rate: Frames per second.

    Returns:
        A place per frame, never decreasing; `None` if the frames do not keep to the rate.
    """
    seconds = (ticks - ticks[0]) * float(time_base)
    steps = seconds * float(rate)
    for groups in (np.zeros_like(ticks), _count_pauses(seconds, float(rate))):
        phases = _find_phases(steps, groups)
        if np.quantile(np.abs(_wrap(steps - phases[groups])), _SHARE) <= _LARGEST_REST_STEPS:
            # In whole ticks, so that times between two places go the same way on any machine.
            shifts = np.round(phases / float(rate * time_base)).astype(np.int64)
            places = round_to_steps(ticks - ticks[0] - shifts[groups], 1 / (rate * time_base))
            return places - places[0]
    return None


def round_to_steps(
    ticks: Int64[np.ndarray, " frames"], step: Fraction
) -> Int64[np.ndarray, " frames"]:
    """Round ticks to multiples of a step, in whole numbers; halves go up."""
    return (2 * ticks * step.denominator + step.numerator) // (2 * step.numerator)


def _find_near_rate(times: _Times, typical: float, stated: Fraction | None) -> Fraction | None:
    near = [rate for rate in USUAL_RATES if _is_within(rate, typical, _NEAR)]
    if stated is not None and _is_within(stated, typical, _NEAR):
        near.append(stated)
    kept = times.keep_best([*near, _refine(times, typical)], times.groups)
    # One phase for all tells more, where a pause has not changed it.
    kept = times.keep_best(kept, np.zeros_like(times.groups)) or kept
    return _prefer(kept, stated) if kept else None


def _find_multiple(times: _Times, typical: float, stated: Fraction | None) -> Fraction | None:
    if len(times.seconds) < _FEWEST_TIMES_OF_MULTIPLE:
        return None
    highest = min(_LARGEST_MULTIPLE * typical, 1 / (_FEWEST_TICKS_OF_MULTIPLE * times.tick_s))
    rates = [rate for rate in USUAL_RATES if (1 + _NEAR) * typical < rate <= highest]
    kept = times.keep_best(rates, np.zeros_like(times.groups))
    if not kept:
        return None
    lowest = float(min(kept))
    return _prefer(
        {rate: rest for rate, rest in kept.items() if _is_within(rate, lowest, _NEAR)}, stated
    )


def _suit_rate(typical: float, stated: Fraction | None) -> Fraction:
    if stated is not None and stated in USUAL_RATES and _is_within(stated, typical, _NEAR):
        return stated
    whole = [rate for rate in USUAL_RATES if rate.denominator == 1]
    nearest = min(whole, key=lambda rate: abs(float(rate) / typical - 1))
    is_near = _is_within(nearest, typical, _NEAR)
    return nearest if is_near else _simplify(typical, tolerance=_NEAR / 2)


def _prefer(kept: dict[Fraction, float], stated: Fraction | None) -> Fraction:
    """Choose between rates that the times cannot tell apart."""
    among = [rate for rate in kept if rate in USUAL_RATES] or list(kept)
    return (
        stated
        if stated is not None and stated in among
        else min(among, key=lambda rate: kept[rate])
    )


def _refine(times: _Times, typical: float) -> Fraction:
    """Fit a rate to longer and longer stretches, each with a phase of its own."""
    rate, stretch_s = typical, _FIRST_STRETCH_STEPS / typical
    while True:
        is_new = np.diff(times.seconds // stretch_s, prepend=0) > 0
        is_new |= np.diff(times.groups, prepend=0) > 0
        stretches = np.cumsum(is_new)
        counts = np.bincount(stretches).clip(1)
        middles = np.bincount(stretches, weights=times.seconds) / counts
        centred = times.seconds - middles[stretches]
        rests = times.rests(rate, stretches)
        rate -= float(rests @ centred) / max(float(centred @ centred), 1e-12)
        if stretch_s > times.span_s:
            # A fraction that is off by less than the typical rest at the video's end.
            rest_s = max(float(np.median(np.abs(rests))) / rate, times.tick_s / 4)
            return _simplify(rate, tolerance=rest_s / times.span_s)
        stretch_s *= 2


def _simplify(rate: float, *, tolerance: float) -> Fraction:
    """Find the simplest fraction that is near, to a share of the rate."""
    for denominator in range(1, _LARGEST_DENOMINATOR):
        fraction = Fraction(round(rate * denominator), denominator)
        if fraction and _is_within(fraction, rate, tolerance):
            return fraction
    return Fraction(rate).limit_denominator(_LARGEST_DENOMINATOR)


def _recognize(rate: Fraction) -> Fraction:
    """Give a usual rate that is meant its exact value."""
    return next((usual for usual in USUAL_RATES if _is_within(usual, float(rate), _SAME)), rate)


def _find_typical_rate(seconds: Float64[np.ndarray, " times"]) -> float:
    # The mean, since a median of whole milliseconds makes 59 or 63 of 60; long steps are gaps.
    steps = np.diff(seconds)
    middle = float(np.median(steps))
    return 1 / float(steps[np.abs(steps - middle) <= middle / 2].mean())


def _count_pauses(
    seconds: Float64[np.ndarray, " times"], rate: float
) -> Int64[np.ndarray, " times"]:
    """Count for each time the pauses before it."""
    return np.cumsum(np.diff(seconds, prepend=0.0) * rate > _PAUSE_STEPS, dtype=np.int64)


def _find_phases(
    steps: Float64[np.ndarray, " times"], groups: Int64[np.ndarray, " times"]
) -> Float64[np.ndarray, " groups"]:
    """Find each group's mean place between two steps, from -0.5 to 0.5."""
    angles = 2 * np.pi * steps
    sines = np.bincount(groups, weights=np.sin(angles))
    cosines = np.bincount(groups, weights=np.cos(angles))
    return np.arctan2(sines, cosines) / (2 * np.pi)


def _wrap(steps: Float64[np.ndarray, " times"]) -> Float64[np.ndarray, " times"]:
    return steps - np.round(steps)


def _is_within(rate: Fraction, other: float, share: float) -> bool:
    return abs(float(rate) - other) <= share * other
