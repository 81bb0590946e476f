"""Windows of a clip: frames up to t, and the rows of actions that follow.

    frames   t-2·stride … t-stride … t          (before the clip's start: masked)
    rows     t+offset … t+offset+horizon-1      (from the first row that is not valid: masked)

Rows past the clip's end are not valid. What follows an invalid row is not supervised either: an
injected disturbance lies between it and anything the frames show. A window exists for each valid
first row, so the windows of a clip can be counted from its manifest row alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from nitrogen_train.rates import count_rows_per_action


@dataclass(frozen=True, kw_only=True)
class WindowShape:
    """What a policy observes and predicts at one moment."""

    num_frames: int
    """Observed frames, at least 1."""
    frame_stride: int
    """Rows between observed frames."""
    action_horizon: int
    """Predicted rows, at least 1."""
    action_offset: int
    """Rows from the last observed frame to the first predicted row: 3 in ng.pt, 0 in recordings
    of games."""
    action_hz: float | None = None
    """Rows per second that clips are reduced to, frames and actions alike: of a clip of twice the
    rate every second frame is seen, and its rows are joined in pairs. `None` leaves clips as they
    are. Frames and rows are counted at this rate."""

    def __post_init__(self) -> None:
        least = {"num_frames": 1, "frame_stride": 1, "action_horizon": 1, "action_offset": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.action_hz is not None and not 0 < self.action_hz <= 1000:
            raise ValueError(f"action_hz must lie above 0 and up to 1000, got {self.action_hz}")

    def rows_per_action(self, fps: float) -> int:
        """Tell how many rows of a clip become one.

        Raises:
            ValueError: If the clip's rate is not a multiple of `action_hz`, to 1 %.
        """
        return count_rows_per_action(fps, self.action_hz)

    def last_frames(self, valid_runs: Sequence[int]) -> Int64[np.ndarray, " windows"]:
        """List the last observed frame of each window of a clip, in order.

        Args:
            valid_runs: [start, stop) pairs of the clip's valid rows, flattened.
        """
        runs = [
            np.arange(start, stop)
            for start, stop in zip(valid_runs[::2], valid_runs[1::2], strict=True)
        ]
        rows = np.concatenate([*runs, np.empty(0, dtype=np.int64)]).astype(np.int64)
        return rows[rows >= self.action_offset] - self.action_offset

    def count_windows(self, valid_runs: Sequence[int]) -> int:
        """Count the windows of a clip, without listing them."""
        return sum(
            max(0, stop - max(start, self.action_offset))
            for start, stop in zip(valid_runs[::2], valid_runs[1::2], strict=True)
        )

    def count_rows(self, valid_runs: Sequence[int], frame: int) -> int:
        """Count the supervised rows of the window whose last frame is `frame`."""
        first = frame + self.action_offset
        for start, stop in zip(valid_runs[::2], valid_runs[1::2], strict=True):
            if start <= first < stop:
                return min(self.action_horizon, stop - first)
        return 0

    def frame_indices(self, frame: int) -> Int64[np.ndarray, " f"]:
        """List the observed frames, oldest first; negative before the clip's start."""
        return frame - self.frame_stride * np.arange(self.num_frames - 1, -1, -1)

    def row_mask(self, valid: Bool[np.ndarray, " rows"], frame: int) -> Bool[np.ndarray, " t"]:
        """Mark the predicted rows that are supervised, True up to the first that is not valid."""
        first = frame + self.action_offset
        mask = np.zeros(self.action_horizon, dtype=bool)
        within = valid[first : first + self.action_horizon]
        mask[: len(within)] = np.logical_and.accumulate(within)
        return mask
