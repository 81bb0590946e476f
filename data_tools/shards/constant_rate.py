"""Videos whose frame rate varies, at a constant one.

    video:     0     1  2  3        4     5      (when each frame is shown)
    grid:      |     |     |     |     |     |   (times of the constant rate)
    shown:     0     1     3     3     4     5   (2 is left out, 3 comes twice)

A frame goes to the nearest time of the grid, as by FFmpeg's `fps` filter; of several the last is
shown, and where there is none the former one stays. A row lasts from its frame to the next, so that
nothing that was pressed once the next frame was shown enters it.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import ShardError

_MAX_GROWTH = 10
_USUAL_RATES = (24.0, 25.0, 30.0, 50.0, 60.0, 120.0)
_NEAR = 0.05
"""Times in milliseconds make 60 frames a second 59 or 63."""


@dataclass(frozen=True, kw_only=True)
class ConstantRateVideo:
    """A video's frames at a constant rate."""

    video: SourceVideo
    """One frame per time of the grid; one that stays is listed again."""
    frames: Int64[np.ndarray, " times"]
    """Places of these frames in the video that it was made of; they never decrease."""

    def edges_ns(self, start_ns: int) -> Int64[np.ndarray, " edges"]:
        """Find when each row begins, and when the last one ends; strictly increasing.

        A row begins when its frame is shown, or at the grid's time where a frame stays.

        Args:
            start_ns: When the first frame is shown, on the clock that is asked for.
        """
        ticks, time_base = self.video.ticks, self.video.time_base
        step_s = 1 / frame_rate(self.video.fps)
        stays = np.diff(self.frames, prepend=-1) == 0
        edges = [
            index * step_s if stay else int(tick - ticks[0]) * time_base
            for index, (tick, stay) in enumerate(zip(ticks, stays, strict=True))
        ]
        edges.append(edges[-1] + step_s)
        return np.array([start_ns + round(edge * 10**9) for edge in edges], dtype=np.int64)


def choose_rate(video: SourceVideo) -> float:
    """Find the rate that most frames of a video follow; a usual one if it is near."""
    step_s = float(np.median(np.diff(video.ticks))) * float(video.time_base)
    fps = 1 / step_s if step_s > 0 else video.fps
    nearest = min(_USUAL_RATES, key=lambda rate: abs(rate - fps))
    return nearest if abs(nearest - fps) < _NEAR * fps else fps


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
    step = 1 / (frame_rate(fps) * video.time_base)
    # In whole numbers: a time half-way between two of the grid must round alike on any machine.
    scaled = (video.ticks - video.ticks[0]) * (2 * step.denominator) + step.numerator
    nearest = scaled // (2 * step.numerator)
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
