"""Find where a known skin lies in a video: its place and size to parts of a pixel.

    moments ─► mean picture, steadiness of its edges ─► correlation with the skin's edges
      over sizes, coarse to fine ─► least squares on the mean picture ─► colours ─► Placement

A pad is still while the game behind it moves: an edge of the mean picture that each moment has is
an edge of something drawn on the video. Such edges are compared by direction, so neither the
brightness of the game nor the opacity of the pad matters. Least squares then use the levels: of
place, size, blur and opacity those are taken that explain the mean picture best, over a background
that is smooth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32
from PIL import Image
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import gaussian_filter1d, maximum_filter
from scipy.optimize import least_squares

from data_tools.watching.pad_pictures import (
    Placement,
    control_extents,
    make_even,
    shrink_skin,
)
from data_tools.watching.reading import Box
from data_tools.watching.video_colours import (
    VideoMoment,
    choose_matrix,
    measure_distance,
    shrink_mean,
)
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin

Plane = Float32[np.ndarray, "h w"]

FOUND_ABOVE = 0.33
"""Correlation of edges above which the skin is there. Other skins reach 0.3."""
_ALIKE = 0.02
"""Correlations that differ by less do not tell skins apart: one may be another in other colours."""
_PRESENT = 0.6
"""Share of the best moment's correlation that a moment with the pad has."""
_LARGE = 240
_LEAST_BLUR_PX = 0.42
"""Less blur is what sampling and the codec leave anyway, and cannot be told from none."""
_COARSE_WIDTH = 480
_FINE_PAD_WIDTH = 220
_COARSE_PAD_WIDTH = 110
_SIZE_STEP = 1.05
_NEUTRAL_WIDTH = 800.0
_UNIT = 10.0
_STEPS = np.array([1.0, 1.0, 1.0, 0.5, 0.2])
"""Of x, y, width, blur and opacity: what least squares take for one."""
_SMALLEST, _LARGEST = 0.06, 0.5
"""Width of the pad as a share of the picture's, where no box is given."""
_SMALLEST_PX = 60.0
"""Of a smaller pad no stick can be read."""
_BOX_ERROR = 0.2
_SOFT = 6.0
"""Levels per pixel: much weaker edges count little, stronger ones count alike."""


@dataclass(frozen=True)
class _Find:
    """A place at which the edges of the skin were met, in pixels of some picture."""

    match: float
    x: int | float
    y: int | float
    width: int | float

    def scaled(self, factor: int | float, x: int | float = 0.0, y: int | float = 0.0) -> "_Find":
        return _Find(self.match, self.x * factor + x, self.y * factor + y, self.width * factor)


class _NeutralPicture:
    """A skin at rest, as luma and opacity, to be drawn at any size fast."""

    def __init__(self, skin: Skin) -> None:
        self.width = min(skin.width, _NEUTRAL_WIDTH)
        small = shrink_skin(skin, max(1, int(skin.width / self.width)))
        picture = Renderer(small, self.width).render({})
        luma = picture[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        self.aspect = skin.height / skin.width
        self._levels = [(luma, np.ascontiguousarray(picture[..., 3]))]
        while self._levels[-1][0].shape[1] > 64:
            planes = [shrink_mean(plane, 2) for plane in self._levels[-1]]
            self._levels.append((planes[0], planes[1]))

    def source(self, width: float) -> tuple[Plane, Plane]:
        """Return luma, multiplied by opacity, and opacity, at 2.5 to 5 times a width or less."""
        wide = [level for level in self._levels if level[0].shape[1] >= 2.5 * width]
        return wide[-1] if wide else self._levels[0]

    def draw(self, width: float) -> tuple[Plane, Plane]:
        """Draw luma in [0, 1], multiplied by opacity, and opacity, with a margin of a pixel."""
        size = (max(4, round(width)), max(3, round(width * self.aspect)))
        planes = [
            np.pad(np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR)), 1)
            for plane in self.source(width)
        ]
        return planes[0], planes[1]


