"""Tower Toppler, after Nebulus: climb a tower to the door at its top."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.linux.toppler_tower import (
    AROUND,
    BALL,
    BOX,
    COLUMNS,
    VANISHING,
    Guide,
    Move,
    Place,
    Robot,
    Tower,
    hits,
    predict,
    read_tower,
)
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.process import GameProcess
from nitrogen_train.games.native.spec import read_spec, scancode

_BUILDS = {
    # Debian 12, toppler 1.3-1
    "853e45bb0e548af8c27a1beebf53eda7e0de75d1": {
        "angle": 0x82E28,
        "height": 0x82E20,
        "state": 0x82E1C,
        "looks_right": 0x82DD0,
        "points": 0x41910,
        "robots": 0x41940,
        "tower": 0x3ED80,
    }
}
_PRESSES: dict[str, Controls] = {
    "left": {"LEFT_STICK_X": -1.0},
    "right": {"LEFT_STICK_X": 1.0},
    "jump_left": {"LEFT_STICK_X": -1.0, "SOUTH": True},
    "jump_right": {"LEFT_STICK_X": 1.0, "SOUTH": True},
    "up": {"LEFT_STICK_Y": -1.0},
    "down": {"LEFT_STICK_Y": 1.0},
    "shoot": {"SOUTH": True},
    "wait": {},
}
_STANDS, _DROWNS, _DROWNED, _ARRIVED = 0, 8, 9, 10
_MAX_WAIT_TICKS = 60
_LOOK_AHEAD_TICKS = 100
_TRUSTED_TICKS = 40
"""So long a plan is followed while all moves as was expected."""
_MAX_PLACES = 3000
_SHOT_TICKS, _SHOT_REACH = 4, 22
_SHOT_RISE = (0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4)
_SAFE_TICKS = 40
"""A place that is safe for so long is as good as one that is safe for longer."""


class Toppler(NativeGame):
    """Nebulus: the left stick walks and rides lifts or enters doors, A jumps, or shoots at rest."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def walk_menu(self, process: GameProcess, *, level: str, seed: int) -> None:
        """Choose the mission, start it, skip the arrival, and let the robots go a way."""
        super().walk_menu(process, level=level, seed=seed)
        for key, presents in [("RIGHT", 4)] * int(level) + [("RETURN", 30), ("RETURN", 4)]:
            process.step({}, keys=[scancode(key)], presents=2)
            process.step({}, presents=presents)
        process.step({}, presents=1 + int(np.random.default_rng(seed).integers(_MAX_WAIT_TICKS)))

    def start_episode(self) -> None:
        """Remember the tower as it was."""
        self._read = GameMemory(self.process, builds=_BUILDS)
        self.memory["start_points"] = self._number("points", "<I")
        self.memory["cells"] = self._read_cells()
        self.memory["last"] = "wait"
        self.memory["plan"] = []

    def read_progress(self) -> GameProgress:
        """Read the game's points; drowning and arriving end the episode."""
        return GameProgress(
            score=self._number("points", "<I") - self.memory["start_points"],
            is_over=self._number("state") in (_DROWNS, _DROWNED, _ARRIVED),
        )

    def expert(self) -> Controls:
        """Follow the shortest way to the target door, around what is about to be in the way."""
        last = self.memory["last"]
        press = self._choose() if self._number("state") == _STANDS else "wait"
        self.memory["last"] = press
        # The game takes a stick that changes sides at once for both sides.
        if {last.removeprefix("jump_"), press.removeprefix("jump_")} == {"left", "right"}:
            self.memory["last"] = press = "wait"
        return _PRESSES[press]

    def _choose(self) -> str:
        angle, height = self._number("angle"), self._number("height", "<q")
        here: Place = (angle % AROUND, height, bool(self._number("looks_right", "<?")))
        tower, guide = read_tower(self._read_cells()), self._find_guide(here)
        if shot := self._shoot_box(tower, guide, here):
            return shot
        robots = self._read_robots()
        # What was expected is followed as long as it comes: searching takes long.
        plan: list[_Decision] = self.memory["plan"]
        while plan and plan[0].place != here:
            plan.pop(0)
        if not plan or plan[0].sight != _summarize(robots):
            plan = self.memory["plan"] = _plan(tower, guide, here, robots)
        return plan.pop(0).press if plan else "wait"

    def _shoot_box(self, tower: Tower, guide: Guide, here: Place) -> str:
        """Shoot, or turn to shoot, if a box is in the best way."""
        blocked = {move.press: move.end for move in tower.moves(here)}
        best = min(
            (move for move in guide.tower.moves(here) if move.end is not None or move.is_goal),
            key=lambda move: _cost(guide, move),
            default=None,
        )
        if best is None or blocked.get(best.press, here) == best.end:
            return ""
        angle, height, looks_right = here
        side = 1 if looks_right else -1
        ahead = range(angle, angle + side * _SHOT_REACH, side)
        rows = range(height // 4, height // 4 + 2)
        if any(tower.cells[row][each // 8 % COLUMNS] == BOX for row in rows for each in ahead):
            return "shoot"
        return ""

    def _find_guide(self, here: Place) -> Guide:
        """Find the ways in the tower as it would be without boxes, lifts at home."""
        now = self._read_cells()
        cells = bytes(
            0 if first == BOX or (first == VANISHING and each == 0) else first
            for first, each in zip(self.memory["cells"], now, strict=True)
        )
        guide = _guide_to(cells)
        return guide if guide.leads_to_target(here) else _guide_to(cells, is_hopeful=True)

    def _read_cells(self) -> bytes:
        return self._read.read("4096s", self._read.known["tower"])[0]

    def _read_robots(self) -> list[Robot]:
        values = self._read.read("<" + "i4xqi4xqi4xq" * 4, self._read.known["robots"])
        return [
            Robot(kind, angle, height, speed, becomes, age)
            for angle, height, kind, speed, becomes, age in zip(*[iter(values)] * 6, strict=True)
        ]

    def _number(self, name: str, layout: str = "<i") -> int:
        return self._read.read(layout, self._read.known[name])[0]


_Sight = tuple[tuple[int, int] | None, ...]


@lru_cache(maxsize=16)
def _guide_to(cells: bytes, *, is_hopeful: bool = False) -> Guide:
    return Guide(read_tower(cells, is_map=True, is_hopeful=is_hopeful))


def _cost(guide: Guide, move: Move) -> int:
    return len(move.path) + (0 if move.end is None or move.is_goal else guide.count_ticks(move.end))


@dataclass(frozen=True)
class _Decision:
    """A press that was planned, and what is seen then if all goes as expected."""

    place: Place
    sight: _Sight
    press: str


def _summarize(robots: Sequence[Robot | None]) -> _Sight:
    return tuple(
        None if robot is None or not robot.is_there else (robot.angle, robot.height)
        for robot in robots
    )


def _plan(tower: Tower, guide: Guide, here: Place, robots: list[Robot]) -> list[_Decision]:
    """Search the quickest way that no robot crosses soon."""
    futures = [robots, *predict(tower, robots, _LOOK_AHEAD_TICKS)]
    order = 0
    start = _Node(here, 0, 0, None, "")
    queue = [(guide.count_ticks(here), order, start)]
    seen: set[tuple[int, Place, int]] = set()
    best, most = start, (0, -guide.count_ticks(here))
    while queue and len(seen) < _MAX_PLACES:
        node = heapq.heappop(queue)[2]
        if node.tick >= _LOOK_AHEAD_TICKS or node.place == _DONE:
            best = node
            break
        key = (node.tick, node.place, node.shot)
        if key in seen:
            continue
        seen.add(key)
        worth = (min(node.tick, _SAFE_TICKS), -guide.count_ticks(node.place))
        if worth > most:
            most, best = worth, node
        for move, shot in _list_options(tower, futures, node):
            if move.end is None or _is_hit(futures, move, node):
                continue
            order += 1
            then = _Node(
                _DONE if move.is_goal else move.end,
                node.tick + len(move.path),
                shot,
                node,
                move.press,
            )
            cost = then.tick + (0 if move.is_goal else guide.count_ticks(move.end))
            heapq.heappush(queue, (cost, order, then))
    decisions: list[_Decision] = []
    while best.before is not None:
        if best.before.tick < _TRUSTED_TICKS:
            sight = _summarize(futures[best.before.tick])
            decisions.append(_Decision(best.before.place, sight, best.press))
        best = best.before
    return decisions[::-1]


@dataclass(frozen=True, slots=True)
class _Node:
    """A place at a time in a search."""

    place: Place
    tick: int
    shot: int
    """The robots that are shot by then, as a bit set."""
    before: "_Node | None"
    press: str
    """What led to it."""


_DONE: Place = (-1, -1, False)
_Futures = Sequence[Sequence[Robot | None]]


def _list_options(tower: Tower, futures: _Futures, node: _Node) -> Iterator[tuple[Move, int]]:
    """List moves, each with the robots that are shot by then."""
    for move in tower.moves(node.place):
        yield move, node.shot
    yield tower.wait(node.place), node.shot
    if hit := _find_target(futures, node.tick, node.place) & ~node.shot:
        here = node.place[:2]
        yield Move("shoot", (here,) * _SHOT_TICKS, node.place), node.shot | hit


def _find_target(futures: _Futures, tick: int, place: Place) -> int:
    """Say which robots a snowball hits that is thrown now; only balls go away by it."""
    angle, height, looks_right = place
    side = 1 if looks_right else -1
    for moved in range(1, _SHOT_REACH // 2):
        at = tick + 3 + moved
        if at >= len(futures):
            break
        for index, robot in enumerate(futures[at]):
            if robot is None or robot.kind != BALL:
                continue
            apart = (robot.angle - angle - side * (1 + 2 * moved) + 64) % AROUND - 64
            if abs(apart) <= 1 and -5 <= robot.height - height - _SHOT_RISE[moved] <= 3:
                return 1 << index
    return 0


def _is_hit(futures: _Futures, move: Move, node: _Node) -> bool:
    for (angle, height), robots in zip(move.path, futures[node.tick + 1 :], strict=False):
        for index, robot in enumerate(robots):
            if robot is not None and not node.shot >> index & 1 and hits(robot, angle, height):
                return True
    return False
