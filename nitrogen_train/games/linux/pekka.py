"""Pekka Kana 2: a rooster runs and jumps to the exit sign."""

import struct
from pathlib import Path

from nitrogen_train.actions import Controls
from nitrogen_train.games.linux.pekka_map import (
    COLUMNS,
    FALLING,
    GROUND,
    RISING,
    ROWS,
    TILE,
    Place,
    Ways,
    read_ways,
)
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

_BUILDS = {
    # Debian 12, pekka-kana-2 1.2.7-1
    "d06208b64dfa6338436eb18189078d0c7c96d505": {
        "position": 0x52728,
        "energy": 0x52758,
        "map": 0xB0060,
        "walls": 156 + ROWS * COLUMNS,
        "characters": 0x52700,
    }
}
_CHARACTER = struct.Struct("<ii Q 24x 4d 16x i 92x")
"""Whether it is there, whether it is the player, its kind, place, speed, and energy."""
_MAX_CHARACTERS = 300
_IS_ENEMY, _DAMAGE = 1816, 1824
"""Where a kind says whether it is an enemy, and how much it hurts."""
_HALF_HEIGHT = 28
_HALF_FEET = 10
_NEAR_ENEMY = 90
"""The expert jumps over an enemy that is so near ahead, in pixels."""
_LOOK_AHEAD_TILES = 8
_AIM_TICKS = 14.0
"""The speed to have is the way to go by this."""


class Pekka(NativeGame):
    """A side-scrolling platformer: the D-pad runs, A jumps, higher if it is held."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Measure the way to the exit."""
        self._read = GameMemory(self.process, builds=_BUILDS)
        self.memory["goals"] = ()
        self.memory["goals"] = self._ways().choose_goals(self._place())
        distance = self._ways().distance(self._place()) or 1
        self.memory.update({"start": distance, "nearest": distance})

    def read_progress(self) -> GameProgress:
        """Read how near the exit was; arriving and dying end the episode."""
        distance = self._ways().distance(self._place())
        if distance is not None:
            self.memory["nearest"] = min(self.memory["nearest"], distance)
        nearest, start = self.memory["nearest"], self.memory["start"]
        energy = self._read.read("<i", self._read.known["energy"])[0]
        return GameProgress(score=100 * (1 - nearest / start), is_over=energy <= 0 or nearest == 0)

    def expert(self) -> Controls:
        """Steer along the shortest way over the tiles, and jump where it goes up or over a gap."""
        x, _, speed, _ = self._motion()
        ways, place = self._ways(), self._place()
        way = ways.follow(place, _LOOK_AHEAD_TILES)
        if not way:
            return {"SOUTH": True}
        aim = self._aim(place, way)
        to_go = (aim + 0.5) * TILE - x
        wanted = max(-3.0, min(3.0, to_go / _AIM_TICKS))
        ahead = way[: 2 if place[2] == GROUND else 4]
        jumps = any(row < place[1] for _, row, _ in ahead)
        side = 1 if to_go > 0 else -1
        jumps = jumps or (place[2] != FALLING and self._meets_enemy(side))
        return {
            "DPAD_LEFT": wanted < speed - 0.1 and wanted < 1.0,
            "DPAD_RIGHT": wanted > speed + 0.1 and wanted > -1.0,
            "SOUTH": jumps,
        }

    def _aim(self, place: Place, way: list[Place]) -> int:
        """Choose the column to go to: the farthest on the way before it turns back."""
        column = place[0]
        side = 0
        for each, _, _ in way:
            if side and (each - column) * side < 0:
                break
            side = side or each - column
            column = each
        return column

    def _motion(self) -> tuple[float, float, float, float]:
        x, y, a, b = self._read.read("<4d", self._read.known["position"])
        return x, y, a, b

    def _meets_enemy(self, side: int) -> bool:
        """Say whether something that hurts is near ahead."""
        x, y, _, _ = self._motion()
        size = _CHARACTER.size * _MAX_CHARACTERS
        data = self._read.read(f"{size}s", self._read.known["characters"])[0]
        for is_there, is_player, kind, its_x, its_y, _, _, energy in _CHARACTER.iter_unpack(data):
            if not is_there or is_player or not kind or energy <= 0:
                continue
            if not 0 < (its_x - x) * side < _NEAR_ENEMY or abs(its_y - y) > 2 * TILE:
                continue
            if (
                self._read.read_at("<?", kind + _IS_ENEMY)[0]
                and self._read.read_at("<i", kind + _DAMAGE)[0] > 0
            ):
                return True
        return False

    def _place(self) -> Place:
        x, y, _, climb = self._motion()
        ways = self._ways()
        column, row = int(x // TILE), int((y + _HALF_HEIGHT - 1) // TILE)
        if not ways.has_room(column, row):
            row = next((r for r in (row - 1, row + 1) if ways.has_room(column, r)), row)
        if climb < 0:
            return column, row, RISING
        # It may stand on an edge, with its middle over the gap.
        feet = (column, int((x - _HALF_FEET) // TILE), int((x + _HALF_FEET) // TILE))
        for each in feet if climb == 0 else feet[:1]:
            if ways.bears(each, row) and ways.has_room(each, row):
                return each, row, GROUND
        return column, row, FALLING

    def _ways(self) -> Ways:
        """Read the walls: locks and switches change them."""
        start = self._read.read("<Q", self._read.known["map"])[0] + self._read.known["walls"]
        return read_ways(self._read.read_at(f"{ROWS * COLUMNS}s", start)[0], self.memory["goals"])
