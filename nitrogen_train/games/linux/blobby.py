"""Blobby Volley 2: two blobs play beach volleyball, the left one against a weak bot.

The opponent is a script of ours, in the YAML file, and tells at every step what is on the court.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.spec import NativeSpec, read_spec

_NUMBER = re.compile(r"Lua Debug: (\S+)\n")
_START, _NUM_VALUES = "777777", 9

# The court as the game's scripts see it: y is up, a step is 1/75 s.
_WIDTH = 800.0
_BALL_RADIUS = 31.5
_NET_EDGE = _WIDTH / 2 - 7 - _BALL_RADIUS
_NET_TOP = 316.0
_GRAVITY = 0.2875
_HIT_SPEED = 13.125
"""The ball leaves a blob with this speed, away from the middle of the head."""
_HEAD_REACH = 56.5
"""Distance of the middles of ball and head at a hit."""
_HEAD_Y = 220.0
"""Height of a ball that a standing blob's head hits."""
_MAX_STEPS = 300
_SERVE_OFFSET = 22.0
_SLACK = 7.0
"""Half of what a blob runs in a row."""
_READY_X = 190.0


@dataclass(frozen=True, kw_only=True)
class Court:
    """What is on the court at a step; the player is on the left."""

    won: float
    lost: float
    ball: tuple[float, float]
    speed: tuple[float, float]
    opponent_x: float
    x: float
    y: float


class Blobby(NativeGame):
    """Beach volleyball of two blobs: the left stick runs, south jumps."""

    native_spec: ClassVar[NativeSpec] = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Nothing is known of the court until the opponent tells it."""
        self.memory["court"] = None

    def read_progress(self) -> GameProgress:
        """Count the points won less those lost; the minute ends the match."""
        court = self._look()
        return GameProgress(score=None if court is None else court.won - court.lost)

    def _look(self) -> Court | None:
        """Read what the opponent has told since, and keep it."""
        values = _NUMBER.findall(self.process.read_output())
        starts = [place for place, value in enumerate(values) if value == _START]
        whole = [place for place in starts if place + _NUM_VALUES < len(values)]
        if whole:
            place = whole[-1] + 1
            self.memory["court"] = _mirror([float(v) for v in values[place : place + _NUM_VALUES]])
        return self.memory["court"]

    def expert(self) -> Controls:
        """Run to where the ball comes down, and stand so that the head sends it over the net."""
        court: Court | None = self.memory["court"]
        if court is None:
            return {}
        if court.speed == (0.0, 0.0):
            return _serve(court)
        x = _find_landing(court)
        if x > _NET_EDGE:
            return {"LEFT_STICK_X": _steer(court.x, _READY_X)}
        return {"LEFT_STICK_X": _steer(court.x, x - _choose_offset(x, court.opponent_x))}


def _mirror(values: list[float]) -> Court:
    lost, won, ball_x, ball_y, speed_x, speed_y, opponent_x, x, y = values
    return Court(
        won=won,
        lost=lost,
        ball=(_WIDTH - ball_x, ball_y),
        speed=(-speed_x, speed_y),
        opponent_x=_WIDTH - opponent_x,
        x=_WIDTH - x,
        y=y,
    )


def _serve(court: Court) -> Controls:
    if court.ball[0] > _WIDTH / 2:
        return {"LEFT_STICK_X": _steer(court.x, _READY_X)}
    stick = _steer(court.x, court.ball[0] - _SERVE_OFFSET)
    return {"LEFT_STICK_X": stick, "SOUTH": stick == 0.0}


def _steer(x: float, target: float) -> float:
    return 0.0 if abs(target - x) <= _SLACK else math.copysign(1.0, target - x)


def _find_landing(court: Court) -> float:
    """Find where the ball comes down to a head, off the outer walls and the net."""
    (x, y), (speed_x, speed_y) = court.ball, court.speed
    for _ in range(_MAX_STEPS):
        if y <= _HEAD_Y and speed_y < 0:
            break
        was_left = x <= _NET_EDGE
        x, y, speed_y = x + speed_x, y + speed_y, speed_y - _GRAVITY
        if not _BALL_RADIUS <= x <= _WIDTH - _BALL_RADIUS:
            speed_x = -speed_x
        elif y < _NET_TOP and was_left and x > _NET_EDGE:
            x, speed_x = _NET_EDGE, -speed_x
    return x


def _choose_offset(x: float, opponent_x: float) -> float:
    """Choose how far left of the ball to stand: it shall land where the opponent is not."""
    target = 480.0 if opponent_x > 0.75 * _WIDTH else 720.0
    share = min(1.0, (target - x) * _GRAVITY / _HIT_SPEED**2)
    return _HEAD_REACH * math.sin(math.asin(share) / 2)
