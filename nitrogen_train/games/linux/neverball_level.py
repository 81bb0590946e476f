"""Levels of Neverball and Neverputt, which share one engine, as a map that experts find ways on."""

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nitrogen_train.games.native.memory import GameMemory

Place = Float[np.ndarray, " 2"]
"""A place or a velocity seen from above, in metres: (x, z)."""
Cell = tuple[int, int]

VOID, WALL, FLOOR = 0, 1, 2
_MARGIN_CELLS = 4
"""Ways keep so far from edges and walls where there is room."""
_EDGE_COST, _WALL_COST, _TIGHT_COST = 6.0, 1.0, 10.0
_COVER_CELLS = 2
_BALL_NUMBERS = 31
"""Numbers of 4 bytes that the engine keeps of a ball."""


@dataclass(frozen=True, kw_only=True)
class Ball:
    """Where a ball is, and how fast it rolls."""

    place: Place
    velocity: Place
    height: float


class BallLevel:
    """What the engine keeps of the level that is played."""

    def __init__(self, memory: GameMemory, place: int) -> None:
        """Say where it is: the place of the structure that holds what moves."""
        self._memory, self._place = memory, place

    def read_ball(self, index: int) -> Ball:
        """Read a ball; the first of Neverputt is nobody's."""
        (balls,) = self._memory.read("<Q", self._place + 72)
        state = self._memory.read_at("<15f", balls + 4 * _BALL_NUMBERS * index)
        return Ball(place=flatten(state[9:12]), velocity=flatten(state[12:15]), height=state[10])

    def read_coins(self) -> list[Place]:
        """Read where the coins are that are left."""
        (number,) = self._memory.read("<i", self._place + 20)
        (items,) = self._memory.read("<Q", self._place + 56)
        numbers = self._memory.read_at("<" + "3f2i" * number, items)
        return [
            flatten(numbers[i : i + 3]) for i in range(0, len(numbers), 5) if numbers[i + 3] == 1
        ]

    def read_goals(self) -> list[Place]:
        """Read where the goals or holes are."""
        (base,) = self._memory.read("<Q", self._place)
        (number,) = self._memory.read_at("<i", base + 52)
        (goals,) = self._memory.read_at("<Q", base + 192)
        return [flatten(self._memory.read_at("<3f", goals + 16 * i)) for i in range(number)]

    def read_lumps(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Read the solids: of each its corners (n, 3), and faces (n, 4) as normal and distance."""
        (base,) = self._memory.read("<Q", self._place)
        counts = self._memory.read_at("<21i", base)
        pointers = self._memory.read_at("<21Q", base + 88)

        def read_table(index: int, width: int, kind: str) -> np.ndarray:
            numbers = self._memory.read_at(f"<{counts[index] * width}{kind}", pointers[index])
            return np.array(numbers).reshape(-1, width)

        corners, faces = read_table(2, 3, "f"), read_table(4, 4, "f")
        lumps, indices = read_table(8, 9, "i"), read_table(20, 1, "i")[:, 0]
        # The others are only looked at.
        solid = [lump for lump in lumps if not lump[0] & 1]
        return (
            [corners[indices[lump[1] : lump[1] + lump[2]]] for lump in solid],
            [faces[indices[lump[7] : lump[7] + lump[8]]] for lump in solid],
        )


class FloorMap:
    """Where the ball can roll: cells of the floor seen from above."""

    def __init__(
        self,
        level: BallLevel,
        *,
        cell_m: float,
        step_m: float,
        top_m: float,
        holes: Sequence[Place] = (),
    ) -> None:
        """Look down on the solids of a level, at four points of each cell.

        Args:
            level: It is read once.
            cell_m: Side of a cell.
            step_m: The ball rolls over steps up to here.
            top_m: Height from which on solids are ceilings, which are not looked at.
            holes: They are covered, so that ways lead over them.
        """
        corners, faces = level.read_lumps()
        self._cell_m, self._step_m = cell_m, step_m
        points = np.concatenate(corners)
        self._origin = points[:, [0, 2]].min(0) - 2 * self._cell_m
        size = np.ceil((points[:, [0, 2]].max(0) - self._origin) / self._cell_m).astype(int) + 2
        tops = np.full(2 * size, -np.inf)
        for own_corners, own_faces in zip(corners, faces, strict=True):
            self._draw(tops, own_corners, own_faces, top_m)
        parts = np.stack([tops[i::2, j::2] for i in (0, 1) for j in (0, 1)])
        self.heights = parts.max(0)
        with np.errstate(invalid="ignore"):
            lows = parts.min(0)
            is_flat = self.heights - lows <= self._step_m
        self.kinds = np.where(np.isneginf(lows), VOID, np.where(is_flat, FLOOR, WALL))
        for hole in holes:
            self._cover(hole)
        self.tight, self.costs = self._weigh()

    def _cover(self, hole: Place) -> None:
        i, j = self.cell(hole)
        around = np.s_[
            i - _COVER_CELLS : i + _COVER_CELLS + 1, j - _COVER_CELLS : j + _COVER_CELLS + 1
        ]
        self.heights[around] = np.median(self.heights[around])
        self.kinds[around] = FLOOR

    def _draw(self, tops: np.ndarray, corners: np.ndarray, faces: np.ndarray, top_m: float) -> None:
        half = self._cell_m / 2
        low = np.floor((corners[:, [0, 2]].min(0) - self._origin) / half).astype(int)
        high = np.ceil((corners[:, [0, 2]].max(0) - self._origin) / half).astype(int) + 1
        x = self._origin[0] + (np.arange(low[0], high[0])[:, None] + 0.5) * half
        z = self._origin[1] + (np.arange(low[1], high[1])[None] + 0.5) * half
        top = np.full((high[0] - low[0], high[1] - low[1]), np.inf)
        bottom, is_inside = -top, np.ones(top.shape, bool)
        for nx, ny, nz, distance in faces:
            rest = distance - nx * x - nz * z
            if abs(ny) < 1e-4:
                is_inside &= rest >= -half / 2
            elif ny > 0:
                top = np.minimum(top, rest / ny)
            else:
                bottom = np.maximum(bottom, rest / ny)
        is_inside &= (top >= bottom) & np.isfinite(top) & (bottom < top_m)
        part = tops[low[0] : high[0], low[1] : high[1]]
        np.maximum(part, np.where(is_inside, top, -np.inf), out=part)

    def _weigh(self) -> tuple[np.ndarray, np.ndarray]:
        """Say which cells touch an edge or a wall, and what a way over each costs."""
        is_floor = self.kinds == FLOOR
        floor = np.where(is_floor, self.heights, np.nan)
        lowest = np.where(is_floor, self.heights, np.inf)
        highest = np.where(is_floor, self.heights, -np.inf)
        for axis in (0, 1):
            lowest = np.minimum.reduce([np.roll(lowest, shift, axis) for shift in (-1, 0, 1)])
            highest = np.maximum.reduce([np.roll(highest, shift, axis) for shift in (-1, 0, 1)])
        with np.errstate(invalid="ignore"):
            is_edge, is_foot = floor - lowest > self._step_m, highest - floor > self._step_m
        costs, tight = np.ones(self.kinds.shape), np.zeros(self.kinds.shape, bool)
        for near, cost in (
            (_grow(self.kinds == VOID) | is_edge, _EDGE_COST),
            (_grow(self.kinds == WALL) | is_foot, _WALL_COST),
        ):
            part = near & is_floor
            tight |= part
            for _ in range(_MARGIN_CELLS):
                costs += cost * part / _MARGIN_CELLS
                part = _grow(part) & is_floor & ~is_foot
        return tight, costs + _TIGHT_COST * tight

    def cell(self, place: Place) -> Cell:
        """Find the cell of a place; outside of the map it is its border."""
        i, j = np.floor((place - self._origin) / self._cell_m).astype(int)
        return (
            min(max(i, 1), self.kinds.shape[0] - 2),
            min(max(j, 1), self.kinds.shape[1] - 2),
        )

    def center(self, cell: Cell) -> Place:
        """Find the middle of a cell."""
        return self._origin + (np.array(cell) + 0.5) * self._cell_m

    def find_way(self, start: Place, targets: list[Place]) -> list[Place]:
        """Find the cheapest way to any of the targets; empty if there is none."""
        ends: dict[Cell, Place] = {}
        for target in targets:
            i, j = self.cell(target)
            for end in itertools.product((i - 1, i, i + 1), (j - 1, j, j + 1)):
                if self.kinds[end] == FLOOR:
                    ends.setdefault(end, target)
        first = self.cell(start)
        before: dict[Cell, Cell | None] = {}
        open_cells: list[tuple[float, Cell, Cell | None]] = [(0.0, first, None)]
        while open_cells:
            cost, cell, previous = heapq.heappop(open_cells)
            if cell in before:
                continue
            before[cell] = previous
            if cell in ends:
                return [*self._trace(before, cell), ends[cell]]
            for other, length in self._neighbours(cell):
                if other not in before:
                    heapq.heappush(
                        open_cells, (cost + length * float(self.costs[other]), other, cell)
                    )
        return []

    def _trace(self, before: dict[Cell, Cell | None], cell: Cell | None) -> list[Place]:
        way: list[Place] = []
        while cell is not None:
            way.append(self.center(cell))
            cell = before[cell]
        return way[::-1]

    def _neighbours(self, cell: Cell) -> Iterator[tuple[Cell, float]]:
        i, j = cell
        height = self.heights[cell]
        for other in itertools.product((i - 1, i, i + 1), (j - 1, j, j + 1)):
            is_inner = all(
                0 < at < size - 1 for at, size in zip(other, self.kinds.shape, strict=True)
            )
            if not is_inner or self.kinds[other] != FLOOR:
                continue
            if self.heights[other] - height <= self._step_m:
                yield other, math.hypot(other[0] - i, other[1] - j)

    def look(self, start: Place, end: Place) -> int:
        """Look along a straight line: say what comes first that is not floor, else `FLOOR`.

        A step up is a wall, and one down is like the void.
        """
        length = float(np.linalg.norm(end - start))
        height = self.heights[self.cell(start)]
        for share in np.linspace(0, 1, max(2, math.ceil(length / self._cell_m * 2))):
            cell = self.cell(start + share * (end - start))
            kind, rise = int(self.kinds[cell]), self.heights[cell] - height
            if kind != FLOOR:
                return kind
            if abs(rise) > self._step_m:
                return WALL if rise > 0 else VOID
            height = self.heights[cell]
        return FLOOR

    def is_wide(self, start: Place, end: Place) -> bool:
        """Say whether the ball rolls along a straight line without touching edge or wall.

        The ends may touch: coins do.
        """
        if self.look(start, end) != FLOOR:
            return False
        length = float(np.linalg.norm(end - start))
        metres = np.arange(2 * self._cell_m, length - 2 * self._cell_m, self._cell_m / 2)
        return not any(
            self.tight[self.cell(start + (end - start) * metre / length)] for metre in metres
        )

    def measure_climb(self, start: Place, end: Place) -> float:
        """Measure how far a straight line rises above its start."""
        shares = np.linspace(0, 1, 50)
        heights = [self.heights[self.cell(start + share * (end - start))] for share in shares]
        return float(max(heights) - heights[0])


def flatten(vector: Sequence[float]) -> Place:
    """Look at a place or a velocity from above."""
    return np.array((vector[0], vector[2]))


def _grow(mask: np.ndarray) -> np.ndarray:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= grown[:, :-1].copy()
    grown[:, :-1] |= grown[:, 1:].copy()
    return grown
