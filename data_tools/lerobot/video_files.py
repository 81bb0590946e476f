"""Clips one after the other in numbered mp4s of bounded size: compressed pictures are copied.

A clip begins with a key frame and refers to nothing before it, so it follows any other that was
encoded with the same parameters. One with other parameters begins a file of its own.
"""

import contextlib
import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from data_tools.lerobot.layout import VIDEO_PATH, FileLimits, FilePlace, fill_template
from nitrogen_train.data.files import sync
from nitrogen_train.data.schema import ShardError


@dataclass(frozen=True, kw_only=True)
class VideoPlace:
    """Where an episode's pictures are."""

    file: FilePlace
    from_s: float
    """When its first frame is shown."""
    to_s: float
    """When its last frame ends."""


class UnevenVideoError(ShardError):
    """A video is not of evenly spaced frames, and was not copied."""


class VideoFiles:
    """Writes the videos of one camera."""

    def __init__(self, root: Path, *, camera: str, rate: Fraction, limits: FileLimits) -> None:
        """Remember where; nothing is written before the first clip.

        Args:
            root: The data set's folder.
            camera: The pictures' feature.
            rate: Frames per second of every clip.
            limits: When a file is full.
        """
        self._root, self._camera, self._rate, self._limits = root, camera, rate, limits
        self._open = contextlib.ExitStack()
        self._number = -1
        self._parameters: object = None
        self._num_bytes = self._num_frames = 0
        self.codec = self.pixels = ""

    def __enter__(self) -> "VideoFiles":
        return self

    def append(self, video: bytes, *, num_frames: int, what: str) -> VideoPlace:
        """Copy a clip behind the others.

        Args:
            video: Its mp4.
            num_frames: In it.
            what: Its name, for messages.

        Raises:
            ShardError: If it is damaged, or its frames are not evenly spaced at the rate.
        """
        try:
            with av.open(io.BytesIO(video), "r", format="mp4") as source:
                stream = source.streams.video[0]
                packets = [packet for packet in source.demux(stream) if packet.size]
                ticks_per_frame = self._check(stream, packets, num_frames, what)
                self._choose_file(stream, num_bytes=len(video))
                first, start = packets[0].pts or 0, self._num_frames
                for packet in packets:
                    shift = start * ticks_per_frame - first
                    packet.pts = (packet.pts or 0) + shift
                    packet.dts = (packet.dts or 0) + shift
                    packet.duration = ticks_per_frame
                    packet.stream = self._stream
                    self._container.mux(packet)
        except (FFmpegError, IndexError) as error:
            raise ShardError(f"clip {what!r}: its video cannot be copied: {error}") from error
        self._num_frames += num_frames
        self._num_bytes += len(video)
        return VideoPlace(
            file=self._limits.place(self._number),
            from_s=float(start / self._rate),
            to_s=float(self._num_frames / self._rate),
        )

    def _check(self, stream: VideoStream, packets: list[Packet], num_frames: int, what: str) -> int:
        """Find the ticks from frame to frame.

        Raises:
            UnevenVideoError: If they differ.
        """
        ticks_per_frame = 1 / (self._rate * (stream.time_base or Fraction(1)))
        ticks = np.sort([packet.pts or 0 for packet in packets])
        expected = np.arange(num_frames) * int(ticks_per_frame)
        if ticks_per_frame.denominator != 1 or len(ticks) != num_frames:
            is_even = False
        else:
            is_even = bool((ticks - ticks[0] == expected).all()) and packets[0].is_keyframe
        if not is_even or any(packet.is_discard for packet in packets):
            raise UnevenVideoError(
                f"clip {what!r}: expected a video of {num_frames} frames at {self._rate} per "
                "second that begins with a key frame; `nitrogen-data verify` checks a data set"
            )
        return int(ticks_per_frame)

    def _choose_file(self, stream: VideoStream, *, num_bytes: int) -> None:
        context = stream.codec_context
        parameters = (
            context.name,
            context.extradata,
            context.width,
            context.height,
            context.pix_fmt,
            stream.time_base,
        )
        is_full = self._num_bytes + num_bytes > self._limits.video_bytes
        if parameters == self._parameters and not is_full:
            return
        self._open.close()
        self._number += 1
        self._parameters, self._num_bytes, self._num_frames = parameters, 0, 0
        place = self._limits.place(self._number)
        path = self._root / fill_template(VIDEO_PATH, place, video_key=self._camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open.callback(sync, path)
        self._container = self._open.enter_context(
            av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        )
        self._stream = self._container.add_stream_from_template(stream)
        self._stream.time_base = stream.time_base
        self.codec, self.pixels = context.codec.canonical_name, context.pix_fmt or ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