@lru_cache(maxsize=64)
def _draw_neutral(skin: Skin) -> _NeutralPicture:
    """Draw a skin at rest; large skins take a while, and many videos have the same."""
    return _NeutralPicture(skin)


def find_placement(
    moments: Sequence[VideoMoment], skin: Skin, *, box: Box | None = None
) -> Placement | None:
    """Find a skin in a video; None if it is not there.

    Args:
        moments: Frames from all over the video, at least one.
        skin: The skin to find.
        box: Where the pad is, to a fifth of its size; None searches all of the picture.
    """
    height, width = moments[0].luma.shape
    region = (0, 0, width, height) if box is None else _grow(box, width, height)
    neutral = _draw_neutral(skin)
    coarse = _search_coarsely(moments, neutral, region, box)
    finds = [find for each in coarse if (find := _search_finely(moments, neutral, each))]
    best = max(finds, key=lambda find: find.match, default=None)
    if best is None or best.match < FOUND_ABOVE:
        return None
    # Half of the pixels are enough for a large pad, and cost a quarter.
    factor = 2 if best.width >= _LARGE else 1
    small = [moment.shrunk(factor) for moment in moments]
    best = best.scaled(1 / factor)
    present = _moments_with(small, neutral, best)
    return _fit(present or small, skin, neutral, best).scaled(factor)


def recognize_skin(
    moments: Sequence[VideoMoment], skins: Sequence[Skin], *, box: Box | None = None
) -> Skin | None:
    """Tell which of some skins is in a video; None if none is.

    Edges tell the artwork, and where they do alike, levels tell its colours.

    Args:
        moments: Frames from all over the video; of none, nothing is told.
        skins: Those that it may be.
        box: Where the pad is, to a fifth of its size; None searches all of the picture.
    """
    found = [(skin, find_placement(moments, skin, box=box)) for skin in skins if moments]
    placed = [(skin, placement) for skin, placement in found if placement is not None]
    most = max((placement.match for _, placement in placed), default=0.0)
    alike = [each for each in placed if each[1].match >= most - _ALIKE]
    best = min(alike, key=lambda each: measure_distance(moments, *each), default=None)
    return None if best is None else best[0]


def _moments_with(
    moments: Sequence[VideoMoment], neutral: _NeutralPicture, find: _Find
) -> list[VideoMoment]:
    """Choose the moments that show the skin at a place."""
    matches = [_match_at(moment, neutral, find) for moment in moments]
    least = _PRESENT * max(matches)
    return [m for m, match in zip(moments, matches, strict=True) if match > max(least, 0.1)]


def _grow(box: Box, width: int, height: int) -> Box:
    reach = round(_BOX_ERROR * max(box[2] - box[0], box[3] - box[1])) + 4
    grown = (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach)
    return make_even(grown, width=width, height=height)


def _match_at(moment: VideoMoment, neutral: _NeutralPicture, find: _Find) -> float:
    """Correlate the edges of one moment with those of the skin at a place."""
    height, width = moment.luma.shape
    luma, alpha = neutral.draw(find.width)
    x, y = round(find.x) - 1, round(find.y) - 1
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + luma.shape[1]), min(height, y + luma.shape[0])
    if right - left < 8 or bottom - top < 8:
        return 0.0
    cut = (slice(top - y, bottom - y), slice(left - x, right - x))
    seen = moment.luma[top:bottom, left:right].astype(np.float32)
    edges = []
    for plane in (seen, 255 * luma[cut] + (1 - alpha[cut]) * float(seen.mean())):
        across, along = _slopes(plane)
        share = (alpha[cut] > 0.1) / (np.hypot(across, along) + _SOFT)
        edges.append((across * share, along * share))
    (a, b), (c, d) = edges
    norm = np.sum(a**2 + b**2) * np.sum(c**2 + d**2)
    return float(np.sum(a * c + b * d) / np.sqrt(norm + 1e-6))


