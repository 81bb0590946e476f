"""SuperTux: run and jump to the end of a level."""

from pathlib import Path
from typing import Any

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import Frame
from nitrogen_train.games.linux.supertux_foresight import (
    HORIZON_ROWS,
    PRESS_S,
    TILE,
    Enemy,
    Outlook,
    Tux,
    TuxLevel,
    foresee,
    list_plans,
)
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.process import GameError
from nitrogen_train.games.native.spec import read_spec

GOAL_TILES = 100.0
_BUILDS = {"d84f5a277dadccdee4328a7694a838e20a63e618": 0x5F6E40}
"""Where a build keeps the pointer to the current sector: Debian 12's 0.6.3-2."""

# Places in the game's objects.
_OBJECTS = 0x10
_BOX = 0x88
_DYING, _WINNING, _ON_GROUND, _VELOCITY = 0x132, 0x133, 0x188, 0x22C
_TILESET, _TILES, _SOLID, _SIZE, _OFFSET = 0xA8, 0xB0, 0xC9, 0xD4, 0xE0
_TILE_KINDS, _ATTRIBUTES = 0x8, 0x30

_SOLID_OBJECT = 4
"""Group of what Tux can stand on."""
_IS_SOLID, _IS_PLATFORM, _IS_SLOPE, _HURTS = 0x1, 0x2, 0x10, 0x400
_SLOPES = {
    0x00: (32, 0), 0x02: (0, 32), 0x10: (16, 0), 0x12: (0, 16), 0x20: (32, 16), 0x22: (16, 32),
}  # fmt: skip
"""Height of the ground at the left and right edge, by what a tile says of its slope. The others are
steep, or hang from above: walls."""
_PLANS = list_plans()
_SIGHT = 22 * TILE
"""The expert looks so far ahead, about a screen."""
_ESCAPE_ROWS, _SAFE_ROWS = 10, 8
"""Tux needs so many rows to get out of the way of what would end his life, and such a place counts
as reached if it is so many rows ahead."""
_UNTOUCHABLE = {
    "Spiky", "SSpiky", "Jumpy", "Flame", "IceFlame", "GhostFlame", "Stalactite", "YetiStalactite",
    "IceCrusher", "Dart", "Plant", "Fish", "Ghost", "WillOWisp", "Root", "MoleRock", "Kugelblitz",
    "Snowman", "Crystallo", "LiveFire", "Igel", "Zeekling",
}  # fmt: skip
"""Enemies that hurt from above too."""
_FLYING = {
    "FlyingSnowBall", "Flame", "IceFlame", "GhostFlame", "Stalactite", "YetiStalactite", "Ghost",
    "WillOWisp", "Owl", "Zeekling", "Crystallo",
}  # fmt: skip
_BOUNCING = {"Jumpy": 600.0, "BouncingSnowball": 450.0}
_WALKING = {"SnowBall", "SmartBall", "BouncingSnowball", "FlyingSnowBall", "MrIceBlock", "MrBomb"}
_HARMLESS = {"Bomb", "Dispenser"}


