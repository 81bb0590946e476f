"""A recording's video and log, measured against each other."""

import numpy as np
from jaxtyping import Float64

from data_tools.alignment.clock_fit import ClockFit, UnknownClockError, fit_clock
from data_tools.alignment.held_controls import hold_controls
from data_tools.alignment.picture_motion import PictureMotion, read_picture_motion
from data_tools.recordings.input_log import InputLog
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace

WINDOW_S = 5.0
MAX_WINDOWS = 120
"""Of a longer video as many are looked at, spread evenly: 10 minutes are decoded at most."""
_MIN_STEPS = 12
_END_WINDOWS = 4
"""Twenty seconds: few enough that a pause among them is unlikely, enough to tell."""


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
    return _read_windows(video, chosen * WINDOW_S)


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
    return fit_windows(_read_windows(video, starts_s), log, space, frame_s=1 / video.fps)


def _seconds(video: SourceVideo) -> Float64[np.ndarray, " frames"]:
    return (video.ticks - video.ticks[0]) * float(video.time_base)


def _read_windows(
    video: SourceVideo, starts_s: Float64[np.ndarray, " windows"]
) -> list[PictureMotion]:
    edges = np.searchsorted(_seconds(video), np.stack([starts_s, starts_s + WINDOW_S]))
    return [
        read_picture_motion(video, start, min(stop + 1, len(video)))
        for start, stop in edges.T.tolist()
        if stop - start > _MIN_STEPS
    ]


def fit_windows(
    windows: list[PictureMotion], log: InputLog, space: ActionSpace, *, frame_s: float
) -> ClockFit:
    """As `measure_clock`, of windows that have been read.

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
