"""Bring a pad of any size to one size, and say what a video shows of it over time.

    box of the pad in the planes of frames ─► PadCrop ─► luma [f, 160, 256], chroma [f, 2, 80, 128]
    frames from all over the video ─► find_rest ─► the pad at rest, and where it changes
    frames, places of controls ─► cut_patches ─► what a control shows, beside what it shows at rest

The same functions prepare what the networks learn from and what they read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from scipy.sparse import csr_array

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
NUM_CHANNELS = 9
"""Channels of a patch."""
NUM_LOOKS, NUM_SHARES = 3, 4
"""Channels of a patch that hold the difference from rest in levels; values of `find_press`."""
_LIKELIEST = 4
_SHARES = (50, 75, 90, 100)
_LOGITS = 4.0
"""Unit of logits among what a network is given."""
_ROOM = STICK_SIDE // 2
_NOISE = 6.0
"""Levels that a codec changes anyway."""
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
    def _weights(self) -> list[tuple[csr_array, csr_array]]:
        """Return what resamples rows and columns, of luma and of chroma: few pixels each."""
        left, top, right, bottom = self.outer
        x, y = self.origin[0] - left, self.origin[1] - top
        wide, tall = CROP_WIDTH * self.scale, CROP_HEIGHT * self.scale
        return [
            (
                csr_array(_resample(y / n, (y + tall) / n, CROP_HEIGHT // n, (bottom - top) // n)),
                csr_array(_resample(x / n, (x + wide) / n, CROP_WIDTH // n, (right - left) // n)),
            )
            for n in (1, 2)
        ]

    def resample(
        self,
        luma: UInt8[np.ndarray, "f h w"],
        u: UInt8[np.ndarray, "f k l"],
        v: UInt8[np.ndarray, "f k l"],
    ) -> tuple[Float32[np.ndarray, "f 160 256"], Float32[np.ndarray, "f 2 80 128"]]:
        """Resample the planes of `outer` to the crop."""

        def shrink(plane: np.ndarray, weights: tuple[csr_array, csr_array]) -> np.ndarray:
            tall, wide = weights
            return (wide @ (tall @ plane.astype(np.float32)).T).T

        whole, half = self._weights
        chroma = [
            np.stack([shrink(each, half) for each in frame]) for frame in zip(u, v, strict=True)
        ]
        return np.stack([shrink(each, whole) for each in luma]), np.stack(chroma)


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
    return measure_rest(luma, chroma, np.median(luma, axis=0), np.median(chroma, axis=0))


def measure_rest(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    rest: Float32[np.ndarray, "160 256"],
    rest_chroma: Float32[np.ndarray, "2 80 128"],
) -> PadAtRest:
    """Measure how far some frames are from rest."""
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
) -> tuple[Float32[np.ndarray, "f 4 224 320"], Float32[np.ndarray, "5 224 320"]]:
    """Return what differs from rest in each frame, and rest, with room for patches around them.

    What differs is given in levels, and once more by what is usual at its place in this video:
    whoever draws presses faintly is read as well.
    """
    height, width = CROP_HEIGHT + 2 * _ROOM, CROP_WIDTH + 2 * _ROOM
    inner = slice(_ROOM, _ROOM + CROP_HEIGHT), slice(_ROOM, _ROOM + CROP_WIDTH)
    off = np.zeros((len(luma), 4, height, width), np.float32)
    change = luma - rest.luma
    off[:, 0, *inner] = change / 64
    off[:, 3, *inner] = np.clip(change / (2 * rest.reach + _NOISE), -1, 1)
    off[:, 1:3, *inner] = ((chroma - rest.chroma) / 32).repeat(2, axis=2).repeat(2, axis=3)
    still = np.zeros((5, height, width), np.float32)
    still[:, *inner] = rest.views()[:5]
    return off, still


def cut_patches(
    off: Float32[np.ndarray, "f 4 224 320"],
    still: Float32[np.ndarray, "5 224 320"],
    frames: Iterable[int] | Int64[np.ndarray, " n"],
    places: Iterable[tuple[float, float]],
    side: int,
) -> Float32[np.ndarray, "n 9 side side"]:
    """Cut square patches; what lies outside of the crop holds zeros.

    Args:
        off: Of `stack_channels`.
        still: Of `stack_channels`.
        frames: Which frame each patch is of.
        places: The middle of each patch, in pixels of the crop.
        side: Of the patches, at most `STICK_SIDE`.
    """
    wanted = list(zip(frames, places, strict=True))
    patches = np.empty((len(wanted), NUM_CHANNELS, side, side), np.float32)
    for patch, (frame, (x, y)) in zip(patches, wanted, strict=True):
        left = min(max(round(x), 0), CROP_WIDTH) + _ROOM - side // 2
        top = min(max(round(y), 0), CROP_HEIGHT) + _ROOM - side // 2
        window = slice(top, top + side), slice(left, left + side)
        patch[:4] = off[frame, :, *window]
        patch[4:] = still[:, *window]
    return patches


def find_press(
    patches: Float32[np.ndarray, "m 9 32 32"], logits: Float32[np.ndarray, " m"]
) -> tuple[Float32[np.ndarray, "3 32 32"], Float32[np.ndarray, " 4"]]:
    """Find what a button shows when it is most likely pressed, in moments of one video.

    Args:
        patches: Around the button.
        logits: How likely each patch alone shows a press.

    Returns:
        The mean difference from rest where a press is most likely, and how likely one is in half,
        a quarter and a tenth of the moments, and at most.
    """
    best = np.argsort(-logits, kind="stable")[:_LIKELIEST]
    usual = np.percentile(logits, _SHARES).astype(np.float32)
    return patches[best, :NUM_LOOKS].mean(axis=0), np.clip(usual / _LOGITS, -2, 2)
