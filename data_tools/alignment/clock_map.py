"""From a log's clock to that of its video."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from data_tools.recordings.input_log import InputLog


@dataclass(frozen=True, kw_only=True)
class ClockMap:
    """What is logged at `u` belongs to the video's time `(u + offset) / (1 - drift)`."""

    offset_s: float = 0.0
    """How much later the video's clock shows the same moment, at the video's first frame."""
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