@dataclass(frozen=True, eq=False)
class _Edges:
    """Directions of steady edges, between -1 and 1."""

    across: Plane
    along: Plane


def _edges_of(moments: Sequence[VideoMoment], region: Box, factor: int) -> tuple[_Edges, float]:
    """Find steady edges of a region, `factor` times smaller, and its mean brightness."""
    left, top, right, bottom = region
    total = strength = np.float32(0)
    for moment in moments:
        plane = shrink_mean(moment.luma[top:bottom, left:right], factor)
        across, along = _slopes(plane)
        total = total + plane
        strength = strength + np.hypot(across, along)
    across, along = _slopes(np.asarray(total / len(moments)))
    steep = np.hypot(across, along)
    steadiness = steep / (strength / len(moments) + 2)
    share = steadiness / (steep + _SOFT)
    return _Edges(across * share, along * share), float(np.mean(total) / len(moments))


def _slopes(plane: Plane) -> tuple[Plane, Plane]:
    across, along = np.zeros_like(plane), np.zeros_like(plane)
    across[:, 1:-1] = (plane[:, 2:] - plane[:, :-2]) / 2
    along[1:-1] = (plane[2:] - plane[:-2]) / 2
    return across, along


def _search_coarsely(
    moments: Sequence[VideoMoment], neutral: _NeutralPicture, region: Box, box: Box | None
) -> list[_Find]:
    if box is None:
        factor = max(1, round((region[2] - region[0]) / _COARSE_WIDTH))
        low, high = ((region[2] - region[0]) * share for share in (_SMALLEST, _LARGEST))
        low, high = max(low, _SMALLEST_PX), max(high, 2 * _SMALLEST_PX)
    else:
        factor = max(1, round((box[2] - box[0]) / _COARSE_PAD_WIDTH))
        low, high = ((box[2] - box[0]) * share for share in (1 - _BOX_ERROR, 1 + _BOX_ERROR))
    edges, brightness = _edges_of(moments, region, factor)
    count = math.ceil(math.log(high / low) / math.log(_SIZE_STEP))
    widths = low / factor * _SIZE_STEP ** np.arange(count + 1)
    finds = _correlate(edges, neutral, widths.tolist(), brightness, num_best=4)
    return [find.scaled(factor, region[0], region[1]) for find in finds]


def _search_finely(
    moments: Sequence[VideoMoment], neutral: _NeutralPicture, find: _Find
) -> _Find | None:
    height, width = moments[0].luma.shape
    reach = round(0.06 * find.width) + 4
    tall = find.width * neutral.aspect
    box = (find.x - reach, find.y - reach, find.x + find.width + reach, find.y + tall + reach)
    left, top, right, bottom = (round(edge) for edge in box)
    region = make_even((left, top, right, bottom), width=width, height=height)
    factor = max(1, round(find.width / _FINE_PAD_WIDTH))
    edges, brightness = _edges_of(moments, region, factor)
    widths = find.width / factor * np.linspace(0.95, 1.05, 11)
    widths = np.unique(widths.round()).tolist()
    found = _correlate(edges, neutral, widths, brightness, num_best=1)
    return found[0].scaled(factor, region[0], region[1]) if found else None


