"""Videos as they were recorded: when each frame was shown, and stretches of frames."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float64, Int64

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

    def find_unsteady(self) -> int | None:
        """Find the first frame that is half a frame or more off a constant rate.

        Half a frame of room: Matroska rounds times to milliseconds.
        """
        unsteady = np.abs(self._drift()) > 0.5
        return int(np.argmax(unsteady)) if unsteady.any() else None

    def check_constant_rate(self) -> None:
        """Refuse a video whose frames are not shown at a constant rate.

        Raises:
            ShardError: If a frame is half a frame or more off.
        """
        frame = self.find_unsteady()
        if frame is not None:
            raise ShardError(
                f"{self.path} has no constant frame rate: frame {frame} is "
                f"{self._drift()[frame]:+.1f} frames off at {self.fps:.3f} fps; "
                "re-encode it with ffmpeg -fps_mode cfr"
            )

    def _drift(self) -> Float64[np.ndarray, " frames"]:
        ticks_per_frame = float(1 / (Fraction(self.fps) * self.time_base))
        return (self.ticks - self.ticks[0]) / ticks_per_frame - np.arange(len(self))

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
                for packet in container.demux(stream):
                    # What is shown before, and referred to by no other frame, is not decoded.
                    is_early = packet.pts is not None and packet.pts < wanted[0]
                    stream.codec_context.skip_frame = "NONREF" if is_early else "DEFAULT"
                    for frame in packet.decode():
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
    """Read the table of a video of constant frame rate, without decoding it.

    Raises:
        ShardError: If it is not a video, or its frame rate is not constant.
    """
    video = read_video_table(path)
    video.check_constant_rate()
    return video


def read_video_table(path: Path) -> SourceVideo:
    """Read a video's table, without decoding it; its frame rate may vary.

    Raises:
        ShardError: If it is not a video.
    """
    # FFmpeg takes `12:30.mp4` for a protocol of that name.
    path = path.absolute()
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
    return SourceVideo(
        path=path,
        width=width,
        height=height,
        fps=float(rate),
        time_base=time_base,
        ticks=np.array(sorted(ticks), dtype=np.int64),
    )
