"""CarRacing: one lap of a track that is new for every seed, seen from above."""

import math
import os
from typing import Any, ClassVar

import numpy as np

# pygame, which the game draws with, greets on standard output otherwise.
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
from gymnasium.envs.box2d import car_racing
from gymnasium.envs.box2d.car_dynamics import Car

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import Frame, Game, GameInfo, read_pad

FRAME_SKIP = 4
TIME_LIMIT_TICKS = 1000
"""Gymnasium's own limit for `CarRacing-v3`: 20 s."""
STEER, GAS, BRAKE = 0.5, 0.5, 0.2
"""Strength of the full stick and the pressed triggers, of 1: more only makes the car skid."""

TILES_TO_AIM, TILES_TO_BEND = 6, 8
"""Tiles, of 3.5 m, to which the expert aims and looks for bends; a frame shows 10."""
STEERING_GAIN = 1.6
"""Stick of the expert per radian between the car's heading and the point that it aims at."""
TOP_SPEED, BEND_SLOWDOWN, BRAKE_MARGIN = 75.0, 0.6, 8.0
"""The expert's speed is `TOP_SPEED / (1 + BEND_SLOWDOWN * bend in radians)`, in m/s; it brakes when
it is faster by more than the margin."""
ASTRAY_ANGLE, ASTRAY_SPEED = 0.6, 15.0
"""Beyond this angle to its aim, in radians, the expert crawls at this speed, in m/s, for a car that
is given gas while it slides goes on spinning."""


class CarRacing(Game):
    """Gymnasium's `CarRacing-v3`: left stick steers, right trigger is gas, left trigger brakes."""

    info: ClassVar[GameInfo] = GameInfo(
        name="carracing",
        controls=("LEFT_STICK_X", "LEFT_TRIGGER", "RIGHT_TRIGGER"),
        fps=car_racing.FPS / FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        frame_size=(96, 96),
        score="1000 for the lap, less 0.1 a tick and 100 for leaving the field: about -130 to 940",
        # The mean of pure pursuit at the game's own interface: graded triggers, no frame skip.
        reference_score=921.5,
        licence="Gymnasium, code and pictures: MIT",
        recording_seeds=range(0, 10_000),
        heldout_seeds=range(1_000_000, 1_001_000),
    )

    def __init__(self) -> None:
        self._env = _UndrawnCarRacing()
        self._ticks_left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode, the same one for the same seed, and show its first frame."""
        self._env.reset(seed=seed)
        self._ticks_left = TIME_LIMIT_TICKS
        return self._env.draw(), {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Hold a controller state for `info.frame_skip` ticks of 1/50 s.

        Raises:
            RuntimeError: If no episode is running.
            ValueError: If the controller state is not one.
        """
        self._running_car()
        pad = read_pad(action)
        values = np.array(
            [
                STEER * pad["LEFT_STICK_X"],
                GAS * pad["RIGHT_TRIGGER"],
                BRAKE * pad["LEFT_TRIGGER"],
            ]
        )
        total_reward, terminated = 0.0, False
        for _ in range(FRAME_SKIP):
            _, reward, terminated, _, _ = self._env.step(values)
            total_reward += float(reward)
            self._ticks_left -= 1
            if terminated:
                break
        truncated = not terminated and self._ticks_left <= 0
        if terminated:
            self._ticks_left = 0
        return self._env.draw(), total_reward, terminated, truncated, {}

    def expert(self) -> Controls:
        """Aim at the road a little ahead, at a speed that suits its bend there (pure pursuit).

        Raises:
            RuntimeError: If no episode is running.
        """
        car = self._running_car().hull
        track = np.array(self._env.track)  # (tiles, 4): along the lap, heading, x, y
        nearest = int(np.hypot(*(track[:, 2:] - car.position).T).argmin())
        aim = track[(nearest + TILES_TO_AIM) % len(track), 2:] - car.position
        # Angles grow to the left, the stick to the right; a heading of 0 is along y.
        turn = _turn(car.angle, math.atan2(-aim[0], aim[1]))
        bend = _turn(car.angle, track[(nearest + TILES_TO_BEND) % len(track), 1])
        is_astray = abs(turn) > ASTRAY_ANGLE
        wanted_speed = ASTRAY_SPEED if is_astray else TOP_SPEED / (1 + BEND_SLOWDOWN * abs(bend))
        excess_speed = math.hypot(*car.linearVelocity) - wanted_speed
        return {
            "LEFT_STICK_X": max(-1.0, min(1.0, -STEERING_GAIN * turn)),
            "LEFT_TRIGGER": excess_speed > BRAKE_MARGIN,
            "RIGHT_TRIGGER": excess_speed < 0,
        }

    def close(self) -> None:
        """Free the game."""
        self._env.close()

    def _running_car(self) -> Car:
        if self._env.car is None or self._ticks_left <= 0:
            raise RuntimeError(f"{self.info.name}: no episode is running; call reset first")
        return self._env.car


class _UndrawnCarRacing(car_racing.CarRacing):
    """The game without the picture that it draws every tick, most of its time; `draw` shows one."""

    def _render(self, mode: str) -> None:
        del mode

    def draw(self) -> Frame:
        return np.asarray(super()._render("state_pixels"), dtype=np.uint8)


def _turn(heading: float, goal: float) -> float:
    """Return the angle from one heading to another, in [-pi, pi)."""
    return (goal - heading + math.pi) % (2 * math.pi) - math.pi