def _correlate(
    edges: _Edges,
    neutral: _NeutralPicture,
    widths: Sequence[float],
    brightness: float,
    *,
    num_best: int,
) -> list[_Find]:
    """Correlate the edges of a picture with those of a skin at some widths; the best come first."""
    height, width = edges.across.shape
    # Room for a pad that the picture's edge cuts by a quarter.
    reach = round(max(widths) * 0.25)
    sides = [int(next_fast_len(side + reach + 2, real=True) or 0) for side in (height, width)]
    shape = (sides[0], sides[1])
    fields = [_spectrum(plane, shape) for plane in (edges.across, edges.along)]
    energy = _spectrum(edges.across**2 + edges.along**2, shape)
    finds: list[_Find] = []
    for wanted in widths:
        luma, alpha = neutral.draw(wanted)
        if alpha.shape[0] > shape[0] or alpha.shape[1] > shape[1]:
            continue
        across, along = _slopes(255 * luma + (1 - alpha) * brightness)
        steep = np.hypot(across, along)
        across, along = across / (steep + _SOFT), along / (steep + _SOFT)
        norm = float(np.sum(across**2 + along**2))
        mask = maximum_filter(alpha > 0.1, 3).astype(np.float32)
        spectrum = fields[0] * np.conj(_spectrum(across, shape))
        spectrum = spectrum + fields[1] * np.conj(_spectrum(along, shape))
        local = np.asarray(irfft2(energy * np.conj(_spectrum(mask, shape)), shape))
        floor = 0.02 * float(mask.sum())
        scores = np.asarray(irfft2(spectrum, shape)) / np.sqrt(norm * np.maximum(local, floor))
        finds += _peaks(scores, wanted, alpha.shape, (height, width), num_best)
    return _distinct(finds, num_best)


