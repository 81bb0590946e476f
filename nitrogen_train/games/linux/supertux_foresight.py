"""Foresee what a few ways to go on would lead to in SuperTux: run, jump, land, be hurt, fall.

    level around Tux, enemies ─► many plans side by side, 2 s each ─► who lives, how far each comes

The rules of motion are the game's, simplified: boxes against tiles, enemies that keep their speed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

TILE = 32
ROWS_PER_SECOND = 15
STEPS_PER_ROW = 2
HORIZON_ROWS = 28
_DT = 1 / (ROWS_PER_SECOND * STEPS_PER_ROW)

_GRAVITY, _EARLY_APEX = 1000.0, 3.0
_JUMP_SPEED, _RUN_JUMP_SPEED, _BOUNCE_SPEED, _HIGH_BOUNCE_SPEED = 520.0, 580.0, 300.0, 450.0
_START_SPEED, _WALK_SPEED, _RUN_SPEED = 100.0, 230.0, 320.0
_WALK_GAIN, _RUN_GAIN, _TURN_GAIN, _FRICTION = 300.0, 400.0, 600.0, 450.0
PRESS_S = 0.25
"""A jump's press counts for so long before the landing."""
_FOOTING = 5.0
"""Tux stands if he is at least so many pixels on ground: less would do, but is easily missed."""
_LEDGE = 5.0
"""In the air he must be so many pixels above a ledge to get on it."""
_SNAP = 10.0
"""Tux follows ground that falls away by so many pixels."""
_WINDOW = (18, 28)
"""Columns of tiles behind and ahead that matter in the time."""
_ABOVE, _BELOW = 24, 6
"""Rows of empty tiles that are put above and below a level."""
_FEET = np.array([-TILE / 2, -TILE / 2, 0.0, 0.0])[:, None]
"""Where ground is looked for, beside and below the feet."""
_BERTH = 5.0
"""Tux keeps so far from an enemy's sides."""

Grid = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class TuxLevel:
    """The tiles of a level, by row and column."""

    solid: Grid
    platform: Grid
    """Solid for what comes from above only."""
    hurts: Grid
    rise: Grid
    """Height of a slope's ground above the tile's lower edge, at its left and right edge,
    (y, x, 2); NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Tux:
    """Where Tux is and how he moves, in pixels and seconds, y down."""

    x: float
    y: float
    width: float
    height: float
    vx: float
    vy: float
    is_on_ground: bool
    is_jump_held: bool
    press_s: float
    """Time in which a press of before still makes him jump when he lands."""


@dataclass(frozen=True, kw_only=True)
class Enemy:
    """What hurts on touch."""

    x: float
    y: float
    width: float
    height: float
    vx: float
    vy: float
    can_be_jumped_on: bool
    is_flying: bool = False
    """It keeps its height."""
    bounce_speed: float = 0.0
    """Speed with which it leaves the ground again whenever it comes down."""


@dataclass(frozen=True, kw_only=True)
class TuxPlan:
    """A way to go on: maybe wait or go back, then run to the right with one or two jumps."""

    start: int = 1
    """Direction of the first rows."""
    start_rows: int = 0
    jump_row: int = HORIZON_ROWS
    """The row of the jump, after the first rows."""
    hold_rows: int = 0
    air: int = 1
    """Direction from some rows after the jump until the landing."""
    air_rows: int = HORIZON_ROWS
    """Rows of the jump in which the direction is still right."""
    next_jump: int = HORIZON_ROWS
    """The row of the second jump, after the landing of the first one."""


RUN = TuxPlan()


def list_plans() -> list[TuxPlan]:
    """List the plans that are compared, the simplest first."""
    plans = [RUN]
    for jump in (0, 1, 2, 4, 7, 11):
        for hold in (1, 5, 10):
            for air, air_rows in ((1, HORIZON_ROWS), (0, 3), (-1, 4)):
                plans += [
                    TuxPlan(
                        jump_row=jump, hold_rows=hold, air=air, air_rows=air_rows, next_jump=again
                    )
                    for again in (HORIZON_ROWS, 0, 4)
                ]
    for start, rows in ((0, 4), (-1, 5), (-1, 12)):
        plans.append(TuxPlan(start=start, start_rows=rows))
        plans += [
            TuxPlan(start=start, start_rows=rows, jump_row=jump, hold_rows=10, next_jump=again)
            for jump in (0, 3, 7)
            for again in (HORIZON_ROWS, 0)
        ]
    for jump in (0, 3):
        plans.append(TuxPlan(start=0, start_rows=HORIZON_ROWS, jump_row=jump, hold_rows=10))
    plans.append(TuxPlan(start=0, start_rows=HORIZON_ROWS))
    return plans


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What comes of each plan."""

    x: Grid
    """Where Tux is after each row, (row, plan)."""
    is_on_ground: Grid
    """Whether he stands there, (row, plan)."""
    num_rows: Grid
    """Rows that he lives; the horizon if he does."""
    directions: Grid = field(repr=False)
    """Of the first row."""
    jumps: Grid = field(repr=False)


