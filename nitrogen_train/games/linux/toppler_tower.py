"""Where the climber of Tower Toppler gets to from where it stands: the tower's geometry and moves.

    cells ─► where the figure fits ─► moves (walk, jump, lift, door) ─► ticks to the target door

A place is (angle, height, looks_right): the tower is 128 units around and four units a row. The
rules are those that a player sees: platforms bear, doors lead through the tower, lifts ride between
their stops, a dotted step vanishes under the feet.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

AROUND, COLUMNS = 128, 16
VANISHING, BOX, DOOR, TARGET = 13, 16, 17, 18
_SLIDING = {14: 1, 15: -1}
_PLATFORMS = (12, 13, 14, 15, 22, 23, 24, 27, 28)
_STICKS = (11, 19, 20, 21, 25, 26)
_STATIONS = (1, 2, 3, 19, 20, 21, 22, 23, 24, 27, 28)
_LIFTS_UP, _LIFTS_DOWN = (23, 24), (22, 23)
_STOPS = (1, 2)
_MAP_UP, _MAP_DOWN = (2, *_LIFTS_UP), (*_STOPS, *_LIFTS_DOWN)
_DOORS = (17, 18, 25)
_BEARING = (*_PLATFORMS, *_STICKS, BOX)
_LEAP = (3, 2, 2, 1, 1, 0, 0, -1, -1, -2, -2, -3)
_STEP = (2, 2, 1, 0, -1, -2, -2)
"""Rise per tick of a jump, and of the hop onto a step."""
_TURN_TICKS, _LAND_TICKS = 8, 2
_DOOR_TICKS = (9, 37, 10)
"""Before, in and behind a door."""
_HIDDEN = (0, -1000)
"""Where nothing hits."""
_MAX_FALL_TICKS = 400

_NO_WAY, _TICKS_PER_UNIT = 1_000_000, 1_000
BALL, FREEZER, _VANISHING, _APPEARING, FLYER, RISER, WALKER = 1, 2, 4, 6, 7, 8, 9
_BOUNCE = (2, 2, 1, 1, 0, 0, -1, -1, -2, -2, -4)
"""Rise per tick of a ball."""

Place = tuple[int, int, bool]
Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that the climber can do from where it stands."""

    press: str
    """`left`, `right`, `jump_left`, `jump_right`, `up` or `down`."""
    path: Path
    """Angle and height at each tick until it stands again."""
    end: Place | None
    """None: in the water."""
    is_goal: bool = False


