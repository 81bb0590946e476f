"""Tell whether a pad is there, whole, in each frame, by the parts of it that never change.

    PadPictures ─► tiles of still numbers, where the skin has structure ─► StillTiles
    frames' numbers ─► .measure ─► gain (1 there, 0 away) and error of each tile
      ─► judge_rows, over all of the video ─► readable rows

A tile that something covers loses its structure, and one over which a pad fades loses it in part.
Encoders leave errors and weaken structure, and a background that shines through disturbs it, from
video to video in other measures. So a tile's error and gain are judged by what is usual for them in
this video, and a gain that is noisy is averaged over as many rows as its noise demands.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy.ndimage import median_filter, uniform_filter1d

from data_tools.watching.match_controls import Disturbance
from data_tools.watching.pad_pictures import Background, PadPictures, vector_places
from data_tools.watching.reading import Box

_COLUMNS, _ROWS = 6, 4
_LEAST_COVER = 0.2
_MOST_CHANGES = (4.0, 30.0, 256.0)
"""Levels by which controls may change a number that is still taken for still: the first that
leaves enough tiles. Of a skin that is made of buttons alone nothing is still."""
_FEWEST_TILES = 3
_FEWEST = 24
_SURE = 0.2
"""Standard deviation of its gain, as the model has it, above which a tile tells nothing."""
_HALF = 0.5
"""The share of its usual gain below which a tile is covered."""
_TOO_MUCH = 0.6
_WEAKEST_PAD = 0.6
"""The smallest usual gain of a pad."""
_LEAST_GAIN = 0.35
_NOISE = 0.17
"""Noise of a tile's gain, as a share of it, at which half of it is told from all of it."""
_MOST_NOISE = 0.25
_LEAST_NOISE = 0.05
_WINDOWS = (1, 3, 5, 9, 15, 25)
"""Rows over which a gain may be averaged for that."""
_ERROR_OFF = 3.0
"""Times the usual error at which a tile is covered or damaged."""
_WHOLE = 0.85
"""The share of the tiles, by their numbers, that must be there."""
_STEADY_ROWS = 5
"""Rows over which the state of a tile is taken by the majority."""


