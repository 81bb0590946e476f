"""Measure what stays and what changes in a video: the pictures in which a pad is looked for.

    moments (luma) ─► fitted to 640x360 ─► sums over time ─► six planes, one byte per pixel

A pad stands still while the game behind it moves: its edges are in every moment. And its controls
change: where, tells it from a still picture of a pad. Each plane measures one side of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

WIDTH, HEIGHT = 640, 360
"""Size in pixels of the planes, whatever the size of the video."""
PLANES = ("median", "edges", "coherence", "spread", "flicker", "rarity")
"""The planes in their order.

`median`: the luma that half of the moments are below. `edges`: size of the mean gradient.
`coherence`: that size by the root mean square of the gradients; 1 where an edge never changes.
`spread`: standard deviation of the luma. `flicker`: standard deviation of the gradient. `rarity`:
the largest distance from the median in standard deviations; large where little happens seldom.
"""
FEWEST_MOMENTS = 6
_BLACK = 16
_EDGE, _SPREAD, _FLICKER, _RARITY = 24.0, 40.0, 24.0, 8.0
"""What the planes are divided by; all but the last go through tanh then."""
_NOISE = 2.0
"""Levels that an encoder changes anyway."""

Statistics = UInt8[np.ndarray, "6 360 640"]
Plane = Float32[np.ndarray, "360 640"]


@dataclass(frozen=True)
class PictureFit:
    """How a picture lies in the planes: as large as fits, in the middle."""

    width: int
    height: int

    @property
    def scale(self) -> float:
        """Return the pixels of the planes per pixel of the video."""
        return min(WIDTH / self.width, HEIGHT / self.height)

    @property
    def size(self) -> tuple[int, int]:
        """Return the width and the height of the picture in the planes."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    @property
    def place(self) -> tuple[int, int]:
        """Return the left and the top edge of the picture in the planes."""
        wide, tall = self.size
        return (WIDTH - wide) // 2, (HEIGHT - tall) // 2

    def shrink(self, luma: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "360 640"]:
        """Fit a picture; what is beside it is black."""
        left, top = self.place
        wide, tall = self.size
        fitted = np.full((HEIGHT, WIDTH), _BLACK, np.uint8)
        is_smaller = wide < luma.shape[1]
        how = Image.Resampling.BOX if is_smaller else Image.Resampling.BILINEAR
        picture = Image.fromarray(luma).resize((wide, tall), how)
        fitted[top : top + tall, left : left + wide] = np.asarray(picture)
        return fitted

    def to_video(self, box: Sequence[int | float]) -> tuple[float, float, float, float]:
        """Turn edges in the planes into edges in the video's pixels.

        Example:
            >>> PictureFit(1280, 720).to_video((10, 20, 30, 40))
            (20.0, 40.0, 60.0, 80.0)
        """
        x, y = self.place
        left, top, right, bottom = box
        return (
            (left - x) / self.scale,
            (top - y) / self.scale,
            (right - x) / self.scale,
            (bottom - y) / self.scale,
        )


def measure_statistics(moments: UInt8[np.ndarray, "t 360 640"]) -> Statistics:
    """Measure the planes of some moments.

    Args:
        moments: Luma of frames from all over a stretch of time; their order does not matter.
    """
    count = len(moments)
    ordered = np.sort(moments, axis=0)
    median = ordered[count // 2].astype(np.float32)
    # Stretches in which half of the moments are alike have a median; others a mean of two.
    if count % 2 == 0:
        median = (median + ordered[count // 2 - 1]) / 2
    furthest = np.maximum(ordered[-1] - median, median - ordered[0])
    spread = np.std(moments, axis=0, dtype=np.float32)
    mean, energy = _sum_gradients(moments)
    steady = np.sum(mean**2, axis=0)
    size, power = np.sqrt(steady), np.sqrt(energy)
    flicker = np.sqrt(np.maximum(energy - steady, 0))
    planes = (
        median / 255,
        np.tanh(size / _EDGE),
        size / (power + _NOISE),
        np.tanh(spread / _SPREAD),
        np.tanh(flicker / _FLICKER),
        np.minimum(furthest / (spread + _NOISE) / _RARITY, 1),
    )
    return np.stack([np.rint(255 * plane).astype(np.uint8) for plane in planes])


def _sum_gradients(
    moments: UInt8[np.ndarray, "t 360 640"],
) -> tuple[Float32[np.ndarray, "2 360 640"], Plane]:
    """Return the mean gradient, in levels per pixel, and the mean of its size squared."""
    mean = np.zeros((2, HEIGHT, WIDTH), np.float32)
    energy = np.zeros((HEIGHT, WIDTH), np.float32)
    for moment in moments:
        luma = moment.astype(np.float32)
        across = (luma[:, 2:] - luma[:, :-2]) / 2
        along = (luma[2:] - luma[:-2]) / 2
        mean[0, :, 1:-1] += across
        mean[1, 1:-1] += along
        energy[:, 1:-1] += across**2
        energy[1:-1] += along**2
    return mean / len(moments), energy / len(moments)
