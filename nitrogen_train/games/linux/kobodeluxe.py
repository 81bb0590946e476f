"""Kobo Deluxe: fly a ship that never stops, and shoot bases to pieces."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

_BUILDS = {
    # kobodeluxe 0.5.1-10, amd64
    "2d05c14e370b1d06c9f612d5c63c93145ca11d36": {
        "score": 0xB1E4C,
        "is_alive": 0xB23A4,
        "ship": 0x1E3FC0,
        "objects": 0x81D48,
        "map": 0x1DF024,
    }
}
_NUM_OBJECTS = 400
_OBJECT = np.dtype(
    {
        "names": ["state", "x", "y", "vx", "vy", "reach"],
        "formats": ["<i4"] * 6,
        "offsets": [0, 16, 20, 24, 28, 72],
        "itemsize": 96,
    }
)
"""One thing that flies or stands: place and speed in 1/256 pixel, and how far around it hurts."""
_MOVING = 2
_WIDTH, _HEIGHT, _TILE = 1024, 2048, 16
_IS_FREE = 0x40
"""Bit of a tile that is no part of a base."""

_DIRECTIONS = ((0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1))
_SPEED, _DIAGONAL_SPEED = 3, 2
"""Pixels per tick, along each axis."""
_AHEAD = 30
"""Ticks that the expert looks ahead."""
_SHIP_REACH = 7
_SHOT_RANGE = 105
_HALF_LANE = 5


class KoboDeluxe(NativeGame):
    """Kobo Deluxe: the D-pad turns the ship, which never stops; A fires ahead and behind."""

    native_spec: ClassVar = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the game's numbers."""
        self._numbers = GameMemory(self.process, builds=_BUILDS)
        self.memory["direction"] = 0

    def read_progress(self) -> GameProgress:
        """Read the points, and whether the ship still flies."""
        places = self._numbers.known
        (score,) = self._numbers.read("<i", places["score"])
        (is_alive,) = self._numbers.read("<i", places["is_alive"])
        return GameProgress(score=float(score), is_over=not is_alive)

    def expert(self) -> Controls:
        """Turn where the next second is safe and a part of a base comes into the line of fire."""
        surroundings = self._look_around()
        kept = self.memory["direction"]
        values = [
            _value_direction(surroundings, direction) + (3.0 if place == kept else 0.0)
            for place, direction in enumerate(_DIRECTIONS)
        ]
        best = self.memory["direction"] = int(np.argmax(values))
        right, down = _DIRECTIONS[best]
        along, aside = _turn(surroundings, _DIRECTIONS[best])
        return {
            "DPAD_UP": down < 0,
            "DPAD_DOWN": down > 0,
            "DPAD_LEFT": right < 0,
            "DPAD_RIGHT": right > 0,
            "SOUTH": bool(((np.abs(along) < 120) & (aside < 14)).any()),
        }

    def _look_around(self) -> dict[str, Any]:
        places = self._numbers.known
        y, x = self._numbers.read("<ii", places["ship"])
        (tiles,) = self._numbers.read("<16384s", places["map"])
        is_base = (np.frombuffer(tiles, np.uint16).reshape(128, 64) & _IS_FREE) == 0
        (raw,) = self._numbers.read(f"<{_NUM_OBJECTS * _OBJECT.itemsize}s", places["objects"])
        things = np.frombuffer(raw, _OBJECT)
        things = things[(things["state"] == _MOVING) & (things["reach"] >= 0)]
        at_x, at_y = things["x"] / 256, things["y"] / 256
        tile_x, tile_y = (at_x // _TILE).astype(int) % 64, (at_y // _TILE).astype(int) % 128
        return {
            "x": x,
            "y": y,
            "is_base": is_base,
            "dx": (at_x - x + _WIDTH / 2) % _WIDTH - _WIDTH / 2,
            "dy": (at_y - y + _HEIGHT / 2) % _HEIGHT - _HEIGHT / 2,
            "vx": things["vx"] / 256,
            "vy": things["vy"] / 256,
            "reach": things["reach"],
            "is_target": is_base[tile_y, tile_x],
        }


def _turn(surroundings: dict[str, Any], direction: tuple[int, int]) -> tuple[Any, Any]:
    """Say how far ahead of the ship everything is, and how far aside."""
    right, down = direction
    length = np.hypot(right, down)
    dx, dy = surroundings["dx"], surroundings["dy"]
    return (dx * right + dy * down) / length, np.abs(dx * down - dy * right) / length


def _value_direction(surroundings: dict[str, Any], direction: tuple[int, int]) -> float:
    right, down = direction
    speed = _DIAGONAL_SPEED if right and down else _SPEED
    ticks = np.arange(1, _AHEAD + 1)[:, None]
    path_x, path_y = right * speed * ticks, down * speed * ticks

    dx, dy = surroundings["dx"], surroundings["dy"]
    near = np.hypot(dx, dy) < 260
    gap = np.maximum(
        np.abs(dx[near] + surroundings["vx"][near] * ticks - path_x),
        np.abs(dy[near] + surroundings["vy"][near] * ticks - path_y),
    )
    hit = _first((gap < surroundings["reach"][near] + _SHIP_REACH).any(1))
    crash = np.zeros(_AHEAD, bool)
    for side_x in (-6, 0, 6):
        for side_y in (-6, 0, 6):
            tile_x = (surroundings["x"] + path_x[:, 0] + side_x) // _TILE % 64
            tile_y = (surroundings["y"] + path_y[:, 0] + side_y) // _TILE % 128
            crash |= surroundings["is_base"][tile_y, tile_x]
    value = -8.0 * max(0, 14 - hit) - 6.0 * max(0, 20 - _first(crash))

    along, aside = _turn(surroundings, direction)
    in_lane = surroundings["is_target"] & (np.abs(along) < _SHOT_RANGE) & (aside < _HALF_LANE)
    if in_lane.any():
        value += 25.0 if (along[in_lane] > 0).any() else 15.0
    if ((along > 0) & (along < _SHOT_RANGE) & (aside < 8) & ~surroundings["is_target"]).any():
        value += 5.0

    later_x = np.abs(dx[surroundings["is_target"]] - right * speed * 8)
    later_y = np.abs(dy[surroundings["is_target"]] - down * speed * 8)
    if len(later_x):
        distances = np.hypot(later_x, later_y)
        nearest = int(np.argmin(distances))
        distance = distances[nearest]
        off_line = min(
            later_x[nearest], later_y[nearest], abs(later_x[nearest] - later_y[nearest]) * 0.7
        )
        value -= 0.2 * distance if distance > 80 else 0.1 * abs(distance - 60)
        value -= 0.15 * off_line
    return float(value)


def _first(flags: np.ndarray) -> int:
    """Return the place of the first true flag, or the number of flags."""
    return int(np.argmax(flags)) if flags.any() else len(flags)
