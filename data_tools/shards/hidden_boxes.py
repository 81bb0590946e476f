"""Hide boxes of a video's pictures, such as a drawn controller: black, or as their surroundings.

    picture ─► black boxes ─► (cut, squashed) ─► filled from what is next to them, if asked

A box that is always black where a policy learns is never black where it plays; what continues its
surroundings is closer to what will be there. Nothing that the boxes held enters the filling.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from av import VideoFrame
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from data_tools.shards.shown_picture import PictureFilter
from nitrogen_train.data.schema import Box

Filling = Literal["black", "surroundings"]
"""What is put where a box is hidden."""
_BLURRED_PX = 1
"""By which a box's black may have crept over its edge when the picture was squashed."""


def blacken(boxes: Sequence[Box]) -> list[PictureFilter]:
    """List the filters that blacken boxes, in pixels of the picture."""
    return [
        ("drawbox", f"x={x}:y={y}:w={width}:h={height}:color=black:t=fill")
        for x, y, width, height in boxes
    ]


@dataclass(frozen=True, eq=False)
class _PlaneFilling:
    """Where the values of one plane's hidden pixels come from."""

    hidden: Bool[np.ndarray, "h w"]
    """Those that can be filled: some pixel of their row or column is shown."""
    sources: Int64[np.ndarray, "4 n"]
    """The next shown pixels, left, right, above and below, counted along the rows."""
    weights: Float32[np.ndarray, "4 n"]
    """Their shares: the nearer, the larger."""

    @classmethod
    def find(cls, hidden: Bool[np.ndarray, "h w"]) -> "_PlaneFilling":
        sources, nearness = zip(*_iter_nearest(hidden), strict=True)
        total = np.sum(nearness, axis=0)
        filled = hidden & (total > 0)
        weights = np.stack([share[filled] / total[filled] for share in nearness])
        return cls(filled, np.stack([at[filled] for at in sources]), weights.astype(np.float32))

    def fill(self, plane: UInt8[np.ndarray, "h w"]) -> None:
        """Fill a plane in place."""
        plane[self.hidden] = np.rint((plane.ravel()[self.sources] * self.weights).sum(axis=0))


@dataclass(frozen=True, eq=False)
class BoxFilling:
    """Fills boxes of square pictures with what is next to them."""

    size: int
    planes: tuple[_PlaneFilling, _PlaneFilling]
    """Of brightness, and of both colours, which have half its sides."""

    @classmethod
    def find(cls, boxes: Sequence[Box], area: Box, size: int) -> "BoxFilling":
        """Find what to fill.

        Args:
            boxes: In pixels of the original picture.
            area: What was squashed to the square, in the same pixels.
            size: Side of the square, in pixels, even.
        """
        left, top, width, height = area
        hidden = np.zeros((size, size), bool)
        for x, y, wide, tall in boxes:
            columns, rows = (
                _to_square(start - first, length, whole, size)
                for start, length, first, whole in ((x, wide, left, width), (y, tall, top, height))
            )
            hidden[rows, columns] = True
        half = hidden[::2, ::2]
        return cls(size, (_PlaneFilling.find(hidden), _PlaneFilling.find(half)))

    def fill(self, picture: VideoFrame) -> VideoFrame:
        """Fill a yuv420p picture of the square's size."""
        planes = picture.to_ndarray()
        bright, colours = planes[: self.size], planes[self.size :].reshape(2, self.size // 2, -1)
        of_bright, of_colours = self.planes
        of_bright.fill(bright)
        for colour in colours:
            of_colours.fill(colour)
        filled = VideoFrame.from_ndarray(planes, format="yuv420p")
        filled.colorspace, filled.color_range = picture.colorspace, picture.color_range
        return filled


def _to_square(start: int, length: int, whole: int, size: int) -> slice:
    """Find the pixels of the square that an interval touches, in pairs, which share a colour."""
    blurred = _BLURRED_PX * math.ceil(size / whole)
    first = math.floor(start * size / whole) - blurred
    stop = math.ceil((start + length) * size / whole) + blurred
    return slice(max(first // 2 * 2, 0), max(-(-stop // 2) * 2, 0))


def _iter_nearest(
    hidden: Bool[np.ndarray, "h w"],
) -> Iterator[tuple[Int64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]]:
    """Find for each pixel the next shown one to the left, right, above and below.

    Yields:
        Their numbers, counted along the rows, and how near they are; 0 where there is none.
    """
    numbers = np.arange(hidden.size).reshape(hidden.shape)
    for turned, is_hidden in ((numbers, hidden), (numbers.T, hidden.T)):
        for step in (1, -1):
            shown = ~is_hidden[:, ::step]
            steps = np.arange(shown.shape[1])
            last = np.maximum.accumulate(np.where(shown, steps, -1), axis=1)
            nearest = np.take_along_axis(turned[:, ::step], last.clip(min=0), axis=1)[:, ::step]
            near = np.where(last >= 0, 1 / np.maximum(steps - last, 1), 0)[:, ::step]
            yield (nearest, near) if turned is numbers else (nearest.T, near.T)
