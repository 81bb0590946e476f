"""Doom, health gathering supreme: find medikits in a maze with an acid floor, and avoid poison."""

import heapq
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import vizdoom
from jaxtyping import Float64

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import GameInfo
from nitrogen_train.games.doom import (
    FRAME_SKIP,
    LICENCE,
    MAX_TURN_DEG,
    TICS_PER_SECOND,
    Sighting,
    WalkedDoomGame,
)

MEDIKITS, POISONS = ("CustomMedikit",), ("Poison",)
MIN_HEIGHT = 3 / 192
"""The expert ignores medikits that are lower on the screen: a small frame hides them."""

MAP_SIZE = 1856.0
"""Extent of the maze to the east and to the north; it is the same in every episode."""
PLACES = ((1000.0, 600.0), (600.0, 1150.0))
"""Open places of the maze, from which much of it is in view."""
CELL = 8.0
"""Size of the squares in which the expert knows the maze, and the step along its lines of sight."""
LOOK = 900.0
"""Length of a line of sight: farther medikits are too small to see."""
WALL_CLEARANCE, POISON_CLEARANCE = 24.0, 56.0
"""How near the expert plans to pass: a player is 16 wide to each side, and a poison 20."""
POISON_RADIUS = 200.0
"""The expert knows the poisons so near, even those beside or behind it: it saw them when it came.
In view, it minds them at any distance."""
MEDIKIT_REACH, MEDIKIT_MARGIN = 40.0, 10.0
"""How far from a medikit the way may end at a wall, or at a poison, for the way to be free."""
AT_PLACE = 80.0
"""From so near a place, the expert looks around instead of going there."""

TURN_LAG = 2.0
"""Rows in which the expert would turn to its heading at a constant rate."""
SWEEP = 0.8
"""Right stick of the expert while it looks around."""
DRIFT = 8.0
"""Speed off its heading, in units per tic, against which the expert strafes at full stick: a player
slides on for 100 units and more, into the poison it walks around."""
SLOW_ANGLE_DEG = 45.0
"""The expert's forward stick falls from 1 straight ahead to 0 at this angle, so as not to circle
around a medikit."""


class DoomSupreme(WalkedDoomGame):
    """ViZDoom's `health_gathering_supreme`, moved by the left stick and turned by the right."""

    info: ClassVar[GameInfo] = GameInfo(
        name="doom_supreme",
        controls=("LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X"),
        fps=TICS_PER_SECOND / FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        frame_size=(192, 256),
        score="tics survived, less 100 for a death: about 280 when idle, at most 2100",
        # The maximum.
        reference_score=2100.0,
        licence=LICENCE,
        recording_seeds=range(0, 10_000),
        heldout_seeds=range(1_000_000, 1_001_000),
    )
    scenario = "health_gathering_supreme"
    knows_map = True

    def __init__(self) -> None:
        super().__init__()
        self._maze: _Maze | None = None

    def expert(self) -> Controls:
        """Walk to the medikit in view that is reached soonest on a straight and free way.

        If the way to each is blocked, walk to where the nearest is closer; if none is in view, walk
        to an open place of the maze and look around there. It slows down to turn.
        """
        x, y, angle_deg = self.read_pose()
        heading_deg = self._choose_heading(np.array([x, y]), angle_deg)
        if heading_deg is None:
            return {"RIGHT_STICK_X": SWEEP}
        # The engine counts degrees to the left.
        right_turn_deg = float(_turn_deg(angle_deg, heading_deg))
        strafe = -self._read_drift(heading_deg) * math.cos(math.radians(right_turn_deg)) / DRIFT
        turn = right_turn_deg / (TURN_LAG * FRAME_SKIP * MAX_TURN_DEG)
        return {
            "LEFT_STICK_X": max(-1.0, min(1.0, strafe)),
            "LEFT_STICK_Y": -max(0.0, 1 - abs(right_turn_deg) / SLOW_ANGLE_DEG),
            "RIGHT_STICK_X": max(-1.0, min(1.0, turn)),
        }

    def _read_drift(self, heading_deg: float) -> float:
        """Read the speed to the right of a heading, in units per tic."""
        variables = vizdoom.GameVariable
        east = self._engine.get_game_variable(variables.VELOCITY_X)
        north = self._engine.get_game_variable(variables.VELOCITY_Y)
        heading = math.radians(heading_deg)
        return math.sin(heading) * east - math.cos(heading) * north

    def _choose_heading(self, here: Float64[np.ndarray, " 2"], angle_deg: float) -> float | None:
        if self._maze is None:
            self._maze = _Maze.survey(self.read_walls())
        medikits = [m for m in self.see(MEDIKITS) if m.height >= MIN_HEIGHT]
        in_view = [poison.position for poison in self.see(POISONS)]
        poisons = {*in_view, *self.find_near(POISONS, radius=POISON_RADIUS)}
        heading_deg = None
        if medikits:
            heading_deg = self._maze.head_for(here, angle_deg, medikits, poisons)
        return self._maze.head_back(here, poisons) if heading_deg is None else heading_deg


@dataclass(frozen=True, kw_only=True)
class _Rays:
    """Lines of sight from the player, a row for each."""

    points: Float64[np.ndarray, "rays steps 2"]
    to_wall: Float64[np.ndarray, " rays"]
    """How far one can walk along each before a wall is too near."""
    to_poison: Float64[np.ndarray, " rays"]
    """How far one can walk along each before a poison is too near."""

    def mask(self, values: Float64[np.ndarray, "rays steps"]) -> Float64[np.ndarray, "rays steps"]:
        """Make the values infinite where one cannot walk."""
        free = np.minimum(self.to_wall, self.to_poison)
        return np.where(free[:, None] > _STEPS, values, np.inf)


