"""Fit the lag and the drift between a video and its log, or tell why they cannot be known.

    frames, log ─► agreement at each lag, window by window ─► ClockFit: lag, drift, or a reason
      ─► the log's times on the video's clock

Three questions are asked of the data, and each may end in "cannot be known":

* Is anything there? The best agreement must stand out from those with the log moved so far (by
  seconds) that picture and controls cannot have to do with each other.
* Is it in one place? The best lag must be the same whichever windows are looked at (bootstrap).
* Is it inside what was searched?
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from data_tools.ingest.recording.lag import (
    HeldControls,
    LagStatistics,
    PictureMotion,
    WhitenedPicture,
    hold_controls,
    read_picture_motion,
)
from data_tools.recordings.input_log import InputLog
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import Box

MAX_LAG_S = 0.5
MAX_DRIFT = 200e-6
"""Two clocks of ordinary crystals are within this."""
MIN_ONSETS = 20
_NUM_MOVED, _FIRST_MOVED_S, _NEXT_MOVED_S = 24, 2.0, 0.7
_MIN_MOVED = 8
_MIN_EVIDENCE = 6.0
_MIN_CONFIDENCE = 0.9
_NUM_DRAWS = 100
_DRIFT_SIGMAS = 3.0

WINDOW_S = 5.0
MAX_WINDOWS = 120
"""Most windows that are looked at, 10 minutes of video; those of a longer one are spread evenly."""
_MIN_STEPS = 12
_END_WINDOWS = 4
"""Twenty seconds: few enough that a pause among them is unlikely, enough to tell."""


@dataclass(frozen=True, kw_only=True)
class ClockMap:
    """Relate a log's clock to its video's: `u` in the log is `(u + offset) / (1 - drift)` there."""

    offset_s: float = 0.0
    """Time by which the video's clock is ahead for the same moment, at the video's first frame."""
    drift: float = 0.0
    """Growth of that, in seconds per second of the video."""

    def to_video(self, times_ns: Int64[np.ndarray, "*times"]) -> Int64[np.ndarray, "*times"]:
        """Find the video's times of logged ones."""
        moved = times_ns.astype(np.int64) + round(self.offset_s * 1e9)
        if self.drift == 0:
            return moved
        return moved + np.round(moved * (self.drift / (1 - self.drift))).astype(np.int64)

    def then(self, other: "ClockMap") -> "ClockMap":
        """Join two maps, `other` on the clock that this one leads to."""
        return ClockMap(
            offset_s=self.offset_s + other.offset_s * (1 - self.drift),
            drift=1 - (1 - self.drift) * (1 - other.drift),
        )

    def move(self, log: InputLog) -> InputLog:
        """Bring a log to the video's clock."""
        first_ns, last_ns = self.to_video(np.array([log.first_ns, log.last_ns])).tolist()
        tracks = {
            name: replace(track, times_ns=self.to_video(track.times_ns))
            for name, track in log.tracks.items()
        }
        return replace(log, tracks=tracks, first_ns=first_ns, last_ns=last_ns)


class UnknownClockError(ValueError):
    """The data do not say how picture and inputs lie to each other."""


@dataclass(frozen=True, kw_only=True)
class ClockFit:
    """The lag by which the picture answers the log's clock, and its drift."""

    lag_s: float
    """Lag at the video's first frame; it is 0 if what is held in a frame's time is seen by its end.
    It holds the difference of the clocks and the time that the game takes to answer, which no
    picture can tell apart."""
    lag_error_s: float
    """Standard deviation of the lag in the middle of the video, over draws of the windows."""
    drift: float
    """Growth of the lag, in seconds per second; 0 if it is not beyond doubt."""
    drift_error: float
    evidence: float
    """Distance of the agreement from that with a log moved by seconds, in standard deviations."""
    confidence: float
    """Share of draws of the windows whose lag is within a frame of this one."""
    num_onsets: int
    num_windows: int


