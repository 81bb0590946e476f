"""Mr.Boom: four bombermen in a maze of bricks, three of them the game's own bots.

The state of the match is read in the game's memory.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import NativeSpec, read_spec

Cell = tuple[int, int]
"""Column and row in the maze."""

BUILDS = {"e49c1578c9e1a2c6a93db767496a22ad41c7b4ed": 0x206543}
"""Debian 12's mrboom 5.2, and where its maze begins; all else is told from there."""
_NUM_PLAYERS = 4
_WIDTH, _HEIGHT, _STRIDE = 19, 13, 32
_ITEMS = _STRIDE * _HEIGHT
"""What lies in a cell; the walls and bricks come before it."""
_LIVES, _BAGS, _X, _Y = 2240, 2573, 2733, 2749
_BAG_SIZE = 20
_FIRST_BAG = 97328
"""A bomb names the bag it came from so, for player 0."""
_BOMBS, _MAX_BOMBS = 10145, 247
_BOMB = struct.Struct("<IIIHH8x")
_SIZE = _BOMBS + _MAX_BOMBS * _BOMB.size

_BRICK = 2
_FLAMES = range(5, 54)
_BONUSES = range(54, 194)
_GOOD_BONUSES = (range(54, 74), range(84, 104), range(124, 134))
"""Bombs, flames, jacket, heart, skates; the others change what the controls do."""

_CELL_PX, _MIDDLE_PX = 16, 7
_FUSE_FRAMES = 210
_REMOTE_FUSE_FRAMES = 90
"""A bomb with a remote control goes off when its owner likes; so long there is to get away."""
_MARGIN_FRAMES = 12
_NEVER = 10_000
_DIRECTIONS: dict[str, Cell] = {
    "DPAD_LEFT": (-1, 0),
    "DPAD_RIGHT": (1, 0),
    "DPAD_UP": (0, -1),
    "DPAD_DOWN": (0, 1),
}
_POINTS_PER_OPPONENT = 10
_OPPONENT_VALUE = 2
"""The expert would rather blow up an opponent than one brick."""
_BONUS_VALUE = 2
_DISTANCE_COST = 3.0
"""Cells that a target may be farther for twice the value."""


@dataclass(frozen=True, kw_only=True)
class Bomb:
    """A bomb that is not off yet."""

    owner: int
    fuse: int
    """Frames until it goes off by itself."""
    cell: Cell
    reach: int


@dataclass(frozen=True, kw_only=True)
class Match:
    """The match at the end of a frame; the player is number 0."""

    walls: bytes
    items: bytes
    alive: tuple[bool, ...]
    x: int
    """Distance from the maze's left edge, a cell is 16 wide."""
    y: int
    opponents: frozenset[Cell]
    num_bombs: int
    """Bombs that the player may still lay."""
    reach: int
    bombs: tuple[Bomb, ...] = field(default=())

    @property
    def cell(self) -> Cell:
        """The player's cell."""
        return self.x // _CELL_PX, self.y // _CELL_PX

    def wall(self, cell: Cell) -> int:
        """Say what stands in a cell: 0 is nothing."""
        return self.walls[cell[0] + cell[1] * _STRIDE]

    def item(self, cell: Cell) -> int:
        """Say what lies in a cell."""
        return self.items[cell[0] + cell[1] * _STRIDE]

    def blast(self, cell: Cell, reach: int) -> Iterator[Cell]:
        """List the cells that a bomb's flames come to; a wall, a brick or a bonus ends them."""
        yield cell
        for dx, dy in _DIRECTIONS.values():
            for step in range(1, reach + 1):
                reached = cell[0] + dx * step, cell[1] + dy * step
                yield reached
                if self.wall(reached) or self.item(reached) in _BONUSES:
                    break


