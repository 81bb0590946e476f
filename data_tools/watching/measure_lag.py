"""Measure how much later a controller on a video shows an input than the game's picture does.

    video without the controller's box ─► motion of the picture ─┐
    log of what the controller showed ───────────────────────────┴─► clock_fit ─► Lag

The measurement is that of `ingest recording`, for a log that comes from the same picture. The
controller itself is hidden: it moves with the log at no lag. Two times come together in the answer
and no picture tells them apart: that by which the controller is drawn late, and that which the game
takes to answer an input, which counts against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from data_tools.ingest.recording.clock_fit import (
    WINDOW_S,
    UnknownClockError,
    fit_windows,
    read_windows_at,
)
from data_tools.recordings.input_log import InputLog
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import Box, ShardError

_MOST_WINDOWS = 8
"""So many are decoded once more, 40 s of the video: enough to tell, and a small part of an hour."""
_LEAST_LEARNED = 0.9
"""Share of a window's rows that must have been read."""
_MOST_MS = 999.0


@dataclass(frozen=True, kw_only=True)
class Lag:
    """What is known of the lag of a video's controller."""

    ms: float | None
    """Time by which the controller shows an input later than the picture; None if unknown."""
    confidence: float | None = None
    """Share of draws of the video's windows that give this lag within a frame."""
    why: str = ""
    """Why it is not known, in a few words."""

    def count_rows(self, fps: float) -> int:
        """Count the rows by which the log must move to fit the picture, later ones above 0."""
        return 0 if self.ms is None else -round(self.ms / 1e3 * fps)

    def describe(self, shifted: int) -> str:
        """Say in a few words what is known, and by how many rows the log was moved."""
        if self.ms is None:
            return f"lag unknown ({self.why})"
        words = f"lag {self.ms:+.0f} ms ({self.confidence:.0%} sure)"
        return f"{words}, corrected by {shifted:+d} rows" if shifted else words


def measure_lag(
    video: SourceVideo,
    log: InputLog,
    learned: Bool[np.ndarray, " rows"],
    *,
    hidden: Sequence[Box],
) -> Lag:
    """Measure the lag of a controller.

    Args:
        video: All of its frames.
        log: What the controller showed, from the video's first frame on.
        learned: True for rows that could be read.
        hidden: All places of the controller, as left, top, width and height.
    """
    starts_s = _choose_windows(video, learned)
    if len(starts_s) < 2:
        return Lag(
            ms=None, why=f"the controller can be read in less than two stretches of {WINDOW_S:g} s"
        )
    try:
        windows = read_windows_at(video, starts_s, hidden=hidden)
        fit = fit_windows(windows, log, GAMEPAD, frame_s=1 / video.fps)
    except UnknownClockError as error:
        # The last reason is that of all controls together.
        return Lag(ms=None, why=str(error).rpartition("all controls: ")[2])
    except ShardError as error:
        return Lag(ms=None, why=str(error))
    centre_s = float(starts_s[0] + starts_s[-1] + WINDOW_S) / 2
    lag_ms = -1e3 * (fit.lag_s + fit.drift * centre_s)
    if abs(lag_ms) > _MOST_MS:
        return Lag(ms=None, why="no one lag fits all of the video")
    return Lag(ms=round(lag_ms, 1), confidence=round(fit.confidence, 3))


def _choose_windows(
    video: SourceVideo, learned: Bool[np.ndarray, " rows"]
) -> Float64[np.ndarray, " windows"]:
    """Choose windows in which the controller could be read, spread over the video."""
    seconds = (video.ticks - video.ticks[0]) * float(video.time_base)
    starts_s = np.arange(int(seconds[-1] // WINDOW_S)) * WINDOW_S
    edges = np.searchsorted(seconds, np.stack([starts_s, starts_s + WINDOW_S]))
    so_far = np.append(0, np.cumsum(learned))
    good = so_far[edges[1]] - so_far[edges[0]] >= _LEAST_LEARNED * (edges[1] - edges[0])
    starts_s = starts_s[good]
    places = np.linspace(0, len(starts_s) - 1, min(len(starts_s), _MOST_WINDOWS))
    return starts_s[np.unique(places.round().astype(int))]