@dataclass(frozen=True, eq=False)
class _Tile:
    places: Int64[np.ndarray, " n"]
    expected: Float32[np.ndarray, " n"]
    weights: Float32[np.ndarray, " n"]
    smooth: Float32[np.ndarray, "n m"]
    """Pictures that a background or an encoder may add, orthonormal by `scale`."""
    scale: Float32[np.ndarray, " n"]

    def measure(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rest = chunk[:, self.places].astype(np.float32) - self.expected
        gains = 1 + rest @ self.weights
        rest *= self.scale
        smooth = rest @ self.smooth
        energy = np.einsum("fn,fn->f", rest, rest) - np.einsum("fm,fm->f", smooth, smooth)
        return gains, np.sqrt(np.maximum(energy, 0) / len(self.places))


class StillTiles:
    """The parts of a pad that tell whether it is there.

    Args:
        pictures: The skin at its place.
        box: The pad's box.
        background: What is behind the pad on average.
        changes: By how many levels controls can change each number of the box's vector.
    """

    def __init__(
        self,
        pictures: PadPictures,
        box: Box,
        background: Background,
        changes: Float32[np.ndarray, " n"],
    ) -> None:
        patch = pictures.patch(box, {})
        expected = patch.over(background)
        plain = np.repeat(
            np.array([background.luma, background.u, background.v], np.float32),
            [len(expected) * 2 // 3, len(expected) // 6, len(expected) // 6],
        )
        bare = patch.levels - patch.cover * plain
        self.tiles: list[_Tile] = []
        for most in _MOST_CHANGES:
            still = (patch.cover > _LEAST_COVER) & (changes < most)
            still[len(still) * 2 // 3 :] = False
            tiles = []
            for part in _split(box):
                places = vector_places(part, box)
                shape = (part[3] - part[1], part[2] - part[0])
                tiles.append(_build_tile(places, shape, expected, bare, patch.cover, still))
            self.tiles = [tile for tile in tiles if tile is not None]
            if len(self.tiles) >= _FEWEST_TILES:
                break

    @property
    def sizes(self) -> Float32[np.ndarray, " tiles"]:
        """Count the numbers of each tile."""
        return np.array([len(tile.places) for tile in self.tiles], np.float32)

    def measure(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Measure the gain and the error of each tile, both [frames, tiles]."""
        measured = [tile.measure(chunk) for tile in self.tiles]
        gains, errors = zip(*measured, strict=True) if measured else ([], [])
        if not measured:
            return np.zeros((len(chunk), 0)), np.zeros((len(chunk), 0))
        return np.stack(gains, axis=1), np.stack(errors, axis=1)


def _split(box: Box) -> list[Box]:
    left, top, right, bottom = box
    columns = np.linspace(left // 2, right // 2, _COLUMNS + 1).astype(int) * 2
    rows = np.linspace(top // 2, bottom // 2, _ROWS + 1).astype(int) * 2
    return [
        (int(x0), int(y0), int(x1), int(y1))
        for y0, y1 in pairwise(rows)
        for x0, x1 in pairwise(columns)
        if x0 < x1 and y0 < y1
    ]


def _build_tile(
    places: Int64[np.ndarray, " n"],
    shape: tuple[int, int],
    expected: np.ndarray,
    bare: np.ndarray,
    cover: np.ndarray,
    still: np.ndarray,
) -> _Tile | None:
    use = still[places]
    if use.sum() < _FEWEST:
        return None
    disturbance = Disturbance(shape, cover[places]).keep(use)
    pattern = bare[places][use][:, None]
    weights = disturbance.whiten_twice(pattern)[:, 0]
    strength = float(pattern[:, 0] @ weights)
    if strength < 1 / _SURE**2:
        return None
    scale, smooth = disturbance.split()
    return _Tile(
        places=places[use],
        expected=expected[places][use],
        weights=(weights / strength).astype(np.float32),
        smooth=smooth.astype(np.float32),
        scale=scale.astype(np.float32),
    )


def judge_rows(
    gains: Float32[np.ndarray, "rows tiles"],
    errors: Float32[np.ndarray, "rows tiles"],
    sizes: Float32[np.ndarray, " tiles"],
) -> tuple[Bool[np.ndarray, " rows"], Float32[np.ndarray, " rows"]]:
    """Tell in which rows a pad is there and whole, and how far it is off by its usual error."""
    here = _find_rows(gains @ (sizes / max(sizes.sum(), 1)))
    if not here.any():
        return np.zeros(len(gains), bool), np.full(len(gains), 100, np.float32)
    usual = np.median(gains[here], axis=0)
    shares = np.clip(gains / np.maximum(usual, _LEAST_GAIN), -0.5, 2.5)
    steady, noise = _average(shares, here)
    there = (steady > _HALF) & (steady < 1 + np.maximum(_TOO_MUCH, 3.5 * noise))
    # A tile whose noise is too large even so says nothing by its gain, but may by its error.
    there |= noise > _MOST_NOISE
    relative = errors / np.maximum(_find_usual(errors, there & here[:, None]), 0.3)
    whole = _take_majority(there) & _take_majority(relative < _ERROR_OFF)
    share = whole @ sizes / sizes.sum()
    residual = np.minimum(relative, 100) @ sizes / sizes.sum()
    weights = sizes / np.maximum(noise, _LEAST_NOISE) ** 2
    together, _ = _average((shares @ (weights / weights.sum()))[:, None], here)
    readable = (share >= _WHOLE) & _take_majority(together > _HALF)[:, 0]
    return readable, residual.astype(np.float32)


def _find_rows(gains: Float32[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Find the rows in which a pad is there, by the gain of all tiles together.

    An encoder weakens fine structure in all of a video, so what the gain usually is decides.
    """
    here = gains > _HALF
    for _ in range(3):
        if not here.any():
            break
        here = gains > max(float(np.median(gains[here])), _WEAKEST_PAD) / 2
    return here


def _average(
    shares: Float32[np.ndarray, "rows tiles"], here: Bool[np.ndarray, " rows"]
) -> tuple[Float32[np.ndarray, "rows tiles"], Float32[np.ndarray, " tiles"]]:
    """Take means over so few rows that half of a pad's gain can be told from all of it.

    Returns:
        The means, and the noise that is left in the rows in which the pad is there.
    """
    steady, noise = shares.copy(), np.zeros(shares.shape[1], np.float32)
    todo = np.arange(shares.shape[1])
    for length in _WINDOWS:
        steady[:, todo] = uniform_filter1d(shares[:, todo], length, axis=0, mode="nearest")
        noise[todo] = 1.48 * np.median(np.abs(steady[here][:, todo] - 1), axis=0)
        todo = todo[noise[todo] > _NOISE]
        if len(todo) == 0:
            break
    return steady, noise


def _find_usual(
    errors: Float32[np.ndarray, "rows tiles"], there: Bool[np.ndarray, "rows tiles"]
) -> Float32[np.ndarray, " tiles"]:
    """Find the error that each tile has as a rule where it is there."""
    return np.array(
        [
            np.median(error[rows]) if rows.any() else np.inf
            for error, rows in zip(errors.T, there.T, strict=True)
        ],
        np.float32,
    )


def _take_majority(marks: Bool[np.ndarray, "rows tiles"]) -> Bool[np.ndarray, "rows tiles"]:
    return median_filter(marks.astype(np.uint8), (_STEADY_ROWS, 1), mode="nearest") > 0
