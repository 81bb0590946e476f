"""Follow the cap of a stick as a picture that moves, where the network does not see it well.

    moments, where the network sees the cap ─► the cap's picture: the median of what moves with it
      ─► where it fits best at each moment ─► its picture again, until it stays
      ─► explains the moments better than the network's places do, or is not used
    frames ─► where the cap is, and the frames without it
    pictures of the cap, wherever it is ─► what parts both looks ─► clicked or not

Networks know the sticks that they were trained with. A cap that is much larger, or that lies below
the buttons, is still one picture that is shifted: its video shows it at many places.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Int64

from data_tools.watching.any_skin.press_splits import LEVELS, PressSplit, find_click_split
from nitrogen_train.overlay_reader.pad_crops import BUTTON_SIDE, CROP_HEIGHT, CROP_WIDTH

_HALF_SIDE = BUTTON_SIDE // 2
_REACH = 12
"""Pixels of the halved crop up to which a cap is looked for on all sides."""
_SIZE = (64, 64)
"""Of the Fourier transforms: no smaller than any window."""
_SMALLEST, _LARGEST = 7, 31
"""Sides of a cap's picture in the halved crop."""
_STEPS = 6
_FIRST_SHARE, _LAST_SHARE = 0.5, 0.9
"""Of the moments, those that fit best make the picture: more of them in each step."""
_NOISE = 6.0
"""Levels that codecs change anyway."""
_MOST_OFF = 60.0
"""Levels, in all planes together: what is further off than that is explained by nothing."""
_BETTER = 0.9
"""Of what the network's places leave unexplained: a picture must leave less than that."""
Planes = Float32[np.ndarray, "f 3 80 128"]
Places = Float32[np.ndarray, "f 2"]