def foresee(
    level: TuxLevel, tux: Tux, enemies: list[Enemy], plans: list[TuxPlan], *, care: float
) -> Outlook:
    """Follow each plan to the horizon.

    Args:
        level: What is solid and what hurts, now.
        tux: How he moves now.
        enemies: Those that are near.
        plans: What is compared.
        care: 1 counts a near miss as a hit, 0 leaves no margin.
    """
    return _Run(level, tux, enemies, plans, care).follow()


class _Run:
    """The state of all plans, side by side."""

    def __init__(
        self,
        level: TuxLevel,
        tux: Tux,
        enemies: list[Enemy],
        plans: list[TuxPlan],
        care: float,
    ) -> None:
        n = len(plans)
        self._level, self._tux, self._care = level, tux, care
        self._x, self._y = np.full(n, tux.x), np.full(n, tux.y)
        self._vx, self._vy = np.full(n, tux.vx), np.full(n, tux.vy)
        self._is_on_ground = np.full(n, tux.is_on_ground)
        self._was_held = np.full(n, tux.is_jump_held)
        self._press_s = np.full(n, tux.press_s)
        self._is_cut = np.full(n, tux.vy < 0 and not tux.is_jump_held)
        self._alive = np.ones(n, bool)
        # Who is in the air has jumped, and may jump again after the landing.
        self._jumped_row = np.full(n, -1 if tux.is_on_ground else 0)
        self._landed_row = np.full(n, -1)
        self._jumped_again_row = np.full(n, -1)
        self._plans = {
            name: np.array([getattr(plan, name) for plan in plans])
            for name in TuxPlan.__dataclass_fields__
        }
        self._enemies = np.array([(e.width, e.height, e.can_be_jumped_on) for e in enemies])
        self._enemy_paths = np.array([_foresee_enemy(level, enemy) for enemy in enemies])
        self._first_column = int(tux.x // TILE) - _WINDOW[0]
        self._solid, self._platform, self._hurts = (
            self._cut(grid, 0).ravel() for grid in (level.solid, level.platform, level.hurts)
        )
        rise = self._cut(level.rise, np.nan).reshape(-1, 2)
        self._rise_left, self._rise_right = rise.T
        self._has_hurting_tiles = self._hurts.any()
        self._has_slopes = not np.isnan(rise).all()
        middle = (tux.height / 2,) if tux.height > TILE else ()
        self._depths = np.array([3.0, *middle, tux.height - 2.0])[:, None]
        self._edges = np.array([_FOOTING, tux.width - _FOOTING] * 2)[:, None]
        self._row = 0
        self._is_beaten = np.zeros((n, len(enemies)), bool)

    def follow(self) -> Outlook:
        n = len(self._x)
        x, is_on_ground = np.empty((HORIZON_ROWS, n)), np.zeros((HORIZON_ROWS, n), bool)
        num_rows = np.zeros(n, int)
        directions, jumps = self._choose(0)
        for row in range(HORIZON_ROWS):
            direction, is_held = self._choose(row) if row else (directions, jumps)
            for step in range(STEPS_PER_ROW):
                self._move(direction, is_held)
                self._meet_enemies(row * STEPS_PER_ROW + step, is_held)
            x[row], is_on_ground[row] = self._x, self._is_on_ground
            num_rows += self._alive
        return Outlook(
            x=x, is_on_ground=is_on_ground, num_rows=num_rows, directions=directions, jumps=jumps
        )

    def _choose(self, row: int) -> tuple[Grid, Grid]:
        plans = self._plans
        since = row - plans["start_rows"]
        jumped = self._jumped_row >= 0
        direction = np.where(since < 0, plans["start"], 1)
        is_in_air = jumped & (self._landed_row < 0)
        in_jump = row - self._jumped_row
        direction = np.where(is_in_air & (in_jump >= plans["air_rows"]), plans["air"], direction)
        stands_and_waits = plans["start_rows"] >= HORIZON_ROWS
        jump_since = np.where(stands_and_waits, row, since) - plans["jump_row"]
        is_first = (jump_since >= 0) & (jump_since < plans["hold_rows"])
        landed = (self._landed_row >= 0) & (self._jumped_again_row < 0)
        starts_again = landed & (row - self._landed_row >= plans["next_jump"])
        self._jumped_again_row = np.where(starts_again, row, self._jumped_again_row)
        is_second = (self._jumped_again_row >= 0) & (row - self._jumped_again_row < 9)
        is_held = is_first | is_second
        self._press_s = np.where(is_held & ~self._was_held, PRESS_S, self._press_s)
        self._was_held = is_held
        self._row = row
        return direction, is_held

    def _jump(self, is_held: Grid) -> None:
        """Leave the ground; a press counts a little before the landing too."""
        starts = is_held & (self._press_s > 0) & self._is_on_ground
        speed = np.where(np.abs(self._vx) > _WALK_SPEED, _RUN_JUMP_SPEED, _JUMP_SPEED)
        self._vy = np.where(starts, -speed, self._vy)
        self._is_on_ground &= ~starts
        self._jumped_row = np.where(starts & (self._jumped_row < 0), self._row, self._jumped_row)
        self._press_s = np.where(starts, 0.0, self._press_s - _DT)
        self._is_cut &= ~starts

    def _move(self, direction: Grid, is_held: Grid) -> None:
        self._jump(is_held)
        vx, vy = self._vx, self._vy
        speed = np.abs(vx)
        is_pushed = direction != 0
        turns = vx * direction < 0
        gain = np.where(speed < _WALK_SPEED, _WALK_GAIN, _RUN_GAIN)
        gain = np.where(turns, _TURN_GAIN, gain)
        vx = np.where(is_pushed & (speed < _START_SPEED), _START_SPEED * direction, vx)
        slowed = np.sign(vx) * np.maximum(speed - _FRICTION * _DT, 0)
        slowed = np.where(self._is_on_ground & (speed < _START_SPEED), 0.0, slowed)
        vx = np.where(is_pushed, vx + direction * gain * _DT, slowed)
        self._vx = np.clip(vx, -_RUN_SPEED, _RUN_SPEED) * self._alive
        # Who lets go of the button while he rises does so for good.
        self._is_cut = (self._is_cut | ~is_held) & (vy < 0)
        factor = np.where(self._is_cut, _EARLY_APEX, 1.0)
        self._vy = np.where(self._alive, vy + _GRAVITY * factor * _DT, 0.0)
        self._go_sideways()
        self._go_up_or_down((vy + self._vy) / 2 * _DT)
        if self._has_hurting_tiles:
            self._be_hurt_by_tiles()

    def _cut(self, grid: Grid, outside: float) -> Grid:
        """Cut the window out of a grid; what lies outside of the level is empty."""
        height, width = grid.shape[:2]
        window = np.full(
            (_ABOVE + height + _BELOW, sum(_WINDOW), *grid.shape[2:]), outside, dtype=grid.dtype
        )
        first, last = max(0, self._first_column), min(width, self._first_column + sum(_WINDOW))
        columns = slice(first - self._first_column, last - self._first_column)
        window[_ABOVE : _ABOVE + height, columns] = grid[:, first:last]
        return window

    def _find(self, x: Grid, y: Grid) -> Grid:
        """Find the tile at a place, as its number in the flattened window."""
        column = np.floor(x * (1 / TILE)).astype(np.int64) - self._first_column
        row = np.floor(y * (1 / TILE)).astype(np.int64) + _ABOVE
        return row * sum(_WINDOW) + column

    def _go_sideways(self) -> None:
        width = self._tux.width
        x = self._x + self._vx * _DT
        right = self._vx > 0
        edge = np.where(right, x + width, x)
        is_blocked = self._solid[self._find(edge, self._y + self._depths)].any(axis=0) | (x < 0)
        # A ledge that is only just reached is as good as missed.
        foot = self._y + self._tux.height + _LEDGE * self._care
        is_ledge = self._solid[self._find(edge, foot)] & (self._vy > 0)
        is_blocked |= is_ledge & ~self._solid[self._find(x + width / 2, foot)]
        wall = np.floor(edge * (1 / TILE)) * TILE
        against = np.where(right, wall - width - 0.1, wall + TILE + 0.1)
        is_blocked &= self._vx != 0
        self._x = np.where(is_blocked, np.where(np.abs(against - x) < TILE, against, self._x), x)
        self._vx = np.where(is_blocked, 0.0, self._vx)

    def _go_up_or_down(self, distance: Grid) -> None:
        width, height = self._tux.width, self._tux.height
        y = self._y + distance
        foot, before = y + height, self._y + height
        is_falling = self._vy >= 0
        reach = np.where(self._is_on_ground & is_falling, _SNAP, 0.0)
        edge, probe = self._x + self._edges, foot + reach + _FEET
        top = np.floor(probe * (1 / TILE)) * TILE
        place = self._find(edge, probe)
        is_ground = self._solid[place] & (before <= top + 3)
        is_ground |= self._platform[place] & (before <= top + 3)
        grounds = np.where(is_ground, top, np.inf)
        if self._has_slopes:
            share = edge / TILE - np.floor(edge / TILE)
            rise = self._rise_left[place] * (1 - share) + self._rise_right[place] * share
            surface = top + TILE - rise
            # NaN, where no slope is, is never below anything.
            grounds = np.where(before <= surface + 14, np.minimum(grounds, surface), grounds)
        ground = grounds.min(axis=0)
        lands = is_falling & (foot + reach >= ground)
        y = np.where(lands, ground - height, y)
        vy = np.where(lands, 0.0, self._vy)
        bumps = self._solid[self._find(self._x + np.array([[3.0], [width - 3]]), y)].any(axis=0)
        bumps &= ~is_falling
        y = np.where(bumps, (np.floor(y / TILE) + 1) * TILE, y)
        self._vy = np.where(bumps, 0.0, vy)
        lands_first = lands & (self._jumped_row >= 0) & (self._landed_row < 0)
        lands_first &= (self._jumped_row < self._row) | (self._vy > 0)
        self._landed_row = np.where(lands_first, self._row, self._landed_row)
        self._is_on_ground = lands
        self._y = y
        self._alive &= y < self._level.solid.shape[0] * TILE

    def _be_hurt_by_tiles(self) -> None:
        width, height = self._tux.width, self._tux.height
        for x in (self._x + 5, self._x + width - 5):
            for depth in (4.0, height / 2, height - 3.0):
                self._alive &= ~self._hurts[self._find(x, self._y + depth)]

    def _meet_enemies(self, step: int, is_held: Grid) -> None:
        if not len(self._enemies):
            return
        width, height, can_be_jumped_on = self._enemies.T
        x, y = self._enemy_paths[:, step].T
        own_x, own_y, vy = self._x[:, None], self._y[:, None], self._vy[:, None]
        # The lowest place of the feet in this step: what rises has just been there.
        foot, berth = own_y + self._tux.height, _BERTH * self._care
        touches = (
            (own_x < x + width + berth)
            & (own_x + self._tux.width > x - berth)
            & (own_y < y + height)
            & (foot + np.maximum(-vy, 0) * _DT * self._care > y)
            & ~self._is_beaten
            & self._alive[:, None]
        )
        from_above = (vy > 30) & (foot - vy * _DT < y + 10)
        beats = touches & from_above & (can_be_jumped_on > 0)
        self._is_beaten |= beats
        self._alive &= ~(touches & ~beats).any(axis=1)
        bounces = beats.any(axis=1)
        speed = np.where(is_held, _HIGH_BOUNCE_SPEED, _BOUNCE_SPEED)
        self._vy = np.where(bounces, -speed, self._vy)
        self._is_on_ground &= ~bounces


def _foresee_enemy(level: TuxLevel, enemy: Enemy) -> list[tuple[float, float]]:
    """Follow an enemy that walks, bounces or flies; it turns at walls."""
    x, y, vx, vy = enemy.x, enemy.y, enemy.vx, enemy.vy
    path = []
    for _ in range(HORIZON_ROWS * STEPS_PER_ROW):
        front = x + enemy.width + 2 if vx > 0 else x - 2
        if vx and _is_tile(level.solid, front, y + enemy.height / 2):
            vx = -vx
        x += vx * _DT
        if not enemy.is_flying:
            vy += _GRAVITY * _DT
            y += vy * _DT
            foot = y + enemy.height
            top = foot // TILE * TILE
            middle = x + enemy.width / 2
            if (
                vy >= 0
                and foot - top < TILE * 0.9
                and (_is_tile(level.solid, middle, foot) or _is_tile(level.platform, middle, foot))
            ):
                y, vy = top - enemy.height, -enemy.bounce_speed
            elif vy >= 0 and _has_slope(level, middle, foot):
                y, vy = y - vy * _DT, 0.0
        path.append((x, y))
    return path


def _is_tile(grid: Grid, x: float, y: float) -> bool:
    row, column = int(y // TILE), int(x // TILE)
    return 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1] and bool(grid[row, column])


def _has_slope(level: TuxLevel, x: float, y: float) -> bool:
    row, column = int(y // TILE), int(x // TILE)
    height, width = level.solid.shape
    return 0 <= row < height and 0 <= column < width and not np.isnan(level.rise[row, column, 0])
