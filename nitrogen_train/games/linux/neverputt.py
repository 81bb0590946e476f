"""Neverputt, mini golf: putt the ball into the hole with few strokes."""

import math
from pathlib import Path

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.linux.neverball_level import Ball, BallLevel, FloorMap, Place
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

_BUILDS = {
    # Debian 12: 1.6.0+git20180603-3, amd64.
    "257abc359ddd721fb6466eff63dc2c6081343135": {
        "level": 0x57748,
        "power": 0x5761C,
        "angle": 0x57620,
        "strokes": 0x57C18,
        "screen": 0x38AE0,
        "screens": {
            0x352E0: "score",
            0x35340: "fall",
            0x353A0: "stop",
            0x35400: "goal",
            0x35460: "roll",
            0x354C0: "stroke",
            0x35520: "flyby",
            0x355E0: "next",
        },
    }
}
_MINE = 1
"""The player's ball."""

SPEED_PER_POWER = 4.0
FRICTION = 1.0
"""Metres per second, each second, that a rolling ball loses."""
GRAVITY = 9.8
MIN_POWER = 0.25
HOLE_SPEED = 0.7
"""The ball comes to the hole so fast: it falls in, and small slopes do not stop it."""
TURN_DEG, POWER_STEP = 0.45, 0.015
"""What one of six steps of the stick changes in a row."""
STICK_STEPS = 6


class Neverputt(NativeGame):
    """Neverputt: the left stick turns the aim and sets the power, A putts and leaves messages."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the course in the game's memory."""
        self._memory = GameMemory(self.process, builds=_BUILDS)
        self._known = self._memory.known
        self._level = BallLevel(self._memory, self._known["level"])
        self._hole = self._level.read_goals()[0]
        self._floor: FloorMap | None = None
        # The presses before the first frame may have left a putt under way: it is not counted.
        is_rolling = self._read_screen() == "roll"
        self.memory.update(
            {
                "strokes": self._read_strokes() + is_rolling,
                "first_distance": None,
                "nearest": math.inf,
                "is_holed": False,
                "pressed": False,
                "planned": None,
            }
        )

    def _read_strokes(self) -> int:
        return self._memory.read("<i", self._known["strokes"])[0]

    def _read_screen(self) -> str:
        (address,) = self._memory.read("<Q", self._known["screen"])
        return self._known["screens"].get(address - self._memory.base, "")

    def _measure_distance(self) -> float:
        return float(np.linalg.norm(self._level.read_ball(_MINE).place - self._hole))

    def read_progress(self) -> GameProgress:
        """Read the strokes, and how near the ball has come to rest."""
        memory, screen = self.memory, self._read_screen()
        if screen == "stroke":
            distance = self._measure_distance()
            memory["first_distance"] = memory["first_distance"] or max(1.0, distance)
            memory["nearest"] = min(memory["nearest"], distance)
        memory["is_holed"] |= screen == "goal"
        if memory["is_holed"]:
            more = max(0, self._read_strokes() - memory["strokes"] - 1)
            return GameProgress(score=max(40.0, 100.0 - 10.0 * more), is_over=True)
        first = memory["first_distance"]
        score = 20.0 * (1.0 - memory["nearest"] / first) if first else 0.0
        return GameProgress(score=max(0.0, score), is_over=screen == "score")

    def expert(self) -> Controls:
        """Aim along the way to the hole, with power for what is in straight reach, and putt."""
        screen, was_pressed = self._read_screen(), self.memory["pressed"]
        self.memory["pressed"] = False
        if screen != "stroke":
            self.memory["pressed"] = screen != "roll" and not was_pressed
            return {"SOUTH": self.memory["pressed"]}
        if self._floor is None:
            self._floor = FloorMap(
                self._level, cell_m=0.125, step_m=0.1, top_m=math.inf, holes=[self._hole]
            )
        angle, power = self._plan(self._level.read_ball(_MINE), self._floor)
        (now_power,) = self._memory.read("<f", self._known["power"])
        (now_angle,) = self._memory.read("<f", self._known["angle"])
        turns = round(((angle - now_angle + 180) % 360 - 180) / TURN_DEG)
        pulls = round((power - now_power) / POWER_STEP)
        if turns or pulls:
            return {"LEFT_STICK_X": _push(turns), "LEFT_STICK_Y": _push(pulls)}
        self.memory["pressed"] = not was_pressed
        return {"SOUTH": self.memory["pressed"]}

    def _plan(self, ball: Ball, floor: FloorMap) -> tuple[float, float]:
        """Choose the putt, once for each place where the ball lies."""
        planned = self.memory["planned"]
        if planned is None or not np.array_equal(planned[0], ball.place):
            planned = (ball.place, choose_putt(ball, self._hole, floor))
            self.memory["planned"] = planned
        return planned[1]


def choose_putt(ball: Ball, hole: Place, floor: FloorMap) -> tuple[float, float]:
    """Choose the angle in degrees and the power."""
    way = floor.find_way(ball.place, [hole]) or [hole]
    aim = way[0]
    for point in way:
        if floor.is_wide(ball.place, point):
            aim = point
    offset = aim - ball.place
    distance = float(np.linalg.norm(offset))
    climb = max(0.0, floor.measure_climb(ball.place, aim))
    last_speed = HOLE_SPEED if aim is way[-1] else 0.0
    speed = math.sqrt(2 * FRICTION * distance + 2 * GRAVITY * climb + last_speed**2)
    angle = math.degrees(math.atan2(-offset[0], -offset[1]))
    return angle, max(MIN_POWER, speed / SPEED_PER_POWER)


def _push(steps: int) -> float:
    """Push the stick so that the game, which cuts off what is not whole, reads so many steps."""
    steps = max(-STICK_STEPS, min(STICK_STEPS, steps))
    return max(-1.0, min(1.0, (steps + 0.3 * np.sign(steps)) / STICK_STEPS))
