"""Neverball, a ball on a floor that is tilted: collect coins, then roll into the goal."""

from pathlib import Path

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games.linux.neverball_level import (
    VOID,
    Ball,
    BallLevel,
    FloorMap,
    Place,
    flatten,
)
from nitrogen_train.games.native.game import GameProgress, NativeGame
from nitrogen_train.games.native.memory import GameMemory
from nitrogen_train.games.native.spec import read_spec

_BUILDS = {
    # Debian 12: 1.6.0+git20180603-3, amd64.
    "fdafc842540b80e6204b17d2913d82a6f228d75d": {
        "level": 0x69220,
        "view": 0x691A4,
        "coins": 0x69170,
        "status": 0x69200,
        "needed": 0x69294,
    }
}
_IN_GOAL = 2

CEILING_M = 0.75
"""Solids that begin so far above the ball are above its head."""
PLAN_ROWS = 4
"""The expert looks for a way anew so often."""
AHEAD_S = 0.25
"""It starts from where it will be then: so it does not turn back for what it has just passed."""
MAX_AIM_M = 4.0
MAX_SPEED = 4.0
BRAKE = 2.0
"""Metres per second, each second, that a tilted floor takes off for sure."""
GAIN = 0.6
"""Tilt per difference of speed."""


class Neverball(NativeGame):
    """Neverball's easy levels: the left stick tilts the floor, and the ball rolls."""

    native_spec = read_spec(Path(__file__).with_suffix(".yaml"))

    def start_episode(self) -> None:
        """Find the level in the game's memory."""
        self._memory = GameMemory(self.process, builds=_BUILDS)
        self._known: dict[str, int] = self._memory.known
        self._level = BallLevel(self._memory, self._known["level"])
        self._floor: FloorMap | None = None
        self.memory.update({"way": [], "plan_age": PLAN_ROWS})

    def _read(self, name: str) -> int:
        return self._memory.read("<i", self._known[name])[0]

    def read_progress(self) -> GameProgress:
        """Read coins and outcome of the level."""
        status = self._read("status")
        score = 50.0 * min(1.0, self._read("coins") / self._read("needed"))
        return GameProgress(score=score + 50.0 * (status == _IN_GOAL), is_over=status != 0)

    def expert(self) -> Controls:
        """Roll to the nearest coin, and to the goal once it is open, and brake before edges."""
        ball = self._level.read_ball(0)
        if self._floor is None:
            top_m = ball.height + CEILING_M
            self._floor = FloorMap(self._level, cell_m=0.25, step_m=0.3, top_m=top_m)
        self._plan(ball, self._floor)
        wanted = choose_velocity(ball, self.memory["way"], self._floor)
        push = GAIN * (wanted - ball.velocity)
        view = self._memory.read("<9f", self._known["view"])
        return {
            "LEFT_STICK_X": float(np.clip(push @ flatten(view[0:3]), -1, 1)),
            "LEFT_STICK_Y": float(np.clip(push @ flatten(view[6:9]), -1, 1)),
        }

    def _plan(self, ball: Ball, floor: FloorMap) -> None:
        """Look for a way now and then, or when the target is gone."""
        is_open = self._read("coins") >= self._read("needed")
        targets = self._level.read_goals() if is_open else self._level.read_coins()
        way = self.memory["way"]
        is_there = way and any(np.array_equal(way[-1], target) for target in targets)
        self.memory["plan_age"] += 1
        if self.memory["plan_age"] < PLAN_ROWS and is_there:
            return
        self.memory["plan_age"] = 0
        start = ball.place + AHEAD_S * ball.velocity
        self.memory["way"] = floor.find_way(start, targets) or floor.find_way(ball.place, targets)


def choose_velocity(ball: Ball, way: list[Place], floor: FloorMap) -> Place:
    """Aim at the farthest point of the way in straight reach, the slower the nearer it is."""
    speed = float(np.linalg.norm(ball.velocity))
    if speed > 0.5:
        needed_m = speed * speed / (2 * BRAKE) + AHEAD_S * speed + 0.2
        stop = ball.place + ball.velocity / speed * needed_m
        if floor.look(ball.place, stop) == VOID:
            return -0.3 * ball.velocity
    if not way:
        return np.zeros(2)
    aim = way[0]
    for point in way:
        distance = float(np.linalg.norm(point - ball.place))
        if distance > MAX_AIM_M:
            break
        if not floor.is_wide(ball.place, point):
            break
        aim = point
    offset = aim - ball.place
    distance = float(np.linalg.norm(offset))
    return offset / max(distance, 1e-6) * min(MAX_SPEED, 1.2 + 0.9 * distance)
