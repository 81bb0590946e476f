"""Encode frames as H.264 that decodes fast: constant rate, short closed groups, no B-frames."""

import contextlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from jaxtyping import UInt8

from nitrogen_train.runtime.atomic_files import write_atomically

_AS_WRITTEN = 2e-6
"""Share by which 59.94, 29.97 and 23.976 differ from the rates that are written so."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The settings of x264. `docs/video.md` measures what the defaults cost and gain."""

    crf: int = 18
    """Constant quality, 0 (lossless) to 51; 6 more is half the size. At 18 a monster six pixels
    high keeps its outline at 256x256."""
    group_s: float = 0.5
    """Time from one key frame to the next, at least one frame."""
    decodes_fast: bool = True
    """Without x264's loop filter and arithmetic coding: twice as fast, for a tenth more bytes."""
    preset: str = "veryfast"
    """x264's name for how hard it tries."""
    num_threads: int = 1
    """Threads of x264; with more, the same frames may give other bytes."""

    def group_frames(self, fps: float) -> int:
        """Count the frames from one key frame to the next."""
        return max(1, round(self.group_s * fps))

    def options(self, fps: float) -> dict[str, object]:
        """Spell this out for FFmpeg."""
        group = self.group_frames(fps)
        # mbtree's AVX-512 code gives other bytes now and then; short groups gain nothing by it.
        fixed = f"scenecut=0:bframes=0:open-gop=0:mbtree=0:threads={self.num_threads}"
        return {
            "preset": self.preset,
            **({"tune": "fastdecode"} if self.decodes_fast else {}),
            "crf": str(self.crf),
            "x264-params": f"keyint={group}:min-keyint={group}:{fixed}",
        }


DEFAULT_ENCODING = Encoding()


@dataclass(frozen=True, kw_only=True)
class StreamEncoding:
    """The settings of x264 that live streams have: a bit rate instead of a quality."""

    bitrate: int
    """Bits per second, on average and at most over a second."""
    group_s: float = 2.0
    """Time from one key frame to the next, as streaming services ask for."""
    preset: str = "veryfast"

    def options(self, fps: float) -> dict[str, object]:
        """Spell this out for FFmpeg."""
        group = max(1, round(self.group_s * fps))
        rate = str(self.bitrate)
        return {
            "preset": self.preset,
            "b": rate,
            "maxrate": rate,
            "bufsize": rate,
            # As for `Encoding`, so that the same frames give the same bytes.
            "x264-params": f"keyint={group}:scenecut=0:mbtree=0:threads=1",
        }


def frame_rate(fps: float) -> Fraction:
    """Find the exact rate that `fps` frames per second are: 60000/1001 where 59.94 is written."""
    television = Fraction(round(fps * 1.001) * 1000, 1001)
    if abs(float(television) - fps) <= _AS_WRITTEN * fps:
        return television
    return Fraction(fps).limit_denominator(1001)


class VideoWriter:
    """Writes one mp4 frame by frame; the file appears whole at the end, or not at all.

    Frames of the same encoder give the same bytes on one thread. x264 does not keep that
    below 48 pixels a side.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "black.mp4"
        >>> with VideoWriter(path, fps=30.0, width=64, height=64) as video:
        ...     video.write(np.zeros((64, 64, 3), np.uint8))
        >>> path.exists()
        True
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        width: int,
        height: int,
        encoding: Encoding | StreamEncoding = DEFAULT_ENCODING,
    ) -> None:
        """Remember how to encode; nothing is opened before the `with` block.

        Args:
            path: The mp4 to write.
            fps: Frames per second.
            width: Of every frame, in pixels, even.
            height: As `width`.
            encoding: How it is compressed.

        Raises:
            ValueError: If a side is odd: yuv420p shares colour between pairs of pixels.
        """
        if width % 2 or height % 2:
            raise ValueError(f"video sides must be even, got {width}x{height}; crop or resize")
        self._path, self._fps, self._width, self._height = path, fps, width, height
        self._encoding = encoding
        self._open = contextlib.ExitStack()
        self.num_frames = 0

    def __enter__(self) -> "VideoWriter":
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(write_atomically(self._path))
            self._container = stack.enter_context(
                av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = self._container.add_stream("libx264", rate=frame_rate(self._fps))
            self._stream.width, self._stream.height = self._width, self._height
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = self._encoding.options(self._fps)
            self._open = stack.pop_all()
        return self

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append an RGB frame.

        Raises:
            ValueError: If it has another size than the video.
        """
        if frame.shape != (self._height, self._width, 3):
            raise ValueError(
                f"frame {self.num_frames} has shape {frame.shape}, the video expects "
                f"{(self._height, self._width, 3)}"
            )
        self.write_picture(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))

    def write_picture(self, picture: av.VideoFrame) -> None:
        """Append FFmpeg's own picture, of the video's size, whatever its time says."""
        picture.time_base, picture.pts = 1 / frame_rate(self._fps), self.num_frames
        self._container.mux(self._stream.encode(picture))
        self.num_frames += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            if not self.num_frames:
                raise ValueError(f"{self._path} would be a video without frames")
            self._container.mux(self._stream.encode(None))


def encode_video(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    *,
    fps: float,
    width: int,
    height: int,
    encoding: Encoding = DEFAULT_ENCODING,
) -> bytes:
    """Encode RGB frames of one size to an mp4; arguments as for `VideoWriter`."""
    # Through a file: FFmpeg moves the index to the front by reading back what it wrote.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with VideoWriter(path, fps=fps, width=width, height=height, encoding=encoding) as video:
            for frame in frames:
                video.write(frame)
        return path.read_bytes()
