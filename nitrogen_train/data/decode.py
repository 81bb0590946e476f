"""Videos in memory to frames, behind one protocol.

Decoders run on one thread: a loader has a process per core. They hold no state, so one object
serves every worker; open it in the worker all the same, decord dislikes forks.
"""

import importlib.util
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from nitrogen_train.data.schema import ShardError

MAX_DECODED_BYTES = 4 * 1024**3
"""A video that claims to unpack to more is refused: twenty seconds of 512x512 are 0.9 GB."""

# Decoding this many frames in passing costs about as much as a seek.
_SEEK_GAP = 12


class DecodeError(ShardError):
    """A video cannot be decoded."""


@runtime_checkable
class VideoDecoder(Protocol):
    """Decodes H.264 videos exactly to the frame."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB.

        Args:
            video: An mp4 of constant frame rate.
            indices: Which frames, in any order; all of them if None.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
        """
        ...


def choose_decoder(name: str = "auto") -> VideoDecoder:
    """Build a decoder by name; `auto` is decord where it is installed, else PyAV.

    Raises:
        ValueError: If the name is unknown, or decord is asked for and not installed.
    """
    has_decord = importlib.util.find_spec("decord") is not None
    if name == "decord" and not has_decord:
        raise ValueError("decord is not installed here; use decoder=pyav, or pip install decord")
    if name not in ("auto", "decord", "pyav"):
        raise ValueError(f"unknown decoder {name!r}; use auto, decord or pyav")
    return DecordDecoder() if has_decord and name != "pyav" else PyAVDecoder()


class DecordDecoder:
    """decord: about twice as fast as PyAV."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
        """
        import decord

        # decord crashes the process on a file that is cut short; PyAV only reads its table here.
        with _open_video(video) as container:
            wanted = _resolve(indices, container)
        try:
            reader = decord.VideoReader(io.BytesIO(video), ctx=decord.cpu(0), num_threads=1)
            return reader.get_batch(wanted).asnumpy()
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise DecodeError(f"decord cannot decode the video: {_first_line(error)}") from error


class PyAVDecoder:
    """PyAV: runs everywhere."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
        """
        with _open_video(video) as container:
            wanted = _resolve(indices, container)
            found = dict(_decode_frames(container, sorted(set(wanted))))
        return np.stack([found[index] for index in wanted])


@contextmanager
def _open_video(video: bytes) -> Iterator[InputContainer]:
    """Open a video, and name what goes wrong with it.

    Raises:
        DecodeError: If FFmpeg fails on it, or it holds no video.
    """
    try:
        with av.open(io.BytesIO(video), "r") as container:
            if not container.streams.video:
                raise DecodeError("the file holds no video stream")
            container.streams.video[0].thread_count = 1
            yield container
    # PyAV maps FFmpeg's codes to many built-in types; this is the base of them all.
    except FFmpegError as error:
        raise DecodeError(f"PyAV cannot decode the video: {_first_line(error)}") from error


def _resolve(indices: Sequence[int] | None, container: InputContainer) -> list[int]:
    """List the frames to decode, once the video is known to be whole and not too large.

    Raises:
        DecodeError: If it is cut short, too large, or has no such frame.
    """
    stream = container.streams.video[0]
    num_frames = sum(packet.size > 0 for packet in container.demux(stream))
    container.seek(0)
    if not num_frames or (stream.frames and stream.frames != num_frames):
        raise DecodeError(
            f"the video's table lists {stream.frames} frames, its data hold {num_frames}"
        )
    wanted = list(range(num_frames)) if indices is None else list(indices)
    if wanted and not 0 <= min(wanted) <= max(wanted) < num_frames:
        raise DecodeError(
            f"the video has {num_frames} frames, got index {min(wanted)} to {max(wanted)}"
        )
    num_bytes = len(wanted) * stream.width * stream.height * 3
    if num_bytes > MAX_DECODED_BYTES or not wanted:
        raise DecodeError(
            f"{len(wanted)} frames of {stream.width}x{stream.height} are {num_bytes} bytes, "
            f"expected 1 to {MAX_DECODED_BYTES}"
        )
    return wanted


def _decode_frames(
    container: InputContainer, wanted: Sequence[int]
) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    """Decode frames in increasing order, seeking over gaps.

    Raises:
        DecodeError: If a frame is missing.
    """
    stream = container.streams.video[0]
    if stream.average_rate is None or stream.time_base is None:
        raise DecodeError("the video has no frame rate")
    ticks_per_frame = 1 / (stream.average_rate * stream.time_base)
    start = stream.start_time or 0
    frames = container.decode(stream)
    position = 0
    for index in wanted:
        if index - position > _SEEK_GAP:
            container.seek(start + int(index * ticks_per_frame), stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            position = round(((frame.pts or 0) - start) / ticks_per_frame) + 1
            if position == index + 1:
                yield index, frame.to_ndarray(format="rgb24")
                break
        else:
            raise DecodeError(f"frame {index} is missing from the video")


def _first_line(error: Exception) -> str:
    # decord's messages begin with times and source paths, and go on with a stack.
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line.split("Check failed: ")[-1][:200]
