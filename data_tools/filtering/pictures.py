"""A clip's picture at a few moments, coarse: what the rules on pictures look at."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from nitrogen_train.data.decode import VideoDecoder

GRID = 16
"""A picture is looked at in this many parts, per side."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class PictureSamples:
    """Pictures of a clip, each part as its mean brightness."""

    rows: Int64[np.ndarray, " n"]
    """Which frames they are, increasing."""
    levels: Float32[np.ndarray, "n g g"]
    """From 0 to 255."""


def sample_pictures(
    decoder: VideoDecoder, video: bytes, *, num_frames: int, fps: float, sample_hz: float
) -> PictureSamples:
    """Decode every n-th frame, where n comes nearest to `sample_hz`.

    Raises:
        ShardError: If the video is damaged.
    """
    step = max(1, round(fps / sample_hz))
    rows = np.arange(0, num_frames, step)
    frames = decoder.decode(video, indices=rows.tolist())
    return PictureSamples(rows=rows, levels=np.stack([_reduce(frame) for frame in frames]))


def _reduce(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "g g"]:
    grey = Image.fromarray(frame @ _LUMA)
    return np.array(grey.resize((GRID, GRID), Image.Resampling.BOX), dtype=np.float32)