class MrBoom(NativeGame):
    """A bomberman among three bots: the D-pad walks, east lays a bomb."""

    native_spec: ClassVar[NativeSpec] = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the match in the game's memory."""
        self._memory = GameMemory(self.process, builds=BUILDS)
        self.memory["bricks"] = self.memory["num_out"] = 0
        self.memory["match"] = self._look()

    def _look(self) -> Match:
        (data,) = self._memory.read(f"{_SIZE}s", self._memory.known)
        return _parse(data)

    def read_progress(self) -> GameProgress:
        """Count the bricks that the player's bombs blew up, and the opponents it has outlived."""
        before: Match = self.memory["match"]
        match = self.memory["match"] = self._look()
        self.memory["bricks"] += len(_find_blown(before, match))
        if match.alive[0]:
            self.memory["num_out"] = match.alive[1:].count(False)
        num_out: int = self.memory["num_out"]
        return GameProgress(
            score=self.memory["bricks"] + _POINTS_PER_OPPONENT * num_out,
            is_over=not match.alive[0] or num_out == _NUM_PLAYERS - 1,
        )

    def expert(self) -> Controls:
        """Flee from what will burn; else bomb bricks and opponents where there is a way out."""
        match: Match = self.memory["match"]
        danger = _find_danger(match, match.bombs)
        ways = _find_ways(match, match.cell, danger)
        if danger.get(match.cell, _NEVER) < _NEVER:
            return _walk(match, _choose_refuge(ways, danger))
        if match.num_bombs and _value(match, match.cell) and _can_flee(match, match.cell):
            return {"EAST": True}
        return _walk(match, _choose_target(match, ways, danger))


