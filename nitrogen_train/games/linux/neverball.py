"""Neverball, a ball on a floor that is tilted: collect coins, then roll into the goal."""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import NativeGame, Progress
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

Array = np.ndarray
Cell = tuple[int, int]

_BUILDS = {
    # Debian 12: 1.6.0+git20180603-3, amd64.
    "fdafc842540b80e6204b17d2913d82a6f228d75d": {
        "level": 0x69220,
        "view": 0x691A4,
        "coins": 0x69170,
        "status": 0x69200,
        "needed": 0x69294,
    }
}
_GOAL_STATUS = 2
_COIN = 1

CELL_M = 0.25
"""Side of a cell of the floor's map."""
STEP_M = 0.3
"""The ball rolls over steps up to here."""
VOID, WALL, FLOOR = 0, 1, 2
MARGIN_CELLS = 4
"""The expert's way keeps so far from edges and walls where there is room."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What the expert knows of a moment; places and velocities are in metres, (x, z)."""

    place: Array
    velocity: Array
    right: Array
    """Direction of the picture's right on the floor."""
    back: Array
    """Direction to the viewer on the floor."""
    targets: list[Array]
    """Coins that are left, or the goals once they are open."""


class Neverball(NativeGame):
    """Neverball's easy levels: the left stick tilts the floor, and the ball rolls."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the level in the game's memory."""
        self._memory = GameMemory(self.process, builds=_BUILDS)
        self._known: dict[str, int] = self._memory.known
        self._floor: FloorMap | None = None
        self.memory["way"] = []
        self.memory["row"] = 0

    def read_progress(self) -> Progress:
        """Read coins and outcome of the level."""
        coins, status, needed = (
            self._memory.read("<i", self._known[name])[0] for name in ("coins", "status", "needed")
        )
        score = 50.0 * min(1.0, coins / needed) + 50.0 * (status == _GOAL_STATUS)
        return Progress(score=score, is_over=status != 0)

    def expert(self) -> Controls:
        """Roll to the nearest coin, and to the goal once it is open, and brake before edges."""
        if self._floor is None:
            self._floor = FloorMap(*self._read_lumps())
        seen = self._see()
        self._plan(seen, self._floor)
        wanted = choose_velocity(seen, self.memory["way"], self._floor)
        push = 0.6 * (wanted - seen.velocity)
        return {
            "LEFT_STICK_X": float(np.clip(push @ seen.right, -1, 1)),
            "LEFT_STICK_Y": float(np.clip(push @ seen.back, -1, 1)),
        }

    def _plan(self, seen: Sighting, floor: "FloorMap") -> None:
        """Look for a way now and then, or when the target is gone."""
        way, row = self.memory["way"], self.memory["row"]
        self.memory["row"] = row + 1
        is_there = way and any(np.array_equal(way[-1], target) for target in seen.targets)
        if row % 4 and is_there:
            return
        start = seen.place + 0.25 * seen.velocity
        self.memory["way"] = floor.find_way(start, seen.targets) or floor.find_way(
            seen.place, seen.targets
        )

    def _see(self) -> Sighting:
        memory, level = self._memory, self._known["level"]
        (base,) = memory.read("<Q", level)
        (num_items,) = memory.read("<i", level + 20)
        (ball,) = memory.read("<Q", level + 72)
        state = memory.read_at("<15f", ball)
        view = memory.read("<9f", self._known["view"])
        (coins,) = memory.read("<i", self._known["coins"])
        (needed,) = memory.read("<i", self._known["needed"])
        if coins < needed:
            (items,) = memory.read("<Q", level + 56)
            all_items = memory.read_at("<" + "3f2i" * num_items, items)
            places = [
                all_items[i : i + 3]
                for i in range(0, len(all_items), 5)
                if all_items[i + 3] == _COIN
            ]
        else:
            (num_goals,) = memory.read_at("<i", base + 52)
            (goals,) = memory.read_at("<Q", base + 192)
            places = [memory.read_at("<3f", goals + 16 * i) for i in range(num_goals)]
        return Sighting(
            place=_flat(state[9:12]),
            velocity=_flat(state[12:15]),
            right=_flat(view[0:3]),
            back=_flat(view[6:9]),
            targets=[_flat(place) for place in places],
        )

    def _read_lumps(self) -> tuple[list[Array], list[Array]]:
        """Read the solids of the level: corners (n, 3), and faces (n, 4) as normal and distance."""
        memory = self._memory
        (base,) = memory.read("<Q", self._known["level"])
        counts = memory.read_at("<21i", base)
        pointers = memory.read_at("<21Q", base + 88)

        def read_table(index: int, width: int, kind: str) -> Array:
            numbers = memory.read_at(f"<{counts[index] * width}{kind}", pointers[index])
            return np.array(numbers).reshape(-1, width)

        corners, faces = read_table(2, 3, "f"), read_table(4, 4, "f")
        lumps, indices = read_table(8, 9, "i"), read_table(20, 1, "i")[:, 0]
        solid = [lump for lump in lumps if not lump[0] & 1]
        return (
            [corners[indices[lump[1] : lump[1] + lump[2]]] for lump in solid],
            [faces[indices[lump[7] : lump[7] + lump[8]]] for lump in solid],
        )


