"""What was held on a pad in any stretch of time."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.actions import ActionSpace

_LEAST_CHANGE = 0.05
"""Of a control's range: noise of a stick at rest is no input."""
_ONSET_NS, _ONSET_SHARE = 10**8, 0.25


@dataclass(frozen=True, kw_only=True)
class HeldControls:
    """The integrals of the controls that change, over time."""

    first_s: float
    span_s: float
    """How long the log lasts."""
    times_s: list[Float64[np.ndarray, " _"]]
    integrals: list[Float64[np.ndarray, " _"]]
    num_onsets: int
    """How often a control was moved by a good part of its range within a tenth of a second."""

    def __len__(self) -> int:
        return len(self.integrals)

    def means(
        self,
        starts_s: Float64[np.ndarray, "*shape"],
        stops_s: Float64[np.ndarray, "*shape"],
    ) -> Float64[np.ndarray, "*shape features"]:
        """Average every control over stretches of time; a time outside the log wraps around."""
        starts = self.first_s + (starts_s - self.first_s) % self.span_s
        length = stops_s - starts_s
        return np.stack(
            [
                (np.interp(starts + length, times, sums) - np.interp(starts, times, sums)) / length
                for times, sums in zip(self.times_s, self.integrals, strict=True)
            ],
            axis=-1,
        )


def hold_controls(log: InputLog, space: ActionSpace, *, sticks_alone: bool) -> HeldControls:
    """Integrate the controls of a log: buttons and triggers as they are, axes also without sign.

    Args:
        log: Times are taken from its clock's zero.
        space: Says which controls are axes.
        sticks_alone: Leave buttons out.
    """
    moving = {
        name: track
        for name, track in log.tracks.items()
        if np.ptp(track.values) > _LEAST_CHANGE and (name in space.sticks or not sticks_alone)
    }
    sums: list[tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]] = []
    num_onsets = 0
    for name, track in moving.items():
        sums.append(_integrate(track, log.last_ns))
        num_onsets += _count_onsets(track)
        unsigned = replace(track, values=np.abs(track.values))
        if name in space.sticks and np.ptp(unsigned.values) > _LEAST_CHANGE:
            sums.append(_integrate(unsigned, log.last_ns))
    return HeldControls(
        first_s=log.first_ns / 1e9,
        span_s=max(1e-9, (log.last_ns - log.first_ns) / 1e9),
        times_s=[times for times, _ in sums],
        integrals=[integral for _, integral in sums],
        num_onsets=num_onsets,
    )


def _integrate(
    track: Track, last_ns: int
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    # Held on for a second more than the log: a mean over a frame may reach beyond it.
    times = np.append(track.times_ns, last_ns + 10**9) / 1e9
    return times, np.append(0.0, np.cumsum(track.values * np.diff(times)))


def _count_onsets(track: Track) -> int:
    # Sampled: at 500 Hz no single step of a stick is large.
    samples = track.at(np.arange(track.times_ns[0], track.times_ns[-1] + 1, _ONSET_NS))
    return int((np.abs(np.diff(samples)) > _ONSET_SHARE * np.ptp(track.values)).sum())
