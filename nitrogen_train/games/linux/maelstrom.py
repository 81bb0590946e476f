"""Maelstrom: turn, thrust, shoot and shield in a field of asteroids."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

_BUILDS = {
    # maelstrom 3.0.7-4, amd64
    "7480d05393e6957f7e8a4901155ff467b18e0433": {
        "player": 0x3F800,
        "num_things": 0x32CF8,
        "things": 0x3F4E0,
    }
}
_MAX_THINGS = 64
_THING = np.dtype(
    {
        "names": [
            "kind",
            "x",
            "y",
            "vx",
            "vy",
            "is_solid",
            "is_shootable",
            "strength",
            "phase",
            "shots",
        ],
        "formats": ["<u8", *["<i4"] * 8, "4<u8"],
        "offsets": [0, 12, 16, 20, 24, 36, 40, 44, 56, 104],
        "itemsize": 136,
    }
)
"""Ship, asteroid or what else there is: place in 1/16 pixel, speed in that per frame."""
_IS_THERE, _EXPLODES, _SCORE, _SHIELD = 0x34, 0x60, 0x6C, 0x80
_PAGE, _ENEMY = 0x1000, 0xA10
"""Place of the enemy ship's class in its page of memory: the same wherever it is loaded."""
_SHOT = np.dtype(
    [("damage", "<i4"), ("x", "<i4"), ("y", "<i4"), ("vx", "<i4"), ("vy", "<i4"), ("frames", "<i4")]
)
_WIDTH, _HEIGHT = 640.0, 466.0
_SHOT_SPEED = 8.0
"""Pixels per frame of the game; a row is one of them."""
_SHOT_FRAMES = 30
_PHASES = 48
"""Directions of the ship; the first is up, the next ones are clockwise."""

_STRONG, _STRONG_COST = 4, 60
"""What takes so many hits is shot only when nothing else is in reach."""
_DANGER_FRAMES = 7
_REACH, _SHOT_REACH = 30.0, 20.0
"""Distances in pixels at which an asteroid, or a shot, hits the ship."""
_HALF_WIDTH = 12.0
"""The expert fires when the shot passes a target's middle within so many pixels."""
_CRUISE, _NEGLIGIBLE = 3.0, 1.0
"""Speeds in pixels per frame: at which the ship nears a target, and which need no thrust."""
_EXACT, _ROUGH = 0.6, 2.0
"""Turns, in phases, that are as good as none: to aim, and to thrust."""


class Maelstrom(NativeGame):
    """Maelstrom: the stick turns and, pushed up, thrusts; A fires, B holds the shield up."""

    native_spec: ClassVar = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the game's numbers."""
        self._numbers = GameMemory(self.process, builds=_BUILDS)

    def _read_player(self, layout: str, place: int) -> tuple[int, ...]:
        (player,) = self._numbers.read("<Q", self._numbers.known["player"])
        return self._numbers.read_at(layout, player + place)

    def read_progress(self) -> GameProgress:
        """Read the points, and whether the ship is lost."""
        (is_there,) = self._read_player("<i", _IS_THERE)
        (explodes,) = self._read_player("<i", _EXPLODES)
        (score,) = self._read_player("<i", _SCORE)
        return GameProgress(score=float(score), is_over=bool(explodes or not is_there))

    def expert(self) -> Controls:
        """Turn to where a shot meets a target and fire; hold the shield up against what is near.

        Where nothing is in range the ship goes to the nearest target.
        """
        ship = self._read_thing(self._numbers.read("<Q", self._numbers.known["player"])[0])
        things = self._read_things()
        is_near = _is_near(ship, things[things["is_solid"] > 0], _REACH)
        is_near |= _is_near(ship, self._read_shots(things), _SHOT_REACH)
        (shield,) = self._read_player("<i", _SHIELD)
        targets = things[things["is_shootable"] > 0]
        turn, width = _aim(ship, targets)
        is_hit = width > 0 and abs(turn) <= max(_EXACT, width)
        is_thrust = False
        if width < 0:
            turn, is_thrust = _approach(ship, targets)
        return {
            "LEFT_STICK_X": 0.0 if abs(turn) < _EXACT else float(np.sign(turn)),
            "LEFT_STICK_Y": -1.0 if is_thrust else 0.0,
            "SOUTH": is_hit,
            "EAST": is_near and shield > 0,
        }

    def _read_thing(self, address: int) -> np.ndarray:
        (raw,) = self._numbers.read_at(f"<{_THING.itemsize}s", address)
        return np.frombuffer(raw, _THING)[0]

    def _read_things(self) -> np.ndarray:
        places = self._numbers.known
        (number,) = self._numbers.read("<i", places["num_things"])
        addresses = self._numbers.read(f"<{min(number, _MAX_THINGS)}Q", places["things"])
        return np.array([self._read_thing(address) for address in addresses], _THING)

    def _read_shots(self, things: np.ndarray) -> np.ndarray:
        addresses = things["shots"][things["kind"] % _PAGE == _ENEMY].ravel()
        raw = [self._numbers.read_at(f"<{_SHOT.itemsize}s", int(place))[0] for place in addresses]
        shots = np.frombuffer(b"".join(raw), _SHOT)
        return shots[shots["frames"] > 0]


