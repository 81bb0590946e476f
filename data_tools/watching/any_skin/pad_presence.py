"""Tell in which frames a controller of an unknown skin is there and whole.

    moments, places of controls ─► edges that nearly all moments have, by tile and control
      ─► each frame: how much of its edges each tile has, without those of controls in use
      ─► readable or not

A press changes the edges of its control, a stick takes them with it, and the game behind the
controller those of its outline: what is seldom the same does not count, nor does what is in use,
nor what lies outside of all controls, where nothing is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy.ndimage import median_filter
from scipy.spatial import ConvexHull

_TILES = (4, 5)
"""Rows and columns of tiles."""
_TEXTURED = 3.0
"""Gradient in levels per pixel from which on a pixel has an edge."""
_STEADY = 0.85
"""Share of the moments that must have an edge."""
_HAS = 0.5
"""Of the strength of an edge at rest: a moment with less does not have it."""
_THERE = 0.8
"""Of the edges that the best moments have: a moment with less does not show all of it."""
_FEWEST_PIXELS = 14
"""Steady pixels of a tile that is judged."""
_ENOUGH = 0.4
"""Of the edges of a tile: with more of them in use it is not judged in a frame."""
_LEAST, _MOST = 0.25, 0.45
"""Of the usual strength of a tile's edges: limits of what is too little."""
_LIKE = 0.5
"""Of the usual likeness of a tile's edges to those at rest, whatever their strength."""
_FADED = 0.12
"""Of the usual strength: with less a controller is as good as gone, whatever its shape."""
_HOPELESS = 50.0
"""How far off a row is at most, and where nothing can be judged."""
_AROUND = 4
"""Pixels of gradients around the outermost controls within which edges count."""
_STEADY_ROWS = 5
_SPREADS = 6.0
"""Standard deviations below the usual strength that are unusual."""

Region = tuple[slice, slice]
"""Rows and columns of the crop's cells, which are four pixels wide."""