class Tower:
    """A tower as it is at one moment."""

    def __init__(self, cells: bytes, *, is_map: bool = False, is_hopeful: bool = False) -> None:
        """Read the cells, row by row from the water up.

        Args:
            cells: One byte each.
            is_map: Lifts count as being at each of their stops: the climber rides them there.
            is_hopeful: Lifts pass vanishing steps: the climber falls through them to the lift.
        """
        grid = np.frombuffer(cells, np.uint8).reshape(-1, COLUMNS)
        # What is above the top is empty.
        rows = int(np.flatnonzero(grid.any(1)).max(initial=0)) + 16
        grid = np.vstack([grid, np.zeros((16, COLUMNS), np.uint8)])[:rows]
        self._bytes, self._is_map, self._is_hopeful = cells, is_map, is_hopeful
        self.rows = rows
        self.cells: list[list[int]] = grid.tolist()
        self._fits = _find_room(grid)
        self.robot_fits = _find_room_of_robots(grid)
        self._moves: dict[Place, tuple[Move, ...]] = {}

    def fits(self, angle: int, height: int) -> bool:
        """Say whether the figure has room there."""
        return self._fits[min(height, self.rows * 4 - 1)][angle % AROUND]

    def under(self, angle: int, height: int) -> int:
        """Return the cell below the feet."""
        return self.cells[height // 4 - 1][angle // 8 % COLUMNS]

    def moves(self, place: Place) -> tuple[Move, ...]:
        """List what the climber can do where it stands."""
        if place not in self._moves:
            self._moves[place] = tuple(self._list_moves(place))
        return self._moves[place]

    def wait(self, place: Place) -> Move:
        """Say what a tick without a press does: some steps slide."""
        angle, height, looks_right = place
        slide = _SLIDING.get(self.under(angle - (not looks_right), height), 0)
        if slide and self.fits(angle + slide, height):
            angle = (angle + slide) % AROUND
        return self._settle("wait", [(angle, height)], (angle, height, looks_right))

    def _list_moves(self, place: Place) -> Iterator[Move]:
        angle, height, looks_right = place
        side = 1 if looks_right else -1
        name, other = ("right", "left") if looks_right else ("left", "right")
        here = (angle, height)
        yield self._settle(other, [here] * _TURN_TICKS, (angle, height, not looks_right))
        if self.fits(angle + side, height):
            ahead = (angle + side) % AROUND
            yield self._settle(name, [(ahead, height)], (ahead, height, looks_right))
        else:
            yield self._jump(name, _STEP, angle, height, side)
        yield self._jump(f"jump_{name}", _LEAP, angle, height, side)
        yield from self._ride(place)
        yield from self._enter(place)

    def _ride(self, place: Place) -> Iterator[Move]:
        angle, height, looks_right = place
        column, row = angle // 8, height // 4 - 1
        cell = self.cells[row][column]
        ups, downs = (_MAP_UP, _MAP_DOWN) if self._is_map else (_LIFTS_UP, _LIFTS_DOWN)
        for press, kinds, step in (("up", ups, 1), ("down", downs, -1)):
            if cell not in kinds:
                continue
            stop = row + step
            while 0 < stop < self.rows - 4 and self.cells[stop][column] not in _STATIONS:
                stop += step
            centre = column * 8 + 4
            heights = range(height, 4 * (stop + 1) + step, step)
            is_there = 0 < stop < self.rows - 4
            if not is_there or not all(self._lets_pass(centre, each) for each in heights):
                continue
            path = [(centre, height)] * (abs(angle - centre) + 1)
            path += [(centre, each) for each in heights]
            yield Move(press, tuple(path), (centre, 4 * (stop + 1), looks_right))

    def _lets_pass(self, angle: int, height: int) -> bool:
        if self._is_hopeful:
            return self._without_vanishing.fits(angle, height)
        return self.fits(angle, height)

    @cached_property
    def _without_vanishing(self) -> "Tower":
        return read_tower(self._bytes.replace(bytes([VANISHING]), b"\0"))

    def _enter(self, place: Place) -> Iterator[Move]:
        angle, height, looks_right = place
        column, row = angle // 8, height // 4
        if not all(self.cells[row + each][column] in _DOORS for each in range(3)):
            return
        centre = column * 8 + 4
        if self.cells[row][column] == TARGET:
            yield Move("up", ((centre, height),) * 12, (centre, height, looks_right), is_goal=True)
            return
        behind, level = (centre + 64) % AROUND, height
        while level >= 4 and self.fits(behind, level - 4):
            level -= 4
        before, within, after = _DOOR_TICKS
        path = [(centre, height)] * (before + abs(angle - centre))
        path += [_HIDDEN] * within + [(behind, level)] * after
        yield self._settle("up", path, (behind, level, True))

    def _jump(self, press: str, rises: tuple[int, ...], angle: int, height: int, side: int) -> Move:
        path = [(angle, height)]
        for rise in rises:
            if self.fits(angle + side, height):
                angle = (angle + side) % AROUND
            reached = rise
            while reached and not self._may_be(angle, height + reached):
                reached -= 1 if reached > 0 else -1
            height += reached
            path.append((angle, height))
            if height < 0:
                return Move(press, tuple(path), None)
            if rise < 0 and reached != rise:
                return self._settle(press, path, (angle, height, side > 0))
        if not self._may_be(angle, height - 1):
            path += [(angle, height)] * _LAND_TICKS
            return self._settle(press, path, (angle, height, side > 0))
        height -= 1
        path[-1] = (angle, height)
        return self._fall(press, path, (angle, height, side > 0), speed=3, drift=0)

    def _may_be(self, angle: int, height: int) -> bool:
        return height < 0 or self.fits(angle, height)

    def _settle(self, press: str, path: list[tuple[int, int]], place: Place) -> Move:
        """End a move where the climber stands, or let it fall."""
        angle, height, _ = place
        drift = self.find_drift(place)
        if drift is None:
            return Move(press, tuple(path), place)
        if self.under(angle, height) == VANISHING:
            cell = (height // 4 - 1) * COLUMNS + angle // 8
            cells = self._bytes[:cell] + b"\0" + self._bytes[cell + 1 :]
            gone = read_tower(cells, is_map=self._is_map, is_hopeful=self._is_hopeful)
            return gone._settle(press, path, place)
        return self._fall(press, [*path, (angle, height)], place, speed=1, drift=drift)

    def find_drift(self, place: Place) -> int | None:
        """Say where it falls to, -1 left, 1 right, 0 straight down; None: it stands."""
        angle, height, looks_right = place
        if height < 4:
            return 0
        column = (angle - 6) // 8
        left = self._bears(height, column % COLUMNS, angle)
        right = self._bears(height, (column + 1) % COLUMNS, angle)
        if left and right:
            return None
        if not (left or right):
            return 0
        part = angle % 8
        ahead = 1 if looks_right else -1
        if part == 0:
            # Half of it is over the edge: it falls backwards if it looks to the firm side.
            is_back_free = right if looks_right else left
            return -ahead if is_back_free else None
        if part <= 2:
            return None if right else 1
        if part <= 5:
            return None if right else 0
        return None if left else -1

    def _bears(self, height: int, column: int, angle: int) -> bool:
        cell = self.cells[height // 4 - 1][column]
        if cell == VANISHING:
            return column != angle // 8 % COLUMNS
        return cell in _BEARING or (self._is_map and cell in _STOPS)

    def _fall(
        self, press: str, path: list[tuple[int, int]], place: Place, *, speed: int, drift: int
    ) -> Move:
        angle, height, looks_right = place
        ticks = -1
        path = list(path)
        while len(path) < _MAX_FALL_TICKS:
            ticks += 1
            if self.fits(angle + drift, height):
                angle = (angle + drift) % AROUND
            else:
                drift = 0
            reached = speed
            while reached and not self._may_be(angle, height - reached):
                reached -= 1
            height -= reached
            path.append((angle, height))
            if height < 0:
                return Move(press, tuple(path), None)
            if reached:
                speed = min(4, reached + 1)
            elif drift == 0 or ticks >= 2:
                path.append((angle, height))
                return self._settle(press, path, (angle, height, looks_right))
            else:
                speed = 1
        return Move(press, tuple(path), None)


def _find_room(grid: np.ndarray) -> list[list[bool]]:
    """Say for each height and angle whether the figure has room there."""
    is_platform = np.isin(grid, _PLATFORMS)
    is_thin = np.isin(grid, (*_STICKS, BOX))
    angles = np.arange(AROUND)
    first, last = (angles - 3) // 8 % COLUMNS, (angles + 2) // 8 % COLUMNS
    room = np.ones((len(grid) * 4, AROUND), bool)
    for part in range(4):
        rows = 4 if part == 3 else 3
        wall, pole = (
            np.array([kind[row : row + rows].any(0) for row in range(len(grid))])
            for kind in (is_platform, is_thin)
        )
        blocked = wall[:, first] | wall[:, last]
        for columns in (first, last):
            blocked |= pole[:, columns] & ((angles - 8 * columns) % AROUND < 9)
        room[part::4] = ~blocked
    return room.tolist()


def _find_room_of_robots(grid: np.ndarray) -> list[list[bool]]:
    is_platform = np.isin(grid, _PLATFORMS)
    is_thin = np.isin(grid, (*_STICKS, BOX))
    angles = np.arange(AROUND)
    first, last = (angles - 2) // 8 % COLUMNS, (angles + 1) // 8 % COLUMNS
    room = np.ones((len(grid) * 4, AROUND), bool)
    for part in range(4):
        rows = 2 if part == 0 else 3
        wall, pole = (
            np.array([kind[row : row + rows].any(0) for row in range(len(grid))])
            for kind in (is_platform, is_thin)
        )
        blocked = wall[:, first] | wall[:, last]
        for columns in (first, last):
            blocked |= pole[:, columns] & ((angles - 8 * columns - 1) % AROUND < 7)
        room[part::4] = ~blocked
    return room.tolist()


@lru_cache(maxsize=256)
def read_tower(cells: bytes, *, is_map: bool = False, is_hopeful: bool = False) -> Tower:
    """Keep what was found out of a tower that stays as it is."""
    return Tower(cells, is_map=is_map, is_hopeful=is_hopeful)


class Guide:
    """The ways to the target door of a tower, found out as places are asked for."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self._places: set[Place] = set()
        self._back: dict[Place, list[tuple[Place, int]]] = {}
        self._goals: dict[Place, int] = {}
        self._ticks: dict[Place, int] = {}

    def count_ticks(self, place: Place) -> int:
        """Count how long the way from a place to the target door is.

        Where no way leads there, the way to the highest place counts, as a much longer one.
        """
        if place not in self._places:
            self._explore(place)
            self._ticks = self._measure()
        return self._ticks.get(place, _NO_WAY)

    def leads_to_target(self, place: Place) -> bool:
        """Say whether the target door can be reached."""
        self.count_ticks(place)
        return bool(self._goals)

    def _explore(self, start: Place) -> None:
        self._places.add(start)
        queue = [start]
        while queue:
            place = queue.pop()
            for move in self.tower.moves(place):
                if move.is_goal:
                    self._goals[place] = len(move.path)
                elif move.end is not None:
                    self._back.setdefault(move.end, []).append((place, len(move.path)))
                    if move.end not in self._places:
                        self._places.add(move.end)
                        queue.append(move.end)

    def _measure(self) -> dict[Place, int]:
        ticks = dict(self._goals)
        for place in self._places:
            # A lower place is a longer way off than any detour to a higher one.
            ticks.setdefault(place, _NO_WAY - _TICKS_PER_UNIT * place[1])
        heap = [(cost, place) for place, cost in ticks.items()]
        heapq.heapify(heap)
        while heap:
            cost, place = heapq.heappop(heap)
            if cost > ticks[place]:
                continue
            for before, length in self._back.get(place, ()):
                if cost + length < ticks[before]:
                    ticks[before] = cost + length
                    heapq.heappush(heap, (cost + length, before))
        return ticks


@dataclass(frozen=True, slots=True)
class Robot:
    """What pushes the climber off."""

    kind: int
    angle: int
    height: int
    speed: int
    becomes: int
    age: int

    @property
    def is_there(self) -> bool:
        """Say whether it is to be minded now."""
        return self.kind not in (0, _VANISHING, _APPEARING)


def predict(tower: Tower, robots: list[Robot], ticks: int) -> list[list[Robot | None]]:
    """Say where the robots will be at each of the next ticks; None: gone, or not there yet."""
    futures = [list(_follow(tower, robot, ticks)) for robot in robots]
    return [[future[tick] for future in futures] for tick in range(ticks)]


def hits(robot: Robot, angle: int, height: int) -> bool:
    """Say whether a robot pushes off a climber at a place."""
    if robot.kind == FLYER:
        return 53 <= robot.angle <= 67 and height - 6 <= robot.height <= height + 10
    apart = (robot.angle - angle + 64) % AROUND - 64
    return -4 < apart < 4 and -8 < robot.height - height - 1 < 8


def _follow(tower: Tower, robot: Robot, ticks: int) -> Iterator[Robot | None]:
    for _ in range(ticks):
        if robot.kind == _APPEARING:
            is_ready = robot.age >= 6
            robot = replace(
                robot,
                kind=robot.becomes if is_ready else robot.kind,
                age=0 if is_ready else robot.age + 1,
            )
            yield None
            continue
        if robot.height < 0 or not robot.is_there:
            yield None
            continue
        robot = _advance(tower, robot)
        yield robot


def _advance(tower: Tower, robot: Robot) -> Robot:
    kind, angle, height, speed = robot.kind, robot.angle, robot.height, robot.speed
    if kind == FLYER:
        angle += speed
        return replace(robot, angle=angle, speed=2 * speed if angle == 60 else speed)
    if kind == RISER:
        if height + speed >= 0 and tower.robot_fits[height + speed][angle]:
            return replace(robot, height=height + speed)
        return replace(robot, speed=-speed)
    if kind not in (BALL, FREEZER, WALKER):
        return robot
    if not tower.robot_fits[height][(angle + speed) % AROUND]:
        speed = -speed
    else:
        angle = (angle + speed) % AROUND
    if kind != BALL:
        return replace(robot, angle=angle, speed=speed)
    rise = _BOUNCE[robot.age]
    reached = rise
    while reached and height + reached >= 0 and not tower.robot_fits[height + reached][angle]:
        reached -= 1 if reached > 0 else -1
    is_down = rise < 0 and reached == 0
    age = 0 if is_down else min(robot.age + 1, len(_BOUNCE) - 1)
    return replace(robot, angle=angle, height=height + reached, speed=speed, age=age)