def _spectrum(plane: Plane, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(rfft2(plane, shape))


def _peaks(
    scores: Plane, width: float, size: tuple[int, int], shape: tuple[int, int], number: int
) -> list[_Find]:
    """List the best places; one behind the end of a picture lies before its start."""
    finds: list[_Find] = []
    scores = scores.copy()
    for _ in range(number):
        row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
        match = float(scores[row, column])
        # The picture of the skin has a margin of one pixel.
        y = int(row) + 1 if row < shape[0] else int(row) + 1 - scores.shape[0]
        x = int(column) + 1 if column < shape[1] else int(column) + 1 - scores.shape[1]
        finds.append(_Find(match, x, y, width))
        reach = max(2, size[0] // 4)
        scores[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach] = -1
    return finds


def _distinct(finds: list[_Find], number: int) -> list[_Find]:
    kept: list[_Find] = []
    for find in sorted(finds, key=lambda find: -find.match):
        near = [
            abs(find.x - other.x) + abs(find.y - other.y) < 0.15 * other.width
            and abs(math.log(find.width / other.width)) < 0.12
            for other in kept
        ]
        if not any(near):
            kept.append(find)
        if len(kept) == number:
            break
    return kept


class _MeanFit:
    """Least squares of place, size, blur and opacity on the mean picture."""

    def __init__(
        self, moments: Sequence[VideoMoment], skin: Skin, neutral: _NeutralPicture, find: _Find
    ) -> None:
        height, width = moments[0].luma.shape
        self.skin, self._start = skin, find
        tall = find.width * skin.height / skin.width
        left, top = math.floor(find.x) - 6, math.floor(find.y) - 6
        right, bottom = math.ceil(find.x + find.width) + 6, math.ceil(find.y + tall) + 6
        self.region = make_even((left, top, right, bottom), width=width, height=height)
        left, top, right, bottom = self.region
        planes = [moment.luma[top:bottom, left:right] for moment in moments]
        self.mean: Plane = np.asarray(np.mean(planes, axis=0, dtype=np.float32))
        self._neutral = neutral
        self._weights = self._find_weights()
        rows, columns = (np.linspace(-1, 1, count, dtype=np.float32) for count in self.mean.shape)
        powers = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (0, 3)]
        self._smooth = [np.outer(rows**i, columns**j) for i, j in powers]
        self.black, self.wide = 16.0, 219.0

    def _find_weights(self) -> Plane:
        """Trust pixels that no control changes; others hold many states in their mean."""
        left, top, _, _ = self.region
        weights = np.ones(self.mean.shape, np.float32)
        scale = self._start.width / self.skin.width
        for extent in control_extents(self.skin).values():
            x0, y0, x1, y1 = (round(edge * scale) for edge in extent)
            x, y = round(self._start.x) - left, round(self._start.y) - top
            weights[max(0, y0 + y) : max(0, y1 + y), max(0, x0 + x) : max(0, x1 + x)] = 0.3
        return weights

    def pad_at(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw luma and opacity at (x, y, width, blur, opacity) into the region."""
        x, y, width, blur, opacity = (float(value) for value in values)
        neutral, height, wide = self._neutral, len(self.mean), self.mean.shape[1]
        source = neutral.source(self._start.width)
        tall, long = source[0].shape
        # Halving leaves an odd row or column out, so sides say nothing of the scale.
        scale = width / neutral.width * round(neutral.width / long)
        across = _averaging(wide, long, x - self.region[0], scale, blur)
        along = _averaging(height, tall, y - self.region[1], scale, blur)
        luma, alpha = (along @ plane @ across.T for plane in source)
        return opacity * (self.wide * luma + self.black * alpha), opacity * alpha

    def residuals(self, values: np.ndarray) -> np.ndarray:
        """Return what a smooth background and the pad do not explain, weighted."""
        levels, cover = self.pad_at(values)
        shown = 1 - cover
        # Where the game alone is seen, little is known of its mean picture.
        weights = self._weights * (0.15 + 0.85 * np.clip(cover / max(values[4], 0.1), 0, 1))
        basis = np.stack([(weights * shown * each).ravel() for each in self._smooth], axis=1)
        basis = basis.astype(np.float64)
        target = (weights * (self.mean - levels)).ravel().astype(np.float64)
        # A pull to an even grey keeps the background from explaining an opaque pad.
        pull = np.diag([0.02, 0.5, 0.5, 1, 1, 1, 1, 1]) * math.sqrt(len(target)) * 0.05
        gram = basis.T @ basis + pull.T @ pull
        grey = np.zeros(len(pull))
        grey[0] = 110.0
        coefficients = grey + np.linalg.solve(gram, basis.T @ (target - basis @ grey))
        return target - basis @ coefficients

    def solve(self) -> np.ndarray:
        """Return (x, y, width, blur, opacity)."""
        start = np.array([self._start.x, self._start.y, self._start.width, 0.5, 0.9])
        reach = 0.02 * self._start.width + 2
        low = np.array([start[0] - reach, start[1] - reach, start[2] * 0.94, 0.0, 0.25])
        high = np.array([start[0] + reach, start[1] + reach, start[2] * 1.06, 2.5, 1.0])
        best = least_squares(
            lambda units: self.residuals(start + (units - _UNIT) * _STEPS),
            np.full(5, _UNIT),
            bounds=(_UNIT + (low - start) / _STEPS, _UNIT + (high - start) / _STEPS),
            loss="soft_l1", f_scale=4.0, diff_step=0.05 / _UNIT, max_nfev=12, ftol=1e-3, xtol=2e-4,
        )  # fmt: skip
        return start + (best.x - _UNIT) * _STEPS


def _averaging(
    count: int, source_count: int, start: float, scale: float, blur: float
) -> np.ndarray:
    """Make the matrix that averages source pixels over shown pixels, and blurs them."""
    edges = ((np.arange(count + 1) - start) / scale).astype(np.float32)
    spans = np.clip(edges[:, None] - np.arange(source_count, dtype=np.float32)[None], 0, 1)
    matrix = np.diff(spans, axis=0) * np.float32(scale)
    return gaussian_filter1d(matrix, blur, axis=0, mode="constant") if blur > 0.05 else matrix


def _fit(
    moments: Sequence[VideoMoment], skin: Skin, neutral: _NeutralPicture, find: _Find
) -> Placement:
    is_full_range = moments[0].is_full_range
    fit = _MeanFit(moments, skin, neutral, find)
    if is_full_range:
        fit.black, fit.wide = 0.0, 255.0
    x, y, width, blur, opacity = fit.solve()
    if blur < _LEAST_BLUR_PX:
        blur = 0.0
    placement = Placement(
        x=float(x), y=float(y), width=float(width), opacity=float(opacity), blur_px=float(blur),
        is_full_range=is_full_range, match=find.match,
    )  # fmt: skip
    return choose_matrix(moments, skin, placement)