class SuperTux(NativeGame):
    """SuperTux, a side-scrolling platformer: the d-pad runs, the south button jumps."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find Tux, and read the level.

        Raises:
            GameError: If it is another build of the game, or no Tux is there.
        """
        self._memory = GameMemory(self.process, builds=_BUILDS)
        self._classes: dict[int, str] = {}
        self._tiles = self._read_tiles()
        objects = self._list_objects()
        player = next((place for place, kind, _ in objects if kind == "Player"), None)
        if player is None:
            raise GameError("supertux: there is no Tux in the level")
        left, *_ = self._read("<4f", player + _BOX)
        self.memory.update({"player": player, "start": left, "farthest": left, "held_rows": 0})
        # Where the enemies were when they were last looked at, and before that, by rows left.
        self.memory.update({"seen": (0, {}), "seen_before": (0, {})})

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Hold a controller state for a row; the expert remembers how long a jump is held."""
        held_rows = self.memory.get("held_rows", 0)
        self.memory["held_rows"] = held_rows + 1 if action.get("SOUTH", False) else 0
        return super().step(action)

    def read_progress(self) -> GameProgress:
        """Read how far Tux has come."""
        player = self.memory["player"]
        left, *_ = self._read("<4f", player + _BOX)
        is_dying, is_winning = self._read("<BB", player + _DYING)
        if not is_dying:
            self.memory["farthest"] = max(self.memory["farthest"], left)
        tiles = (self.memory["farthest"] - self.memory["start"]) / TILE
        return GameProgress(
            score=tiles + GOAL_TILES * bool(is_winning), is_over=bool(is_dying or is_winning)
        )

    def _read(self, layout: str, address: int) -> tuple[Any, ...]:
        return self._memory.read_at(layout, address)

    def _list_objects(self) -> list[tuple[int, str, tuple[float, ...]]]:
        """List what is in the sector: place, class, and of what has a place its box and group."""
        (sector,) = self._memory.read("<Q", self._memory.known)
        first, end = self._read("<QQ", sector + _OBJECTS)
        places = self._read(f"<{(end - first) // 8}Q", first)
        listed = []
        for place in places:
            table, *box = self._read(f"<Q{_BOX - 8}x4fi", place)
            listed.append((place, self._name_class(table), tuple(box)))
        return listed

    def _name_class(self, table: int) -> str:
        """Read the name of a class, and with `BadGuy` that of those which derive from it."""
        if table not in self._classes:
            (info,) = self._read("<Q", table - 8)
            names = []
            # The chain of single inheritance, by the ABI's layout of type information.
            while info and len(names) < 6:
                (text,) = self._read("<Q", info + 8)
                name = self._read("<64s", text)[0].split(b"\0")[0].decode()
                names.append(name.lstrip("0123456789"))
                if names[-1] in ("BadGuy", "GameObject", "MovingObject"):
                    break
                (base,) = self._read("<Q", info + 16)
                # With several bases their number stands there, and the first of them behind it.
                info = base if base >> 40 else self._read("<Q", info + 24)[0]
            is_enemy = "BadGuy" in names
            self._classes[table] = f"BadGuy {names[0]}" if is_enemy else names[0]
        return self._classes[table]

    def expert(self) -> Controls:
        """Run to the right; jump or wait where else a pit, a wall or an enemy would end the run."""
        level, tux, enemies = self._see()
        outlook = foresee(level, tux, enemies, _PLANS, care=1.0)
        if (outlook.num_rows < _SAFE_ROWS).all():
            # It is close: see what may just do.
            outlook = foresee(level, tux, enemies, _PLANS, care=0.0)
        best = int(np.argmax(_rate(outlook, is_falling=tux.vy > 0 and not tux.is_on_ground)))
        direction = int(outlook.directions[best])
        return {
            "DPAD_LEFT": direction < 0,
            "DPAD_RIGHT": direction > 0,
            "SOUTH": bool(outlook.jumps[best]),
        }

    def _see(self) -> tuple[TuxLevel, Tux, list[Enemy]]:
        x, y, width, height = self._read("<4f", self.memory["player"] + _BOX)
        vx, vy = self._read("<2f", self.memory["player"] + _VELOCITY)
        (is_on_ground,) = self._read("<B", self.memory["player"] + _ON_GROUND)
        held_rows = self.memory["held_rows"]
        tux = Tux(
            x=x, y=y, width=width, height=height, vx=vx, vy=vy,
            is_on_ground=bool(is_on_ground), is_jump_held=held_rows > 0,
            press_s=PRESS_S - held_rows / self.info.fps if held_rows and vy >= 0 else 0.0,
        )  # fmt: skip
        solid = self._tiles.solid.copy()
        enemies = []
        now = self._rows_left
        if self.memory["seen"][0] != now:
            self.memory["seen_before"], self.memory["seen"] = self.memory["seen"], (now, {})
        rows_before, places = self.memory["seen_before"]
        age_s = max(rows_before - now, 1) / self.info.fps
        for place, kind, (left, top, wide, high, group) in self._list_objects():
            if not abs(left - x) < _SIGHT:
                continue
            if kind.startswith("BadGuy") and group:
                self.memory["seen"][1][place] = left, top
                before = places.get(place, (left, top))
                name = kind.split()[1]
                vx, vy = (left - before[0]) / age_s, (top - before[1]) / age_s
                # What lies still of these was jumped on before, and does no harm.
                if name in _HARMLESS or (place in places and name in _WALKING and vx == 0):
                    continue
                enemies.append(
                    Enemy(
                        x=left,
                        y=top,
                        width=wide,
                        height=high,
                        vx=vx,
                        vy=vy,
                        can_be_jumped_on=name not in _UNTOUCHABLE,
                        is_flying=name in _FLYING,
                        bounce_speed=_BOUNCING.get(name, 0.0),
                    )
                )
            elif group == _SOLID_OBJECT:
                first, last = int((left + 4) // TILE), int((left + wide - 4) // TILE)
                upper, lower = int((top + 4) // TILE), int((top + high - 4) // TILE)
                solid[max(upper, 0) : lower + 1, max(first, 0) : last + 1] = True
        tiles = self._tiles
        level = TuxLevel(solid=solid, platform=tiles.platform, hurts=tiles.hurts, rise=tiles.rise)
        return level, tux, enemies

    def _read_tiles(self) -> TuxLevel:
        """Read the tiles of the level, which stay as they are."""
        maps = [place for place, kind, _ in self._list_objects() if kind == "TileMap"]
        (tileset,) = self._read("<Q", maps[0] + _TILESET)
        first, end = self._read("<QQ", tileset + _TILE_KINDS)
        kinds = self._read(f"<{(end - first) // 8}Q", first)
        size = max((self._read("<ii", place + _SIZE) for place in maps), key=lambda s: s[0])
        solid, platform, hurts = (np.zeros(size[::-1], bool) for _ in range(3))
        rise = np.full((*size[::-1], 2), np.nan)
        for place in maps:
            (is_solid,) = self._read("<B", place + _SOLID)
            if not is_solid:
                continue
            width, height = self._read("<ii", place + _SIZE)
            left, top = (round(value / TILE) for value in self._read("<2f", place + _OFFSET))
            (data,) = self._read("<Q", place + _TILES)
            tiles = np.array(self._read(f"<{width * height}I", data)).reshape(height, width)
            for number in np.unique(tiles):
                if not kinds[number]:
                    continue
                flags, shape = self._read("<II", kinds[number] + _ATTRIBUTES)
                rows, columns = np.nonzero(tiles == number)
                rows, columns = rows + top, columns + left
                inside = (rows >= 0) & (rows < size[1]) & (columns >= 0) & (columns < size[0])
                where = rows[inside], columns[inside]
                if flags & _HURTS:
                    hurts[where] = True
                elif flags & _IS_PLATFORM:
                    platform[where] = True
                elif flags & _IS_SLOPE and shape in _SLOPES:
                    rise[where] = _SLOPES[shape]
                elif flags & _IS_SOLID:
                    solid[where] = True
        return TuxLevel(solid=solid, platform=platform, hurts=hurts, rise=rise)


def _rate(outlook: Outlook, *, is_falling: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Prefer to live, or to stand safely for a while, then to come far, then the simpler plan."""
    num_plans = outlook.x.shape[1]
    # Where a life ends later, what counts is where Tux can still choose anew: on the ground.
    seen = np.where(
        outlook.num_rows >= HORIZON_ROWS, HORIZON_ROWS - 1, outlook.num_rows - _ESCAPE_ROWS
    )
    row = np.clip(seen, 0, None), np.arange(num_plans)
    is_on_ground, lives = outlook.is_on_ground[row], outlook.num_rows >= HORIZON_ROWS
    is_safe = lives | (is_on_ground & (seen >= _SAFE_ROWS))
    value = outlook.x[row] - np.where(lives, 0.0, 100.0) - np.where(is_on_ground, 0.0, 60.0)
    # What is pressed in the air, on the way down, does nothing yet.
    value -= np.where(outlook.jumps & is_falling, 2.0, 0.0)
    value -= np.where(is_safe, 0.0, 20_000 - 300 * outlook.num_rows)
    return value - 0.01 * np.arange(num_plans)
