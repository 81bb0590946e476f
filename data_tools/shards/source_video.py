"""Videos as they were recorded: when each frame was shown, and stretches of frames."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Int64

from nitrogen_train.data.schema import ShardError


@dataclass(frozen=True, kw_only=True)
class SourceVideo:
    """A video's table of frames."""

    path: Path
    width: int
    height: int
    fps: float
    time_base: Fraction
    """Seconds per tick."""
    ticks: Int64[np.ndarray, " frames"]
    """When each frame is shown, in order."""

    def __len__(self) -> int:
        return len(self.ticks)

    def edges_ns(self, start_ns: int) -> Int64[np.ndarray, " edges"]:
        """Find when each frame is shown, and when the last one's row ends.

        Args:
            start_ns: When the first frame is shown, on the clock that is asked for.
        """
        ticks = self.ticks - self.ticks[0]
        end = ticks[-1] + round(1 / (Fraction(self.fps) * self.time_base))
        seconds = [int(tick) * self.time_base for tick in [*ticks, end]]
        return np.array([start_ns + round(time * 10**9) for time in seconds], dtype=np.int64)

    def cut(self, start: int, stop: int) -> "SourceVideo":
        """Keep the frames from `start` up to `stop` (excluded)."""
        return replace(self, ticks=self.ticks[start:stop])

    def read(self) -> Iterator[av.VideoFrame]:
        """Decode the frames; one whose tick is listed twice comes twice.

        Raises:
            ShardError: If the video is damaged there.
        """
        wanted = deque(self.ticks.tolist())
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_count = 1
                container.seek(wanted[0], stream=stream)
                for frame in container.decode(stream):
                    while wanted and frame.pts == wanted[0]:
                        yield frame
                        wanted.popleft()
                    if not wanted:
                        return
        except FFmpegError as error:
            raise ShardError(f"{self.path} cannot be decoded: {error}", cause="video") from error
        missing_s = float(wanted[0] * self.time_base)
        raise ShardError(
            f"{self.path} cannot be decoded: its frame at {missing_s:.2f} s is missing",
            cause="video",
        )


def open_source_video(path: Path) -> SourceVideo:
    """Read a video's table, without decoding it.

    Raises:
        ShardError: If it is not a video, or its frame rate is not constant.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ShardError(f"{path} holds no video")
            stream = container.streams.video[0]
            ticks = [
                packet.pts
                for packet in container.demux(stream)
                if packet.size and packet.pts is not None and not packet.is_discard
            ]
            rate, time_base = stream.average_rate, stream.time_base
            width, height = stream.width, stream.height
    except FFmpegError as error:
        raise ShardError(f"{path} is not readable as a video: {error}") from error
    if not ticks or rate is None or time_base is None:
        raise ShardError(f"{path} holds no frame, or no frame rate")
    video = SourceVideo(
        path=path,
        width=width,
        height=height,
        fps=float(rate),
        time_base=time_base,
        ticks=np.array(sorted(ticks), dtype=np.int64),
    )
    _check_constant_rate(video)
    return video


def _check_constant_rate(video: SourceVideo) -> None:
    # Half a frame of room: Matroska rounds times to milliseconds.
    ticks_per_frame = float(1 / (Fraction(video.fps) * video.time_base))
    drift = video.ticks - video.ticks[0] - np.arange(len(video)) * ticks_per_frame
    late = np.abs(drift) > ticks_per_frame / 2
    if late.any():
        raise ShardError(
            f"{video.path} has no constant frame rate: frame {int(np.argmax(late))} is "
            f"{drift[late][0] / ticks_per_frame:+.1f} frames off at {video.fps:.3f} fps; "
            "re-encode it with ffmpeg -fps_mode cfr"
        )
