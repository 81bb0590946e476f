"""Tell the colours of a pad in a video, and of what is behind it, from a few whole frames.

moments, Placement ─► background behind the pad on average
└─► matrix of the video's YUV: that which explains pad and presses better
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, UInt8

from data_tools.watching.pad_pictures import MATRICES, Background, PadPictures, Patch, Placement
from data_tools.watching.reading import Box
from nitrogen_train.skins.skin import Button, Skin

_FAR_OFF = 20.0
"""Levels; what is further off is none of the pictures that are compared."""


@dataclass(frozen=True, eq=False)
class VideoMoment:
    """One frame of a video, as it was decoded."""

    luma: UInt8[np.ndarray, "h w"]
    u: UInt8[np.ndarray, "k l"]
    v: UInt8[np.ndarray, "k l"]
    is_full_range: bool
    """Whether black is 0 and white 255, not 16 and 235."""

    def shrunk(self, factor: int) -> "VideoMoment":
        """Take the means of `factor` times `factor` pixels."""
        if factor == 1:
            return self
        planes = [
            np.rint(shrink_mean(plane, factor)).astype(np.uint8)
            for plane in (self.luma, self.u, self.v)
        ]
        height, width = (side // 2 * 2 for side in planes[0].shape)
        small = [plane[: height // 2, : width // 2] for plane in planes[1:]]
        return replace(self, luma=planes[0][:height, :width], u=small[0], v=small[1])


def shrink_mean(
    plane: UInt8[np.ndarray, "h w"] | Float32[np.ndarray, "h w"], factor: int
) -> Float32[np.ndarray, "less_h less_w"]:
    """Take means of `factor` times `factor` pixels."""
    height, width = (side // factor * factor for side in plane.shape)
    cut = plane[:height, :width]
    if factor == 1:
        return cut.astype(np.float32)
    # Added slice by slice, which is several times faster than a mean over two axes.
    rows = cut[::factor].astype(np.float32)
    for start in range(1, factor):
        rows += cut[start::factor]
    total = rows[:, ::factor].copy()
    for start in range(1, factor):
        total += rows[:, start::factor]
    return total / np.float32(factor**2)


def choose_matrix(moments: Sequence[VideoMoment], skin: Skin, placement: Placement) -> Placement:
    """Take the colours that explain the video better, also those of presses.

    Of a skin that is white at rest nothing but its presses tells them.
    """
    tried = [replace(placement, matrix=matrix) for matrix in MATRICES]
    return min(tried, key=lambda each: measure_distance(moments, skin, each))


def measure_distance(moments: Sequence[VideoMoment], skin: Skin, placement: Placement) -> float:
    """Measure how far a video is from a skin, at rest and with its presses, in levels."""
    height, width = moments[0].luma.shape
    box = placement.box(skin, width=width, height=height)
    pictures = PadPictures(skin, placement)
    patch = pictures.patch(box, {})
    background = find_background(moments, pictures, box)
    # Where a state of a control differs from rest, the mean is far off in any colours.
    rest = _measure_error(_mean_vector(moments, box), patch, background)
    error = rest + _measure_presses(moments, pictures, box, background)
    return error / max(float(patch.cover.sum()), 1.0)


def _measure_error(seen: np.ndarray, patch: Patch, background: Background) -> float:
    off = np.minimum(np.abs(seen - patch.over(background)), _FAR_OFF)
    return float(np.sum(patch.cover * off))


def _measure_presses(
    moments: Sequence[VideoMoment], pictures: PadPictures, box: Box, background: Background
) -> float:
    """Measure how far buttons are from the nearer of their looks, in the mean of all moments."""
    boxes = pictures.boxes(within=box, margin=0)
    error = 0.0
    for element in pictures.skin.elements:
        if not isinstance(element, Button) or element.control not in boxes:
            continue
        part = boxes[element.control]
        looks = [pictures.patch(part, {element.control: value}) for value in (0.0, 1.0)]
        cover = np.maximum(looks[0].cover, looks[1].cover)
        levels = [look.over(background) for look in looks]
        for moment in moments:
            seen = _mean_vector([moment], part)
            error += min(
                float(np.sum(cover * np.minimum(np.abs(seen - level), _FAR_OFF)))
                for level in levels
            )
    return error / len(moments)


def _mean_vector(moments: Sequence[VideoMoment], box: Box) -> Float32[np.ndarray, " n"]:
    planes = []
    for name, step in (("luma", 1), ("u", 2), ("v", 2)):
        left, top, right, bottom = (edge // step for edge in box)
        cuts = [getattr(moment, name)[top:bottom, left:right] for moment in moments]
        planes.append(np.mean(cuts, axis=0, dtype=np.float32).ravel())
    return np.concatenate(planes)


def find_background(moments: Sequence[VideoMoment], pictures: PadPictures, box: Box) -> Background:
    """Estimate what is behind a pad on average, from where it shows through its box."""
    patch = pictures.patch(box, {})
    values = _mean_vector(moments, box)
    shown = 1 - patch.cover
    count = len(values) // 6
    ends = [0, 4 * count, 5 * count, 6 * count]
    means = []
    for start, stop in pairwise(ends):
        part = slice(start, stop)
        weights = shown[part] + 1e-3
        means.append(float(np.sum(weights * (values[part] - patch.levels[part]))
                           / np.sum(weights * shown[part] + 1e-6)))  # fmt: skip
    return Background(*(min(max(mean, 0.0), 255.0) for mean in means))
