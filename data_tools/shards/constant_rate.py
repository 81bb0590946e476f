"""Videos whose frame rate varies, at a constant one.

    video:     0     1  2  3        4     5      (when each frame is shown)
    grid:      |     |     |     |     |     |   (times of the constant rate)
    shown:     0     1     3     3     4     5   (2 is left out, 3 comes twice)

A frame goes to the nearest time of the grid, as by FFmpeg's `fps` filter; of several the last is
shown, and where there is none the former one stays. Of a video that keeps to its rate but for lost
frames and pauses (`video_rate.py`), the grid is laid through its frames: none is left out, and only
lost ones are replaced. A row lasts from its frame to the next, so that nothing that was pressed
once the next frame was shown enters it.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from jaxtyping import Int64

from data_tools.shards.source_video import SourceVideo
from data_tools.shards.video_rate import find_places, round_to_steps
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import ShardError

_MAX_GROWTH = 10


@dataclass(frozen=True, kw_only=True)
class ConstantRateVideo:
    """A video's frames at a constant rate."""

    video: SourceVideo
    """One frame per time of the grid; one that stays is listed again."""
    frames: Int64[np.ndarray, " times"]
    """Places of these frames in the video that it was made of; they never decrease."""

    def edges_ns(self, start_ns: int) -> Int64[np.ndarray, " edges"]:
        """Find when each row begins, and when the last one ends; strictly increasing.

        A row begins when its frame is shown; the rows of a frame that stays share its time evenly.

        Args:
            start_ns: When the first frame is shown, on the clock that is asked for.
        """
        new = np.append(np.flatnonzero(np.diff(self.frames, prepend=-1)), len(self.frames))
        edges = np.interp(np.arange(len(self.frames) + 1), new, self.video.edges_ns(0)[new])
        return start_ns + np.round(edges).astype(np.int64)


def to_constant_rate(video: SourceVideo, fps: float) -> ConstantRateVideo:
    """Choose the frame for each time of a constant rate, from the first frame on.

    Args:
        video: Of any frame rate; what is made of it is encoded as if it were constant.
        fps: The rate that is wanted.

    Raises:
        ShardError: If the rate is not above 0, or the video has long gaps without any frame, so
            that most frames would be repetitions.
    """
    if not 0 < fps <= 1000:
        raise ShardError(f"{video.path}: a frame rate lies above 0 and up to 1000, got {fps}")
    nearest = _find_times(video, frame_rate(fps))
    num_times = int(nearest[-1]) + 1
    if num_times > _MAX_GROWTH * len(video) + _MAX_GROWTH:
        raise ShardError(
            f"{video.path} shows {len(video)} frames in the time of {num_times} at {fps:g} fps; "
            "it has long gaps"
        )
    # The last frame that goes to each time or to one before; the video begins with its first.
    frames = np.searchsorted(nearest, np.arange(num_times), side="right") - 1
    frames[0] = 0
    return ConstantRateVideo(
        video=replace(video, fps=fps, ticks=video.ticks[frames]),
        frames=frames.astype(np.int64),
    )


def find_shown(
    video: SourceVideo, *, first_s: float, fps: float, count: int
) -> Int64[np.ndarray, " times"]:
    """Find the frame that is shown at each time of an even grid, by the rule of `to_constant_rate`.

    Args:
        video: Of any frame rate.
        first_s: Time from the video's first frame to the first of the grid.
        fps: Times per second.
        count: How many times.
    """
    seconds = (video.ticks - video.ticks[0]) * float(video.time_base)
    frames = np.searchsorted(seconds, first_s + (np.arange(count) + 0.5) / fps, side="left") - 1
    return frames.clip(min=0).astype(np.int64)


def _find_times(video: SourceVideo, rate: Fraction) -> Int64[np.ndarray, " frames"]:
    """Find the time of the grid that each frame goes to."""
    if rate == frame_rate(video.fps):
        if video.find_unsteady() is None:
            return np.arange(len(video))
        places = find_places(video.ticks, video.time_base, rate)
        if places is not None:
            return places
    return round_to_steps(video.ticks - video.ticks[0], 1 / (rate * video.time_base))
