"""Tell whether a pad is there, whole, in each frame, by the parts of it that never change.

    PadPictures ─► tiles of still numbers, where the skin has structure ─► StillTiles
    frames' numbers ─► .measure ─► gain (1 there, 0 away) and error of each tile
      ─► judge_rows, over all of the video ─► readable rows

A tile that something covers loses its structure, and one over which a pad fades loses it in part.
Encoders leave errors that differ from video to video, so a tile's error is judged by what is usual
for it in this video.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy.ndimage import median_filter

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
_SURE = 0.12
"""Standard deviation of its gain above which a tile tells nothing."""
_GAIN_OFF = 0.4
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
    if gains.shape[1] == 0:
        return np.zeros(len(gains), bool), np.full(len(gains), 100, np.float32)
    there = np.abs(gains - 1) < _GAIN_OFF
    usual = np.array(
        [
            np.median(error[here]) if here.any() else np.inf
            for error, here in zip(errors.T, there.T, strict=True)
        ]
    )
    relative = errors / np.maximum(usual, 0.3)
    whole = there & (relative < _ERROR_OFF)
    whole = median_filter(whole.astype(np.uint8), (_STEADY_ROWS, 1), mode="nearest") > 0
    share = whole @ sizes / sizes.sum()
    residual = np.minimum(relative, 100) @ sizes / sizes.sum()
    return share >= _WHOLE, residual.astype(np.float32)