class FloorMap:
    """Where the ball can roll: cells of the floor seen from above."""

    def __init__(self, corners: list[Array], faces: list[Array]) -> None:
        """Look down on the solids of a level, at four points of each cell."""
        points = np.concatenate(corners)
        self._origin = points[:, [0, 2]].min(0) - 2 * CELL_M
        size = np.ceil((points[:, [0, 2]].max(0) - self._origin) / CELL_M).astype(int) + 2
        tops = np.full(2 * size, -np.inf)
        for own_corners, own_faces in zip(corners, faces, strict=True):
            self._draw(tops, own_corners, own_faces)
        parts = np.stack([tops[i::2, j::2] for i in (0, 1) for j in (0, 1)])
        self.heights = parts.max(0)
        with np.errstate(invalid="ignore"):
            lows = parts.min(0)
            is_flat = self.heights - lows <= STEP_M
        self.kinds = np.where(np.isneginf(lows), VOID, np.where(is_flat, FLOOR, WALL))
        self.costs = self._weigh()

    def _draw(self, tops: Array, corners: Array, faces: Array) -> None:
        half = CELL_M / 2
        low = np.floor((corners[:, [0, 2]].min(0) - self._origin) / half).astype(int)
        high = np.ceil((corners[:, [0, 2]].max(0) - self._origin) / half).astype(int) + 1
        x = self._origin[0] + (np.arange(low[0], high[0])[:, None] + 0.5) * half
        z = self._origin[1] + (np.arange(low[1], high[1])[None] + 0.5) * half
        top = np.full((high[0] - low[0], high[1] - low[1]), np.inf)
        bottom, is_inside = -top, np.ones(top.shape, bool)
        for nx, ny, nz, distance in faces:
            rest = distance - nx * x - nz * z
            if abs(ny) < 1e-4:
                is_inside &= rest >= 0
            elif ny > 0:
                top = np.minimum(top, rest / ny)
            else:
                bottom = np.maximum(bottom, rest / ny)
        is_inside &= (top >= bottom) & np.isfinite(top)
        part = tops[low[0] : high[0], low[1] : high[1]]
        np.maximum(part, np.where(is_inside, top, -np.inf), out=part)

    def _weigh(self) -> Array:
        """Weigh the cells of a way: near an edge it is dear, near a wall less so."""
        costs = np.ones(self.kinds.shape)
        for kind, cost in ((VOID, 6.0), (WALL, 2.0)):
            near = self.kinds == kind
            for _ in range(MARGIN_CELLS):
                near = _grow(near)
                costs += cost * near / MARGIN_CELLS
        return costs

    def cell(self, place: Array) -> Cell:
        """Find the cell of a place; outside of the map it is its border."""
        i, j = np.floor((place - self._origin) / CELL_M).astype(int)
        return (
            min(max(i, 1), self.kinds.shape[0] - 2),
            min(max(j, 1), self.kinds.shape[1] - 2),
        )

    def center(self, cell: Cell) -> Array:
        """Find the middle of a cell."""
        return self._origin + (np.array(cell) + 0.5) * CELL_M

    def find_way(self, start: Array, targets: list[Array]) -> list[Array]:
        """Find the cheapest way to any of the targets; empty if there is none."""
        ends: dict[Cell, Array] = {}
        for target in targets:
            i, j = self.cell(target)
            for end in ((i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)):
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

    def _trace(self, before: dict[Cell, Cell | None], cell: Cell | None) -> list[Array]:
        way: list[Array] = []
        while cell is not None:
            way.append(self.center(cell))
            cell = before[cell]
        return way[::-1]

    def _neighbours(self, cell: Cell) -> Iterator[tuple[Cell, float]]:
        i, j = cell
        height = self.heights[cell]
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                other = (i + di, j + dj)
                if not (0 < other[0] < self.kinds.shape[0] - 1):
                    continue
                if not (0 < other[1] < self.kinds.shape[1] - 1):
                    continue
                if self.kinds[other] == FLOOR and self.heights[other] - height <= STEP_M:
                    yield other, math.hypot(di, dj)

    def measure_free(self, start: Array, end: Array, *, kinds: tuple[int, ...]) -> float:
        """Measure how far a straight line goes before it meets cells of some kinds."""
        length = float(np.linalg.norm(end - start))
        num_points = max(2, math.ceil(length / CELL_M * 2))
        for share in np.linspace(0, 1, num_points):
            if self.kinds[self.cell(start + share * (end - start))] in kinds:
                return float(share) * length
        return length


def choose_velocity(seen: Sighting, way: list[Array], floor: FloorMap) -> Array:
    """Aim at the farthest point of the way that is in straight reach, and slow down towards it."""
    speed = float(np.linalg.norm(seen.velocity))
    if speed > 0.5:
        brake_m = speed * speed / 4.0 + 0.25 * speed + 0.2
        ahead = seen.place + seen.velocity / speed * brake_m
        if floor.measure_free(seen.place, ahead, kinds=(VOID,)) < brake_m:
            return -0.3 * seen.velocity
    if not way:
        return np.zeros(2)
    aim = way[0]
    for point in way:
        if np.linalg.norm(point - seen.place) > 4.0:
            break
        reach = floor.measure_free(seen.place, point, kinds=(VOID, WALL))
        if reach < np.linalg.norm(point - seen.place):
            break
        aim = point
    offset = aim - seen.place
    distance = float(np.linalg.norm(offset))
    return offset / max(distance, 1e-6) * min(4.0, 0.8 + 0.9 * distance)


def _flat(vector: tuple[float, ...]) -> Float[np.ndarray, " 2"]:
    return np.array((vector[0], vector[2]))


def _grow(mask: Array) -> Array:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= grown[:, :-1].copy()
    grown[:, :-1] |= grown[:, 1:].copy()
    return grown
