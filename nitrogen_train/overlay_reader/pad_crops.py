"""Bring a pad of any size to one size, and say what a video shows of it over time.

    box of the pad in the planes of frames ─► PadCrop ─► luma [f, 160, 256], chroma [f, 2, 80, 128]
    frames from all over the video ─► find_rest ─► the pad at rest, and where it changes
    frames, places of controls ─► cut_patches ─► what a control shows, beside what it shows at rest

The same functions prepare what the networks learn from and what they read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64, UInt8

CROP_WIDTH, CROP_HEIGHT = 256, 160
MARGIN = 0.06
"""Room around the pad's box, as a share of its width: boxes are a little wrong."""
BUTTON_SIDE = 32
STICK_SIDE = 64
"""Sides of the patches in pixels of the crop."""
LAYOUT_STRIDE, HEAT_STRIDE = 4, 2
"""Pixels of the crop between the middles of cells, of layouts and of the heat of sticks."""
NUM_VIEWS = 7
"""Channels of `describe_pad`."""
NUM_CHANNELS = 8
"""Channels of a patch."""
Box = tuple[float, float, float, float]


def _resample(
    start: float, stop: float, count: int, size: int
) -> Float32[np.ndarray, "count size"]:
    """Build the weights that resample `size` pixels to `count` which span [start, stop).

    Linear between pixels; where pixels of the crop are larger, a triangle as wide as they are.
    Outside of the picture, its edge goes on.
    """
    step = (stop - start) / count
    centres = start + step * (np.arange(count) + 0.5)
    reach = max(step, 1.0)
    offsets = np.arange(size)[None] + 0.5 - np.clip(centres, 0.5, size - 0.5)[:, None]
    weights = np.clip(1 - np.abs(offsets) / reach, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class PadCrop:
    """Where the crop of a pad lies in a video.

    Example:
        >>> crop = PadCrop((100.0, 50.0, 228.0, 130.0), 640, 360)
        >>> crop.to_video(*crop.to_crop(164.0, 90.0))
        (164.0, 90.0)
    """

    box: Box
    """The pad's, in pixels of the video."""
    width: int
    """Of the video."""
    height: int

    @cached_property
    def scale(self) -> float:
        """Pixels of the video per pixel of the crop."""
        left, top, right, bottom = self.box
        room = 2 * MARGIN * (right - left)
        return max((right - left + room) / CROP_WIDTH, (bottom - top + room) / CROP_HEIGHT)

    @cached_property
    def origin(self) -> tuple[float, float]:
        """The crop's left and top edge in the video; it may lie outside."""
        left, top, right, bottom = self.box
        return (
            (left + right - CROP_WIDTH * self.scale) / 2,
            (top + bottom - CROP_HEIGHT * self.scale) / 2,
        )

    def to_crop(self, x: float, y: float) -> tuple[float, float]:
        """Find a place of the video in the crop."""
        return (x - self.origin[0]) / self.scale, (y - self.origin[1]) / self.scale

    def to_video(self, x: float, y: float) -> tuple[float, float]:
        """Find a place of the crop in the video."""
        return self.origin[0] + x * self.scale, self.origin[1] + y * self.scale

    @cached_property
    def outer(self) -> tuple[int, int, int, int]:
        """The pixels of the video that the crop needs, on even edges."""
        edges = []
        for start, length, size in (
            (self.origin[0], CROP_WIDTH, self.width),
            (self.origin[1], CROP_HEIGHT, self.height),
        ):
            reach = max(1.0, self.scale) + 1
            low = max(0, int(start - reach) // 2 * 2)
            high = min(size // 2 * 2, -int(-(start + length * self.scale + reach) // 2) * 2)
            edges.append((min(low, high - 2), high))
        (left, right), (top, bottom) = edges
        return left, top, right, bottom

    @cached_property
    def _weights(self) -> list[Float32[np.ndarray, "n m"]]:
        left, top, right, bottom = self.outer
        x, y = self.origin[0] - left, self.origin[1] - top
        wide, tall = CROP_WIDTH * self.scale, CROP_HEIGHT * self.scale
        return [
            _resample(y, y + tall, CROP_HEIGHT, bottom - top),
            _resample(x, x + wide, CROP_WIDTH, right - left).T.copy(),
            _resample(y / 2, (y + tall) / 2, CROP_HEIGHT // 2, (bottom - top) // 2),
            _resample(x / 2, (x + wide) / 2, CROP_WIDTH // 2, (right - left) // 2).T.copy(),
        ]

    def resample(
        self,
        luma: UInt8[np.ndarray, "f h w"],
        u: UInt8[np.ndarray, "f k l"],
        v: UInt8[np.ndarray, "f k l"],
    ) -> tuple[Float32[np.ndarray, "f 160 256"], Float32[np.ndarray, "f 2 80 128"]]:
        """Resample the planes of `outer` to the crop."""
        tall, wide, half_tall, half_wide = self._weights
        chroma = np.stack([u, v], axis=1).astype(np.float32)
        return tall @ (luma.astype(np.float32) @ wide), half_tall @ (chroma @ half_wide)


@dataclass(frozen=True, eq=False)
class PadAtRest:
    """What a video shows of a pad most of the time, and where it changes."""

    luma: Float32[np.ndarray, "160 256"]
    chroma: Float32[np.ndarray, "2 80 128"]
    spread: Float32[np.ndarray, "160 256"]
    """Mean distance of the luma from rest."""
    reach: Float32[np.ndarray, "160 256"]
    """Distance of the luma from rest that one frame of ten exceeds."""
    colour_spread: Float32[np.ndarray, "80 128"]
    """Mean distance of the chroma from rest."""

    def views(self) -> Float32[np.ndarray, "7 160 256"]:
        """Return what the layout is told from, each channel about 1 in size."""
        chroma = self.chroma.repeat(2, axis=1).repeat(2, axis=2)
        colour = self.colour_spread.repeat(2, axis=0).repeat(2, axis=1)
        tall = np.abs(np.diff(self.luma, axis=0, append=self.luma[-1:]))
        wide = np.abs(np.diff(self.luma, axis=1, append=self.luma[:, -1:]))
        return np.stack(
            [
                (self.luma - 128) / 64,
                (chroma[0] - 128) / 32,
                (chroma[1] - 128) / 32,
                np.sqrt(self.spread) / 4,
                np.sqrt(self.reach) / 6,
                np.sqrt(colour) / 3,
                np.sqrt(tall + wide) / 6,
            ]
        ).astype(np.float32)


def find_rest(
    luma: Float32[np.ndarray, "f 160 256"], chroma: Float32[np.ndarray, "f 2 80 128"]
) -> PadAtRest:
    """Find what a pad shows at rest from some frames: the median of each pixel."""
    rest, rest_chroma = np.median(luma, axis=0), np.median(chroma, axis=0)
    off = np.abs(luma - rest)
    return PadAtRest(
        luma=rest,
        chroma=rest_chroma,
        spread=off.mean(axis=0),
        reach=np.percentile(off, 90, axis=0).astype(np.float32),
        colour_spread=np.abs(chroma - rest_chroma).mean(axis=(0, 1)),
    )


def stack_channels(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    rest: PadAtRest,
) -> tuple[Float32[np.ndarray, "f 3 160 256"], Float32[np.ndarray, "5 160 256"]]:
    """Return what differs from rest in each frame, and rest, which all frames share."""
    off = np.empty((len(luma), 3, CROP_HEIGHT, CROP_WIDTH), np.float32)
    off[:, 0] = (luma - rest.luma) / 64
    off[:, 1:] = ((chroma - rest.chroma) / 32).repeat(2, axis=2).repeat(2, axis=3)
    return off, rest.views()[:5]


def cut_patches(
    off: Float32[np.ndarray, "f 3 160 256"],
    still: Float32[np.ndarray, "5 160 256"],
    places: Sequence[tuple[float, float]],
    side: int,
) -> Float32[np.ndarray, "f p 8 side side"]:
    """Cut square patches around places of the crop; what lies outside of it holds zeros."""
    rows, columns = _indices(places, side)
    half = side // 2
    pad = ((0, 0), (half, half), (half, half))
    moving = np.pad(off, ((0, 0), *pad))[:, :, rows, columns]
    resting = np.pad(still, pad)[:, rows, columns]
    patches = np.empty((len(off), len(places), NUM_CHANNELS, side, side), np.float32)
    patches[:, :, :3] = moving.transpose(0, 2, 1, 3, 4)
    patches[:, :, 3:] = resting.transpose(1, 0, 2, 3)
    return patches


def _indices(
    places: Sequence[tuple[float, float]], side: int
) -> tuple[Int64[np.ndarray, "p side 1"], Int64[np.ndarray, "p 1 side"]]:
    """Find the rows and columns of patches in planes with half a side of room around them."""
    x, y = (np.rint(np.array(each)).astype(np.int64) for each in zip(*places, strict=True))
    steps = np.arange(side)
    x, y = np.clip(x, 0, CROP_WIDTH), np.clip(y, 0, CROP_HEIGHT)
    return (y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]