_STEPS = np.arange(CELL, LOOK + 1, CELL)


@dataclass(frozen=True, kw_only=True)
class _Maze:
    """The maze as squares, by their index to the east and to the north."""

    clearance: Float64[np.ndarray, "east north"]
    """Distance from each square to the nearest wall."""
    way_back: Float64[np.ndarray, "east north"]
    """Length of the way from each square to the nearest of `PLACES`; infinite in the walls."""

    @classmethod
    def survey(cls, walls: Float64[np.ndarray, "walls 2 2"]) -> "_Maze":
        """Measure the maze between some walls, each given by its two ends."""
        middles = (np.arange(int(MAP_SIZE / CELL)) + 0.5) * CELL
        points = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1)
        clearance = np.full(points.shape[:2], np.inf)
        for start, end in walls:
            along = end - start
            share = ((points - start) @ along / (along @ along)).clip(0, 1)
            distance = np.linalg.norm(points - start - share[..., None] * along, axis=-1)
            clearance = np.minimum(clearance, distance)
        return cls(clearance=clearance, way_back=_measure_ways(clearance >= WALL_CLEARANCE))

    def head_for(
        self,
        here: Float64[np.ndarray, " 2"],
        angle_deg: float,
        medikits: Sequence[Sighting],
        poisons: Set[tuple[float, float]],
    ) -> float | None:
        """Choose the heading that leads to a medikit in view, or nearer to one; None if none."""
        positions = np.array([medikit.position for medikit in medikits])
        offsets = positions - here
        distances = np.hypot(offsets[:, 0], offsets[:, 1])
        headings_deg = np.degrees(np.arctan2(offsets[:, 1], offsets[:, 0]))
        # A run covers about 14 units a tic, and turning takes time too.
        tics = distances / 14 + np.abs(_turn_deg(angle_deg, headings_deg)) / (0.8 * MAX_TURN_DEG)
        rays = self._look(here, headings_deg, poisons)
        free = (rays.to_wall >= distances - MEDIKIT_REACH) & (
            rays.to_poison >= distances - MEDIKIT_MARGIN
        )
        if free.any():
            return float(headings_deg[np.where(free, tics, np.inf).argmin()])
        nearest = tics.argmin()
        around_deg = headings_deg[nearest] + np.arange(-60, 61, 6)
        rays = self._look(here, around_deg, poisons)
        left = rays.mask(np.linalg.norm(rays.points - positions[nearest], axis=-1)).min(axis=1)
        best = left.argmin()
        return float(around_deg[best]) if left[best] < distances[nearest] - 4 * CELL else None

    def head_back(
        self, here: Float64[np.ndarray, " 2"], poisons: Set[tuple[float, float]]
    ) -> float | None:
        """Choose the heading that leads nearest to an open place; None there, or if locked in."""
        if self.way_back[self._squares(here)] < AT_PLACE:
            return None
        headings_deg = np.arange(0.0, 360.0, 6.0)
        rays = self._look(here, headings_deg, poisons)
        # Of the points that are as near to the place, the one that is reached soonest.
        ways = rays.mask(self.way_back[self._squares(rays.points)] + 0.02 * _STEPS).min(axis=1)
        return float(headings_deg[ways.argmin()]) if np.isfinite(ways.min()) else None

    def _look(
        self,
        here: Float64[np.ndarray, " 2"],
        headings_deg: Float64[np.ndarray, " rays"],
        poisons: Set[tuple[float, float]],
    ) -> _Rays:
        headings = np.radians(headings_deg)
        directions = np.stack([np.cos(headings), np.sin(headings)], axis=-1)
        points = here + directions[:, None] * _STEPS[:, None]
        # Who is too near already may walk away from it.
        least = min(WALL_CLEARANCE, self.clearance[self._squares(here)] - 1)
        near_wall = self.clearance[self._squares(points)] < least
        near_poison = np.zeros_like(near_wall)
        for east, north in poisons:
            least = min(POISON_CLEARANCE, math.dist(here, (east, north)))
            near_poison |= np.hypot(points[..., 0] - east, points[..., 1] - north) < least
        return _Rays(points=points, to_wall=_until(near_wall), to_poison=_until(near_poison))

    def _squares(self, points: Float64[np.ndarray, "*any 2"]) -> tuple[np.ndarray, np.ndarray]:
        squares = (points / CELL).astype(int).clip(0, len(self.clearance) - 1)
        return squares[..., 0], squares[..., 1]


def _measure_ways(free: np.ndarray) -> Float64[np.ndarray, "east north"]:
    """Measure the shortest way from each free square to a place, step by step (Dijkstra)."""
    ways = np.full(free.shape, np.inf)
    queue = [(0.0, int(x / CELL), int(y / CELL)) for x, y in PLACES]
    for way, east, north in queue:
        ways[east, north] = way
    neighbours = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    while queue:
        way, east, north = heapq.heappop(queue)
        if way > ways[east, north]:
            continue
        for step_east, step_north in neighbours:
            square = east + step_east, north + step_north
            farther = way + CELL * math.hypot(step_east, step_north)
            if free[square] and farther < ways[square]:
                ways[square] = farther
                heapq.heappush(queue, (farther, *square))
    return ways


def _until(hit: np.ndarray) -> Float64[np.ndarray, " rays"]:
    return np.where(hit.any(axis=1), _STEPS[hit.argmax(axis=1)], LOOK)


def _turn_deg(
    from_deg: float, to_deg: Float64[np.ndarray, "*any"] | float
) -> Float64[np.ndarray, "*any"]:
    """Return the turn to the right, in [-180, 180)."""
    return (from_deg - np.asarray(to_deg) + 180) % 360 - 180