def _parse(data: bytes) -> Match:
    alive = tuple(life == 1 for life in struct.unpack_from(f"<{_NUM_PLAYERS}I", data, _LIVES))
    xs = struct.unpack_from(f"<{_NUM_PLAYERS}H", data, _X)
    ys = struct.unpack_from(f"<{_NUM_PLAYERS}H", data, _Y)
    places = [(x + 3, y + 14) for x, y in zip(xs, ys, strict=True)]
    num_bombs, reach = struct.unpack_from("<II", data, _BAGS)
    bombs = (_BOMB.unpack_from(data, _BOMBS + _BOMB.size * n) for n in range(_MAX_BOMBS))
    return Match(
        walls=data[:_ITEMS],
        items=data[_ITEMS : 2 * _ITEMS],
        alive=alive,
        x=places[0][0],
        y=places[0][1],
        opponents=frozenset(
            (x // _CELL_PX, y // _CELL_PX)
            for (x, y), lives in zip(places[1:], alive[1:], strict=True)
            if lives
        ),
        num_bombs=num_bombs,
        reach=reach,
        bombs=tuple(
            Bomb(
                owner=(bag - _FIRST_BAG) // _BAG_SIZE,
                fuse=_REMOTE_FUSE_FRAMES if is_remote else fuse,
                cell=(place % _STRIDE, place // _STRIDE),
                reach=reach,
            )
            for bag, fuse, place, reach, is_remote in bombs
            if fuse and place < _ITEMS
        ),
    )


def _find_blown(before: Match, after: Match) -> set[Cell]:
    """Find the bricks that are gone where a bomb of the player's has gone off."""
    left = {(bomb.owner, bomb.cell) for bomb in after.bombs}
    return {
        cell
        for bomb in before.bombs
        if bomb.owner == 0 and (bomb.owner, bomb.cell) not in left
        for cell in before.blast(bomb.cell, bomb.reach)
        if before.wall(cell) == _BRICK != after.wall(cell)
    }


def _find_danger(match: Match, bombs: tuple[Bomb, ...]) -> dict[Cell, int]:
    """Say for each cell that will burn in how many frames it does."""
    danger = {
        (column, row): 0
        for row in range(_HEIGHT)
        for column in range(_WIDTH)
        if match.items[column + row * _STRIDE] in _FLAMES
    }
    for bomb in sorted(bombs, key=lambda each: each.fuse):
        # A bomb that another one reaches goes off with it.
        fuse = min(bomb.fuse, danger.get(bomb.cell, _NEVER))
        for cell in match.blast(bomb.cell, bomb.reach):
            danger[cell] = min(danger.get(cell, _NEVER), fuse)
    return danger


def _is_free(match: Match, cell: Cell, bombs: set[Cell]) -> bool:
    item = match.item(cell)
    is_bad = item in _BONUSES and not any(item in good for good in _GOOD_BONUSES)
    return not match.wall(cell) and cell not in bombs and not is_bad


def _find_ways(match: Match, start: Cell, danger: dict[Cell, int]) -> dict[Cell, tuple[int, Cell]]:
    """Find the cells that can be walked to unburnt: how many cells far, and the first one.

    Who stands safely walks through no cell that will burn.
    """
    bombs = {bomb.cell for bomb in match.bombs}
    is_fleeing = start in danger
    ways: dict[Cell, tuple[int, Cell]] = {start: (0, start)}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        distance, first = ways[cell]
        for dx, dy in _DIRECTIONS.values():
            near = cell[0] + dx, cell[1] + dy
            if near in ways or not _is_free(match, near, bombs):
                continue
            burns_in = danger.get(near, _NEVER)
            leaves_at = (distance + 2) * _CELL_PX + _MARGIN_FRAMES
            if burns_in < _NEVER and (not is_fleeing or burns_in < leaves_at):
                continue
            ways[near] = (distance + 1, near if distance == 0 else first)
            queue.append(near)
    return ways


def _choose_refuge(ways: dict[Cell, tuple[int, Cell]], danger: dict[Cell, int]) -> Cell:
    """Choose the first cell on the way to the nearest that will not burn."""
    safe = [way for cell, way in ways.items() if cell not in danger]
    if safe:
        return min(safe)[1]
    # None is in reach: the one that burns last.
    return max(ways.items(), key=lambda way: danger.get(way[0], _NEVER))[1][1]


def _can_flee(match: Match, cell: Cell) -> bool:
    """Say whether there is a way out for who lays a bomb in a cell."""
    laid = Bomb(owner=0, fuse=_FUSE_FRAMES, cell=cell, reach=match.reach)
    danger = _find_danger(match, (*match.bombs, laid))
    ways = _find_ways(match, cell, danger)
    return any(reached not in danger for reached in ways)


def _value(match: Match, cell: Cell) -> int:
    """Count what a bomb in a cell would blow up."""
    will_burn = {
        reached
        for bomb in match.bombs
        for reached in match.blast(bomb.cell, bomb.reach)
        if match.wall(reached) == _BRICK
    }
    blast = set(match.blast(cell, match.reach)) - will_burn
    num_bricks = sum(match.wall(reached) == _BRICK for reached in blast)
    return num_bricks + _OPPONENT_VALUE * len(match.opponents & blast)


def _choose_target(
    match: Match, ways: dict[Cell, tuple[int, Cell]], danger: dict[Cell, int]
) -> Cell:
    """Choose the first cell on the way to the bonus or the place for a bomb that is worth most."""

    def worth(cell: Cell) -> float:
        value = _BONUS_VALUE if match.item(cell) in _BONUSES else _value(match, cell)
        return value / (ways[cell][0] + _DISTANCE_COST)

    safe = [cell for cell in ways if cell not in danger]
    for cell in sorted(safe, key=worth, reverse=True):
        if worth(cell) > 0 and (match.item(cell) in _BONUSES or _can_flee(match, cell)):
            return ways[cell][1]
    return match.cell


def _walk(match: Match, cell: Cell) -> Controls:
    """Walk to the middle of a cell beside the player's, or of its own one."""
    dx = cell[0] * _CELL_PX + _MIDDLE_PX - match.x
    dy = cell[1] * _CELL_PX + _MIDDLE_PX - match.y
    # First to the middle of the lane.
    is_sideways = cell[0] != match.cell[0]
    if dx and (not dy or not is_sideways):
        return {"DPAD_RIGHT" if dx > 0 else "DPAD_LEFT": True}
    if dy:
        return {"DPAD_DOWN" if dy > 0 else "DPAD_UP": True}
    return {}
