"""The ways through a level of Pekka Kana 2, over its tiles.

walls, exits ─► steps, jumps and falls from tile to tile ─► how far the exit is from each
"""

import heapq
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

COLUMNS, ROWS = 256, 224
TILE = 32
GROUND, RISING, HIGH, FALLING = range(4)
"""Standing, one tile up in a jump, two tiles up, and the rest of a jump or fall."""
_FIRST_BACKGROUND, _ONE_WAY, _FIRE, _EXIT = 80, 40, 144, 149
_BODY_TILES = 2
_STEP_COST, _FIRE_COST = 2, 60

Tile = tuple[int, int]
Place = tuple[int, int, int]
"""Column, row of the feet, and one of the four."""


class Ways:
    """How far the goals are, from everywhere."""

    def __init__(self, walls: bytes, goals: tuple[Tile, ...] = ()) -> None:
        grid = np.frombuffer(walls, np.uint8).reshape(ROWS, COLUMNS)
        is_solid = (grid < _FIRST_BACKGROUND) & (grid != _ONE_WAY)
        self._is_free = (~is_solid).tolist()
        self._bears = (is_solid | (grid == _ONE_WAY)).tolist()
        self._burns = (grid == _FIRE).tolist()
        exits = np.argwhere(grid == _EXIT)
        self.exits: list[Tile] = [(int(column), int(row)) for row, column in exits]
        self._goals = goals
        self._places: set[Place] = set()
        self._back: dict[Place, list[tuple[Place, int]]] = {}
        self._distances: dict[Place, int] = {}

    def distance(self, place: Place) -> int | None:
        """Say how long the way to a goal is; None: no way is known."""
        if place not in self._places:
            self._explore(place)
            self._distances = self._measure()
        return self._distances.get(place)

    def choose_goals(self, start: Place) -> tuple[Tile, ...]:
        """Choose the exits that can be reached; else the tile that is nearest to one of them.

        Some exits open only by a switch, a key, or a lift.
        """
        self._explore(start)
        tiles = {place[:2] for place in self._places}
        reached = [
            (column, row + below)
            for column, row in self.exits
            for below in range(_BODY_TILES)
            if (column, row + below) in tiles
        ]
        if reached:
            return tuple(reached)
        firm = sorted(tile for tile in tiles if self.bears(*tile))
        return (min(firm, key=self._gap_to_exit),)

    def _gap_to_exit(self, tile: Tile) -> int:
        return min(abs(tile[0] - column) + abs(tile[1] - row) for column, row in self.exits)

    def has_room(self, column: int, row: int) -> bool:
        """Say whether the rooster fits with its feet in a tile."""
        return (
            0 <= column < COLUMNS
            and _BODY_TILES <= row < ROWS - 1
            and all(self._is_free[row - each][column] for each in range(_BODY_TILES))
        )

    def bears(self, column: int, row: int) -> bool:
        """Say whether it stands with its feet in a tile."""
        return row + 1 < ROWS and 0 <= column < COLUMNS and self._bears[row + 1][column]

    def follow(self, place: Place, length: int) -> list[Place]:
        """List the next tiles of the shortest way."""
        way: list[Place] = []
        self.distance(place)
        while len(way) < length:
            then = [
                (self._distances[each] + cost, each)
                for each, cost in self._steps(place)
                if each in self._distances
            ]
            if not then or self._distances.get(place, 1) == 0:
                break
            place = min(then)[1]
            way.append(place)
        return way

    def _explore(self, start: Place) -> None:
        self._places.add(start)
        queue = [start]
        while queue:
            place = queue.pop()
            for end, cost in self._steps(place):
                self._back.setdefault(end, []).append((place, cost))
                if end not in self._places:
                    self._places.add(end)
                    queue.append(end)

    def _measure(self) -> dict[Place, int]:
        distances: dict[Place, int] = {}
        heap: list[tuple[int, Place]] = [
            (0, (column, row, kind)) for column, row in self._goals for kind in range(4)
        ]
        while heap:
            cost, place = heapq.heappop(heap)
            if place in distances:
                continue
            distances[place] = cost
            for before, length in self._back.get(place, ()):
                if before not in distances:
                    heapq.heappush(heap, (cost + length, before))
        return distances

    def _steps(self, place: Place) -> Iterator[tuple[Place, int]]:
        column, row, kind = place
        if kind == GROUND and not self.bears(column, row):
            kind = FALLING
        for side in (-1, 0, 1):
            next_column = column + side
            if kind in (GROUND, HIGH, RISING) and side and self.has_room(next_column, row):
                yield self._arrive(next_column, row, FALLING)
            if (
                kind in (GROUND, RISING)
                and self.has_room(column, row - 1)
                and self.has_room(next_column, row - 1)
            ):
                yield self._cost(next_column, row - 1, RISING if kind == GROUND else HIGH, 1)
            if (
                kind != GROUND
                and self.has_room(next_column, row)
                and self.has_room(next_column, row + 1)
                and not self.bears(next_column, row)
            ):
                yield self._arrive(next_column, row + 1, FALLING)

    def _arrive(self, column: int, row: int, kind: int) -> tuple[Place, int]:
        return self._cost(column, row, GROUND if self.bears(column, row) else kind, 0)

    def _cost(self, column: int, row: int, kind: int, extra: int) -> tuple[Place, int]:
        burns = any(self._burns[row - each][column] for each in range(_BODY_TILES))
        return (column, row, kind), _STEP_COST + extra + _FIRE_COST * burns


@lru_cache(maxsize=16)
def read_ways(walls: bytes, goals: tuple[Tile, ...] = ()) -> Ways:
    """Keep what was found out of walls that stay as they are."""
    return Ways(walls, goals)
