"""torchcodec, where it and the shared libraries of FFmpeg are installed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.data.decoders.video import (
    UnsupportedVideoError,
    first_line,
    open_video,
)


class TorchcodecDecoder:
    """torchcodec: exact where it says that the frames were shown when they should be."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If torchcodec does not load, fails on the video, or returns other
                frames.
        """
        try:
            from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
        except (ImportError, OSError, RuntimeError) as error:
            # It finds the libraries of FFmpeg and torch when it is imported, or does not.
            raise UnsupportedVideoError(
                f"torchcodec does not load here: {first_line(error)}"
            ) from error
        with open_video(video) as opened:
            table, tick_s = opened.table, float(opened.stream.time_base or 0)
        wanted = table.select(indices)
        try:
            decoder = VideoDecoder(video, dimension_order="NHWC", num_ffmpeg_threads=1)
            batch = decoder.get_frames_at(wanted.tolist())
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnsupportedVideoError(
                f"torchcodec cannot decode the video: {first_line(error)}"
            ) from error
        late_s = np.abs(batch.pts_seconds.numpy() - table.pts[wanted] * tick_s)
        if len(decoder) != len(table) or (late_s > tick_s / 2).any():
            raise UnsupportedVideoError("torchcodec returns other frames of the video")
        return batch.data.numpy()