def _look(ship: np.ndarray, things: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return where things are from the ship, in pixels, and how they move against it, per frame."""
    dx, dy = things["x"] / 16 - ship["x"] / 16, things["y"] / 16 - ship["y"] / 16
    return (
        (dx + _WIDTH / 2) % _WIDTH - _WIDTH / 2,
        (dy + _HEIGHT / 2) % _HEIGHT - _HEIGHT / 2,
        (things["vx"] - ship["vx"]) / 16,
        (things["vy"] - ship["vy"]) / 16,
    )


def _is_near(ship: np.ndarray, things: np.ndarray, reach: float) -> bool:
    """Say whether anything comes within reach of the ship in the next frames."""
    dx, dy, vx, vy = _look(ship, things)
    frames = np.arange(_DANGER_FRAMES + 1)[:, None]
    return bool((np.hypot(dx + vx * frames, dy + vy * frames) < reach).any())


def _aim(ship: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Choose what is hit soonest; return the turn to it and its half width, in phases.

    The width is negative if nothing is in range.
    """
    best = (np.inf, 0.0, -1.0)
    for dx, dy, vx, vy, strength in zip(*_look(ship, targets), targets["strength"], strict=True):
        frames = _find_flight(dx, dy, vx, vy)
        if frames is None:
            continue
        at_x, at_y = dx + vx * frames, dy + vy * frames
        turn = _find_turn(at_x, at_y, int(ship["phase"]))
        width = np.degrees(np.arctan2(_HALF_WIDTH, np.hypot(at_x, at_y))) * _PHASES / 360
        cost = frames + abs(turn) + (_STRONG_COST if strength >= _STRONG else 0)
        best = min(best, (cost, turn, float(width)))
    _, turn, width = best
    return turn, width


def _find_turn(x: float, y: float, phase: int) -> float:
    """Return by how many phases the ship must turn to point there, clockwise."""
    wanted = float(np.degrees(np.arctan2(x, -y))) * _PHASES / 360
    return (wanted - phase + _PHASES / 2) % _PHASES - _PHASES / 2


def _approach(ship: np.ndarray, targets: np.ndarray) -> tuple[float, bool]:
    """Return the turn, and whether to thrust, that brings the ship to the nearest target."""
    wanted_x = wanted_y = 0.0
    if len(targets):
        dx, dy, _, _ = _look(ship, targets)
        distances = np.hypot(dx, dy)
        nearest = int(np.argmin(distances))
        wanted_x = float(dx[nearest] / distances[nearest]) * _CRUISE
        wanted_y = float(dy[nearest] / distances[nearest]) * _CRUISE
    more_x, more_y = wanted_x - float(ship["vx"]) / 16, wanted_y - float(ship["vy"]) / 16
    if np.hypot(more_x, more_y) < _NEGLIGIBLE:
        return _find_turn(wanted_x, wanted_y, int(ship["phase"])), False
    turn = _find_turn(more_x, more_y, int(ship["phase"]))
    return turn, abs(turn) <= _ROUGH


def _find_flight(dx: float, dy: float, vx: float, vy: float) -> float | None:
    """Return in how many frames a shot meets a thing, or None if it never does."""
    a = vx * vx + vy * vy - _SHOT_SPEED * _SHOT_SPEED
    b = 2 * (dx * vx + dy * vy)
    c = dx * dx + dy * dy
    root = b * b - 4 * a * c
    if a >= 0 or root < 0:
        return None
    frames = (-b - np.sqrt(root)) / (2 * a)
    return float(frames) if 0 <= frames <= _SHOT_FRAMES else None