@dataclass(frozen=True, eq=False)
class SteadyEdges:
    """The edges of a controller that do not change, by tiles and controls."""

    down: Float32[np.ndarray, " n"]
    across: Float32[np.ndarray, " n"]
    """Gradients of the steady pixels at rest, segment by segment."""
    pixels: Int64[np.ndarray, " n"]
    """Where they are in the flattened picture of gradients."""
    starts: Int64[np.ndarray, " s"]
    """The first pixel of each segment: of one tile, and of one control or none."""
    tiles: Int64[np.ndarray, " s"]
    controls: Int64[np.ndarray, " s"]
    """Of each segment; -1 for no control."""

    @classmethod
    def find(
        cls,
        moments: Float32[np.ndarray, "m 160 256"],
        rest: Float32[np.ndarray, "160 256"],
        regions: Sequence[Region],
    ) -> "SteadyEdges":
        """Find them.

        Args:
            moments: Of the video.
            rest: The controller at rest.
            regions: Where each control can be seen to change.
        """
        down, across = (plane[0] for plane in _gradients(rest[None]))
        size = down**2 + across**2
        moving = _gradients(moments)
        strength = (moving[0] * down + moving[1] * across) / np.maximum(size, 1e-6)
        textured = size >= _TEXTURED**2
        # Moments at which the controller is away or covered tell nothing of its edges.
        whole = (np.clip(strength, 0, 1) * (size * textured)).sum(axis=(1, 2))
        is_there = whole >= _THERE * np.percentile(whole, 90)
        steady = textured & ((strength[is_there] > _HAS).mean(axis=0) >= _STEADY)
        steady &= _mark_within(regions, size.shape)
        owners = np.full(size.shape, -1)
        for number, (rows, columns) in enumerate(regions):
            # A cell is two of these pixels wide, and a press may glow a little beyond.
            tall, wide = (
                slice(max(2 * cells.start - 2, 0), 2 * cells.stop + 2) for cells in (rows, columns)
            )
            owners[tall, wide] = number
        tiles = _number_tiles(size.shape)
        tiles = np.where(np.isin(tiles, _list_full(tiles[steady])) & steady, tiles, -1).ravel()
        keys = tiles * (len(regions) + 1) + owners.ravel() + 1
        pixels = np.flatnonzero(tiles >= 0)
        pixels = pixels[np.argsort(keys[pixels], kind="stable")]
        _, starts = np.unique(keys[pixels], return_index=True)
        first = pixels[starts]
        return cls(
            down=down.ravel()[pixels],
            across=across.ravel()[pixels],
            pixels=pixels,
            starts=starts,
            tiles=tiles[first],
            controls=owners.ravel()[first],
        )

    def measure(self, luma: Float32[np.ndarray, "f 160 256"]) -> Float32[np.ndarray, "f s 2"]:
        """Measure the edges of each segment in some frames.

        Returns:
            How much of the edges at rest is there, times their strength; and the strength of what
            is there at these pixels.
        """
        if not len(self.pixels):
            return np.zeros((len(luma), 0, 2), np.float32)
        down, across = (each.reshape(len(luma), -1)[:, self.pixels] for each in _gradients(luma))
        measured = down * self.down + across * self.across, down**2 + across**2
        sums = [np.add.reduceat(each, self.starts, axis=1) for each in measured]
        return np.stack(sums, axis=2).astype(np.float32)

    def judge(
        self, edges: Float32[np.ndarray, "rows s 2"], in_use: Bool[np.ndarray, "rows c"]
    ) -> tuple[Bool[np.ndarray, " rows"], Float32[np.ndarray, " rows"]]:
        """Tell in which rows every tile has its edges, as strong or as clear as in this video.

        A bright game behind thin lines makes them weak, but leaves them where they are.

        Args:
            edges: Of `measure`.
            in_use: Whether each control is pressed, or away from rest.

        Returns:
            Whether each row can be read, and how far its worst tile is off, 1 being the limit.
        """
        if not len(self.starts):
            return np.zeros(len(edges), bool), np.full(len(edges), _HOPELESS, np.float32)
        whole = np.add.reduceat(self.down**2 + self.across**2, self.starts)
        shared, shown = edges[..., 0], edges[..., 1]
        counted = np.ones(shared.shape, bool)
        owned = self.controls >= 0
        counted[:, owned] = ~in_use[:, self.controls[owned]]
        residual = np.zeros(len(shared), np.float32)
        is_judged = False
        for tile in np.unique(self.tiles):
            mine = self.tiles == tile
            strength, had, there = (
                (counted[:, mine] * each[..., mine]).sum(axis=-1) for each in (whole, shared, shown)
            )
            is_known = strength > _ENOUGH * whole[mine].sum()
            share = had / np.maximum(strength, 1e-6)
            likeness = had / np.sqrt(np.maximum(strength * there, 1e-6))
            if not is_known.any() or (usual := float(np.median(share[is_known]))) < _LEAST:
                continue
            is_judged = True
            share = np.where(is_known, share / usual, 1)
            likeness = np.where(is_known, likeness / np.median(likeness[is_known]), 1)
            spread = 1.4826 * float(np.median(np.abs(share - 1)))
            limit = np.clip(1 - _SPREADS * spread, _LEAST, _MOST)
            weak, unlike = (1 - share) / (1 - limit), (1 - likeness) / (1 - _LIKE)
            off = np.where(share < _FADED, weak, np.minimum(weak, unlike))
            np.maximum(residual, off, out=residual)
        if not is_judged:
            residual[:] = _HOPELESS
        # What covers a controller stays for more than two rows; noise does not.
        residual = median_filter(residual, _STEADY_ROWS, mode="nearest")
        return residual < 1, np.clip(residual, 0, _HOPELESS).astype(np.float32)


def _gradients(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gradients down and across, of the mean of two by two pixels."""
    small = (luma[:, ::2, ::2] + luma[:, 1::2, ::2] + luma[:, ::2, 1::2] + luma[:, 1::2, 1::2]) / 4
    return np.diff(small, axis=1)[:, :, :-1], np.diff(small, axis=2)[:, :-1]


def _mark_within(regions: Sequence[Region], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Mark the pixels of gradients that lie between the controls, or close to one."""
    corners = [
        (2.0 * down, 2.0 * across)
        for rows, columns in regions
        for down in (rows.start, rows.stop)
        for across in (columns.start, columns.stop)
    ]
    sides = ConvexHull(np.array(corners)).equations
    down, across = np.indices(shape)
    outside = np.full(shape, -np.inf)
    for by_down, by_across, off in sides:
        np.maximum(outside, by_down * down + by_across * across + off, out=outside)
    return outside <= _AROUND


def _number_tiles(shape: tuple[int, ...]) -> Int64[np.ndarray, "h w"]:
    down, across = (
        np.arange(side) * count // side for side, count in zip(shape, _TILES, strict=True)
    )
    return down[:, None] * _TILES[1] + across


def _list_full(tiles: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " k"]:
    """List the tiles that have enough pixels to be judged."""
    numbers, counts = np.unique(tiles, return_counts=True)
    return numbers[counts >= _FEWEST_PIXELS]