def halve_planes(
    luma: Float32[np.ndarray, "f 160 256"], chroma: Float32[np.ndarray, "f 2 80 128"]
) -> Planes:
    """Bring luma to the size of chroma."""
    halved = np.empty((len(luma), 3, CROP_HEIGHT // 2, CROP_WIDTH // 2), np.float32)
    rows = luma[:, ::2] + luma[:, 1::2]
    halved[:, 0] = (rows[..., ::2] + rows[..., 1::2]) / 4
    halved[:, 1:] = chroma
    return halved


@dataclass(frozen=True, eq=False)
class StickSprite:
    """The picture of a stick's cap, and where it is looked for."""

    picture: Float32[np.ndarray, "3 t t"]
    weights: Float32[np.ndarray, "t t"]
    """How much each pixel counts; their sum is 1."""
    middle: tuple[int, int]
    """Of the place at rest, x and y in pixels of the halved crop."""
    rest: tuple[float, float]
    """Pixels of the crop from there to the place of the layout."""
    behind: Float32[np.ndarray, "3 s s"]
    """What is seen around the place at rest without the cap."""

    def read(self, planes: Planes) -> Float32[np.ndarray, "f 3"]:
        """Find the cap in some frames.

        Returns:
            How far it is from its place at rest, x and y in pixels of the crop, and how much better
            it fits there than elsewhere, in [0, 1].
        """
        if not len(planes):
            return np.zeros((0, 3), np.float32)
        seen = _Windows.cut(planes, self.middle, len(self.weights))
        places, least, usual = _find_best(seen.measure_fit(self.picture, self.weights))
        sure = np.clip(1 - least / np.maximum(usual, 1e-6), 0, 1)
        return np.column_stack([2 * places - np.array(self.rest), sure]).astype(np.float32)

    def erase(
        self,
        luma: Float32[np.ndarray, "f 160 256"],
        chroma: Float32[np.ndarray, "f 2 80 128"],
        planes: Planes,
        caps: Float32[np.ndarray, "f 3"],
    ) -> None:
        """Take the cap off frames, in place: what lies on it stays.

        Args:
            luma: Of frames.
            chroma: Of the same frames.
            planes: Both as they were, of `halve_planes`.
            caps: Where the cap is, of `read`.
        """
        side = len(self.weights)
        disc = _draw_disc(side)
        shifts = _round_places((caps[:, :2] + np.array(self.rest, np.float32)) / 2)
        for number, (x, y) in enumerate(shifts):
            behind = self.behind[:, _REACH + y :, _REACH + x :][:, :side, :side]
            left, top = self.middle[0] + x - side // 2, self.middle[1] + y - side // 2
            rows, columns = (
                slice(min(max(start, 0), most), max(min(start + side, most), 0))
                for start, most in zip((top, left), planes.shape[2:], strict=True)
            )
            inner = (
                slice(rows.start - top, rows.stop - top),
                slice(columns.start - left, columns.stop - left),
            )
            shown = planes[number][:, rows, columns]
            picture, empty = self.picture[:, *inner], behind[:, *inner]
            is_cap = np.abs(shown - picture).sum(axis=0) <= np.abs(shown - empty).sum(axis=0)
            cap = (picture - empty) * (is_cap & disc[inner])
            chroma[number][:, rows, columns] -= cap[1:]
            whole = tuple(slice(2 * each.start, 2 * each.stop) for each in (rows, columns))
            luma[number][whole] -= cap[0].repeat(2, axis=0).repeat(2, axis=1)


def find_sprite(
    planes: Planes, place: tuple[float, float], size: tuple[float, float], offsets: Places
) -> StickSprite | None:
    """Find the picture of a cap; None where the network's places explain the moments as well.

    Args:
        planes: Of moments of the video, of `halve_planes`.
        place: The middle of the cap at rest, in pixels of the crop.
        size: Width and height of the cap.
        offsets: Where the network sees the cap at each moment, from there.
    """
    side = int(np.clip(round(sum(size) / 4), _SMALLEST, _LARGEST)) | 1
    x, y = (round(each / 2) for each in place)
    if not (0 <= x < CROP_WIDTH // 2 and 0 <= y < CROP_HEIGHT // 2):
        return None
    windows = _Windows.cut(planes, (x, y), side)
    seen = np.clip(offsets / 2, -_REACH, _REACH)
    best, least = None, _BETTER * _explain(windows.shown, seen, side)[1]
    for start in (seen, np.zeros_like(seen)):
        picture, weights, places = _follow(windows, start, side)
        behind, left = _explain(windows.shown, places, side)
        if left < least:
            rest = place[0] - 2 * x, place[1] - 2 * y
            best, least = StickSprite(picture, weights, (x, y), rest, behind), left
    return best


@dataclass(frozen=True, eq=False)
class ClickLook:
    """What a click looks like on the cap of a stick."""

    place: tuple[float, float]
    """Of the cap at rest, in pixels of the crop."""
    usual: Float32[np.ndarray, "3 32 32"]
    split: PressSplit

    @classmethod
    def find(
        cls,
        luma: Float32[np.ndarray, "m 160 256"],
        chroma: Float32[np.ndarray, "m 2 80 128"],
        place: tuple[float, float],
        size: tuple[float, float],
        caps: Float32[np.ndarray, "m 4"],
    ) -> "ClickLook | None":
        """Find it; None where nothing surely is a click.

        Args:
            luma: Of moments of the video.
            chroma: Of the same moments.
            place: The middle of the cap at rest, in pixels of the crop.
            size: Width and height of the cap.
            caps: Where it is at each moment from there, how sure that is, and how likely a click.
        """
        shown = _cut_patches(luma, chroma, place, caps)
        usual = np.median(shown, axis=0)
        split = find_click_split(shown - usual, caps[:, 3], size, caps[:, :2])
        return None if split is None else cls(place, usual, split)

    def read(
        self,
        luma: Float32[np.ndarray, "f 160 256"],
        chroma: Float32[np.ndarray, "f 2 80 128"],
        caps: Float32[np.ndarray, "f 4"],
    ) -> Float32[np.ndarray, " f"]:
        """Tell how far the stick is clicked in some frames, in [0, 1]."""
        return self.split.measure(_cut_patches(luma, chroma, self.place, caps) - self.usual).clip(
            0, 1
        )


@dataclass(frozen=True, eq=False)
class _Windows:
    """The surroundings of a stick in some frames; beyond the crop, its edge goes on."""

    shown: Float32[np.ndarray, "f 3 s s"]
    waves: Complex64[np.ndarray, "f 4 64 33"]
    """Fourier transforms of the planes, and of the sum of their squares."""

    @classmethod
    def cut(cls, planes: Planes, middle: tuple[int, int], side: int) -> "_Windows":
        """Cut them around a place."""
        half = _REACH + side // 2
        padded = np.pad(planes, ((0, 0), (0, 0), (half, half), (half, half)), mode="edge")
        x, y = middle
        shown = padded[:, :, y : y + 2 * half + 1, x : x + 2 * half + 1]
        both = np.concatenate([shown, (shown**2).sum(axis=1, keepdims=True)], axis=1)
        return cls(shown, np.fft.rfft2(both, _SIZE))

    def measure_fit(
        self, picture: Float32[np.ndarray, "3 t t"], weights: Float32[np.ndarray, "t t"]
    ) -> Float32[np.ndarray, "f n n"]:
        """Measure the weighted square distance of a picture at each shift up to the reach."""
        kernels = np.concatenate([-2 * weights * picture, weights[None]])
        fit = (self.waves * np.fft.rfft2(kernels, _SIZE).conj()).sum(axis=1)
        count = 2 * _REACH + 1
        shifted = np.fft.irfft2(fit, _SIZE)[:, :count, :count]
        return shifted + float((weights * picture**2).sum())


def _follow(
    windows: _Windows, start: Places, side: int
) -> tuple[Float32[np.ndarray, "3 t t"], Float32[np.ndarray, "t t"], Places]:
    """Find the picture that moves, and its place at each moment."""
    places, chosen = start, np.ones(len(start), bool)
    disc = _draw_disc(side)
    picture, weights = windows.shown[0], np.zeros(disc.shape, np.float32)
    for share in np.linspace(_FIRST_SHARE, _LAST_SHARE, _STEPS):
        shown = _cut_caps(windows.shown, places, side)[chosen]
        picture = np.median(shown, axis=0)
        spread = np.median(np.abs(shown - picture).sum(axis=1), axis=0)
        weights = disc / (spread + _NOISE) ** 2
        weights = (weights / weights.sum()).astype(np.float32)
        places, least, _ = _find_best(windows.measure_fit(picture, weights))
        chosen = least <= np.quantile(least, share)
    return picture, weights, places


def _round_places(places: Places) -> Int64[np.ndarray, "f 2"]:
    return np.clip(np.rint(places), -_REACH, _REACH).astype(np.int64)


def _draw_disc(side: int) -> Bool[np.ndarray, "t t"]:
    steps = np.arange(side) - (side - 1) / 2
    return np.hypot(steps[:, None], steps[None]) <= side / 2


def _cut_caps(
    windows: Float32[np.ndarray, "m 3 s s"], places: Places, side: int
) -> Float32[np.ndarray, "m 3 t t"]:
    """Cut what the cap's picture would cover at its place in each window."""
    shifts = _round_places(places) + _REACH
    return np.stack(
        [
            window[:, y : y + side, x : x + side]
            for window, (x, y) in zip(windows, shifts, strict=True)
        ]
    )


def _find_best(
    distance: Float32[np.ndarray, "m n n"],
) -> tuple[Places, Float32[np.ndarray, " m"], Float32[np.ndarray, " m"]]:
    """Find the best shifts, in parts of a pixel, the distance there, and the median of all."""
    flat = distance.reshape(len(distance), -1)
    rows, columns = np.divmod(flat.argmin(axis=1), distance.shape[2])
    frames, last = np.arange(len(distance)), distance.shape[1] - 1
    middle = distance[frames, rows, columns]
    places = []
    for place, down, across in ((columns, 0, 1), (rows, 1, 0)):
        before, after = (
            distance[
                frames, np.clip(rows + s * down, 0, last), np.clip(columns + s * across, 0, last)
            ]
            for s in (-1, 1)
        )
        bend = before - 2 * middle + after
        part = np.where(bend > 1e-6, (before - after) / (2 * np.maximum(bend, 1e-6)), 0)
        places.append(place - _REACH + np.clip(part, -0.5, 0.5))
    return np.stack(places, axis=1).astype(np.float32), middle, np.median(flat, axis=1)


def _explain(
    windows: Float32[np.ndarray, "m 3 s s"], places: Places, side: int
) -> tuple[Float32[np.ndarray, "3 s s"], float]:
    """Explain moments by a cap at these places, and by what is still behind it.

    Returns:
        What is behind, and what is left of the moments: the mean distance in levels.
    """
    disc = _draw_disc(side)
    shifts = _round_places(places) + _REACH
    covered = np.zeros((len(windows), *windows.shape[2:]), bool)
    for mask, (x, y) in zip(covered, shifts, strict=True):
        mask[y : y + side, x : x + side] |= disc
    picture = np.median(_cut_caps(windows, places, side), axis=0)
    with warnings.catch_warnings():
        # Pixels that are covered at all moments have no background.
        warnings.simplefilter("ignore", RuntimeWarning)
        behind = np.nanmedian(np.where(covered[:, None], np.nan, windows), axis=0)
    behind = np.where(np.isnan(behind), windows.mean(axis=0), behind).astype(np.float32)
    shown = np.where(covered[:, None], 0, behind)
    for frame, (x, y) in zip(shown, shifts, strict=True):
        frame[:, y : y + side, x : x + side] += picture * disc
    off = np.abs(windows - shown).sum(axis=1)
    return behind, float(np.minimum(off, _MOST_OFF).mean())


def _cut_patches(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    place: tuple[float, float],
    caps: Float32[np.ndarray, "f 4"],
) -> Float32[np.ndarray, "f 3 32 32"]:
    """Cut the pictures of a cap out of frames, in the units of patches."""
    shown = np.empty((len(luma), 3, BUTTON_SIDE, BUTTON_SIDE), np.float32)
    for patch, bright, colours, offset in zip(shown, luma, chroma, caps[:, :2], strict=True):
        left, top = (
            round(float(at + by)) - _HALF_SIDE for at, by in zip(place, offset, strict=True)
        )
        rows = np.clip(np.arange(top, top + BUTTON_SIDE), 0, CROP_HEIGHT - 1)
        columns = np.clip(np.arange(left, left + BUTTON_SIDE), 0, CROP_WIDTH - 1)
        patch[0] = bright[rows[:, None], columns]
        patch[1:] = colours[:, rows[:, None] // 2, columns // 2]
    return shown / LEVELS[:, None, None]