def fit_clock(windows: list[PictureMotion], controls: HeldControls, *, frame_s: float) -> ClockFit:
    """Find the lag at which a picture answers the controls.

    Args:
        windows: Of equal length and spread over the video, whose first frame is at 0 s.
        controls: The log, on the same clock but for the difference that is sought.
        frame_s: From one frame to the next.

    Raises:
        UnknownClockError: If the data cannot tell.
    """
    if len(controls) == 0 or controls.num_onsets < MIN_ONSETS:
        raise UnknownClockError(
            f"{controls.num_onsets} presses and turns of a stick, at least {MIN_ONSETS} are needed"
        )
    picture = WhitenedPicture(windows)
    middles = np.array([(window.starts_s[0] + window.stops_s[-1]) / 2 for window in windows])
    centre = float(middles[0] + middles[-1]) / 2
    reach = float(middles[-1] - middles[0]) / 2
    step = min(0.010, max(0.002, frame_s / 5))
    search = _Search(
        statistics=picture.compare(controls, _lags(MAX_LAG_S + MAX_DRIFT * reach + step, step)),
        from_centre_s=middles - centre,
        step_s=step,
        drifts=_drifts(reach, step),
    )
    # A hundred draws: steps of a quarter of a frame are fine enough for their spread.
    coarse_step = max(step, frame_s / 4)
    coarse = replace(search, drifts=_drifts(reach, coarse_step))
    once = np.ones((1, len(windows)))
    best_agreement, lag, drift = (values[0] for values in search.best(once))
    evidence = _measure_evidence(picture, controls, frame_s=frame_s, best=best_agreement)
    if evidence < _MIN_EVIDENCE:
        raise UnknownClockError(
            f"the picture follows the controls no better than with the log moved by seconds "
            f"({evidence:.1f} standard deviations, {_MIN_EVIDENCE:g} are needed)"
        )
    draws = np.random.default_rng(0).multinomial(
        len(windows), np.full(len(windows), 1 / len(windows)), size=_NUM_DRAWS
    )
    _, _, drifts = coarse.best(draws.astype(float))
    # Not less than what rounding to such steps does.
    drift_error = max(float(drifts.std()), coarse_step / max(reach, coarse_step) / 12**0.5)
    if abs(drift) < _DRIFT_SIGMAS * drift_error:
        drift = 0.0
        _, lag, _ = (values[0] for values in search.best(once, drift=0.0))
    _, lags, _ = search.best(draws.astype(float), drift=float(drift))
    confidence = float((np.abs(lags - lag) <= max(frame_s, step)).mean())
    if confidence < _MIN_CONFIDENCE:
        raise UnknownClockError(
            f"several lags fit: {confidence:.0%} of the draws of the windows are within a frame of "
            f"{lag * 1e3:.0f} ms, {_MIN_CONFIDENCE:.0%} are needed"
        )
    if abs(lag) > MAX_LAG_S - 2 * step:
        raise UnknownClockError(
            f"the best lag, {lag * 1e3:.0f} ms, lies at the edge of what is searched; bring the "
            f"log within {MAX_LAG_S:g} s with --offset-ms and try again"
        )
    if drift and abs(drift) >= search.drifts.max():
        raise UnknownClockError(
            f"the best drift, {drift * 1e6:.0f} ppm, lies at the edge of what is searched; bring "
            "the log nearer with --drift-ppm and try again"
        )
    return ClockFit(
        lag_s=float(lag - drift * centre),
        lag_error_s=max(float(lags.std()), step / 2),
        drift=float(drift),
        drift_error=drift_error,
        evidence=evidence,
        confidence=confidence,
        num_onsets=controls.num_onsets,
        num_windows=len(windows),
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """All lags and drifts that are tried."""

    statistics: LagStatistics
    from_centre_s: Float64[np.ndarray, " windows"]
    step_s: float
    drifts: Float64[np.ndarray, " drifts"]

    def best(
        self, weights: Float64[np.ndarray, "draws windows"], *, drift: float | None = None
    ) -> tuple[Float64[np.ndarray, " draws"], ...]:
        """Find the best agreement, and its lag in the middle and its drift, for each draw."""
        num_lags = 2 * round(MAX_LAG_S / self.step_s) + 1
        margin = (len(self.statistics.lags_s) - num_lags) // 2
        lags = self.statistics.lags_s[margin : margin + num_lags]
        found: list[Float64[np.ndarray, "3 draws"]] = []
        for tried in self.drifts if drift is None else [drift]:
            first = [margin + round(tried * time / self.step_s) for time in self.from_centre_s]
            agreement = self.statistics.agreement(weights, first, num_lags)
            place = agreement.argmax(axis=1)
            found.append(
                np.stack([agreement.max(axis=1), lags[place], np.full(len(weights), tried)])
            )
        table = np.stack(found)
        winner = table[:, 0].argmax(axis=0)
        return tuple(table[winner, :, np.arange(len(weights))].T)


def _measure_evidence(
    picture: WhitenedPicture, controls: HeldControls, *, frame_s: float, best: float
) -> float:
    # A log that is moved by more than half its length wraps around to where it was.
    room_s = controls.span_s - 2 * _FIRST_MOVED_S
    number = min(_NUM_MOVED, int(room_s / _NEXT_MOVED_S))
    if number < _MIN_MOVED:
        raise UnknownClockError(
            f"the log lasts {controls.span_s:.0f} s, too short to tell chance from agreement"
        )
    lags = _lags(MAX_LAG_S, frame_s / 2)
    once = np.ones((1, len(picture.windows)))
    moved = [
        picture.compare(controls, lags, shift_s=shift_s).agreement(once).max()
        for shift_s in np.linspace(_FIRST_MOVED_S, _FIRST_MOVED_S + room_s, number)
    ]
    return float((best - np.mean(moved)) / (np.std(moved) + 1e-9))


def _lags(reach_s: float, step_s: float) -> Float64[np.ndarray, " lags"]:
    number = round(reach_s / step_s)
    return np.arange(-number, number + 1) * step_s


def _drifts(reach_s: float, step_s: float) -> Float64[np.ndarray, " drifts"]:
    # Steps that move the outermost windows by one lag.
    number = int(MAX_DRIFT * reach_s / step_s)
    return np.arange(-number, number + 1) * (step_s / max(reach_s, step_s))


def measure_clock(video: SourceVideo, log: InputLog, space: ActionSpace) -> ClockFit:
    """Find the lag at which a video answers a log whose zero is the video's first frame.

    Axes turn and move the picture and are looked at first; buttons join where axes say nothing.

    Raises:
        UnknownClockError: If the data cannot tell.
        ShardError: If the video is damaged.
    """
    return fit_windows(read_windows(video), log, space, frame_s=1 / video.fps)


def read_windows(video: SourceVideo) -> list[PictureMotion]:
    """Follow the picture in windows that are spread over the video.

    Raises:
        ShardError: If the video is damaged.
    """
    number = max(1, int(_seconds(video)[-1] // WINDOW_S))
    chosen = np.unique(np.linspace(0, number - 1, min(number, MAX_WINDOWS)).round())
    return read_windows_at(video, chosen * WINDOW_S)


def measure_end(video: SourceVideo, log: InputLog, space: ActionSpace) -> ClockFit:
    """Find the lag in the last seconds of a video that a log reaches, at most in its second half.

    A video that was paused, or a log that was, lies apart from there on to the end: an end that
    agrees speaks for all that comes before it.

    Raises:
        UnknownClockError: If the data cannot tell.
        ShardError: If the video is damaged.
    """
    end_s = min(float(_seconds(video)[-1]), log.last_ns / 1e9)
    number = min(_END_WINDOWS, int(end_s / 2 // WINDOW_S))
    starts_s = end_s - WINDOW_S * np.arange(number, 0, -1)
    return fit_windows(read_windows_at(video, starts_s), log, space, frame_s=1 / video.fps)


def _seconds(video: SourceVideo) -> Float64[np.ndarray, " frames"]:
    return (video.ticks - video.ticks[0]) * float(video.time_base)


def read_windows_at(
    video: SourceVideo, starts_s: Float64[np.ndarray, " windows"], *, hidden: Sequence[Box] = ()
) -> list[PictureMotion]:
    """Follow the picture in windows of `WINDOW_S`; one with too few frames is left out.

    Args:
        video: The whole file.
        starts_s: When they begin, from the video's first frame on.
        hidden: Parts of the picture that are not looked at, in pixels of the video.

    Raises:
        ShardError: If the video is damaged.
    """
    edges = np.searchsorted(_seconds(video), np.stack([starts_s, starts_s + WINDOW_S]))
    return [
        read_picture_motion(video, start, min(stop + 1, len(video)), hidden=hidden)
        for start, stop in edges.T.tolist()
        if stop - start > _MIN_STEPS
    ]


def fit_windows(
    windows: list[PictureMotion], log: InputLog, space: ActionSpace, *, frame_s: float
) -> ClockFit:
    """Measure a clock as `measure_clock` does, from windows that have been read.

    Raises:
        UnknownClockError: If the data cannot tell.
    """
    if len(windows) < 2:
        raise UnknownClockError(f"there are less than two windows of {WINDOW_S:g} s to look at")
    reasons: list[str] = []
    for sticks_alone in (True, False):
        controls = hold_controls(log, space, sticks_alone=sticks_alone)
        try:
            return fit_clock(windows, controls, frame_s=frame_s)
        except UnknownClockError as error:
            reasons.append(f"{'sticks alone' if sticks_alone else 'all controls'}: {error}")
    raise UnknownClockError("; ".join(reasons))
