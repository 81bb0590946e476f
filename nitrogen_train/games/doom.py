"""Run ViZDoom for all games of Doom: the engine, its pictures, and what a player sees in them."""

import abc
import contextlib
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import vizdoom
from jaxtyping import Float64

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import Frame, Game, read_pad

TICS_PER_SECOND = 35
FRAME_SKIP = 3
MAX_TURN_DEG = 5.0
"""Turn per tic at full stick."""
MAX_SPEED = 50.0
"""The engine's value for running forward, the fastest that a keyboard allows."""
FRAME_WIDTH_PX, FRAME_HEIGHT_PX = 256, 192
"""Small enough to be fast; squashed to 128x128 the nearest half of an arena stays legible."""

LICENCE = (
    "ViZDoom: MIT; its engine ZDoom: its own terms; "
    "scenario and pictures: ViZDoom and Freedoom (BSD-3-Clause)"
)


def _keep_files_to_this_process() -> None:
    # An engine that outlives a killed worker would hold the pipes by whose end a pool notices the
    # death, and the pool would wait for ever.
    for path in Path("/dev/fd").iterdir():
        if int(path.name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(path.name), False)  # noqa: FBT003 - positional only


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """An object that is visible in the current frame, as its outline on the screen."""

    name: str
    """The engine's class name, for example `Medikit`."""
    x: float
    """The outline's centre, from -1 (left edge) over 0 (where the gun points) to 1 (right edge)."""
    width: float
    """The outline's width as a share of the screen's, in [0, 1]."""
    height: float
    """The outline's height as a share of the screen's, in [0, 1]."""
    position: tuple[float, float]
    """Where it is on the map, east and north, in the engine's units."""

    @property
    def angle_deg(self) -> float:
        """Return the turn to the right that faces it, in [-45, 45]: the screen spans 90 degrees."""
        return math.degrees(math.atan(self.x))

    @property
    def nearness(self) -> float:
        """Return the height once it is faced, as 1 / distance: the edges of a screen magnify."""
        return self.height * math.cos(math.atan(self.x))


class DoomGame(Game, abc.ABC):
    """A ViZDoom scenario that comes with the package, without head-up display."""

    scenario: ClassVar[str]
    """The configuration's name in ViZDoom's own folder of scenarios."""
    engine_buttons: ClassVar[tuple[vizdoom.Button, ...]]
    """Buttons of the engine that `engine_action` drives, in its order."""
    knows_map: ClassVar[bool] = False
    """Whether the expert also needs `read_walls` and `find_near`, which cost time at every row."""

    def __init__(self) -> None:
        self._last_frame: Frame | None = None
        engine = vizdoom.DoomGame()
        engine.load_config(str(Path(vizdoom.scenarios_path) / f"{self.scenario}.cfg"))
        engine.set_doom_config_path(os.devnull)
        engine.set_available_buttons(list(self.engine_buttons))
        engine.set_screen_resolution(vizdoom.ScreenResolution.RES_256X192)
        engine.set_screen_format(vizdoom.ScreenFormat.RGB24)
        engine.set_labels_buffer_enabled(True)
        engine.set_sectors_info_enabled(self.knows_map)
        engine.set_objects_info_enabled(self.knows_map)
        engine.set_window_visible(False)
        engine.set_sound_enabled(False)
        # The engine makes a folder where it starts, and two that start in one place at a time can
        # fail: each starts in a place of its own, which it does not need afterwards.
        # It asks for a sound device even without sound, and PulseAudio would leave files at home.
        os.environ.setdefault("ALSOFT_DRIVERS", "null")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            _keep_files_to_this_process()
            engine.init()
        self._engine = engine

    @abc.abstractmethod
    def engine_action(self, pad: dict[str, float]) -> list[float]:
        """Translate a full controller state into values of `engine_buttons`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode, the same one for the same seed, and show its first frame."""
        if seed is not None:
            self._engine.set_seed(seed)
        self._engine.new_episode()
        self._last_frame = self._engine.get_state().screen_buffer
        return self._last_frame, {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Hold a controller state for `info.frame_skip` tics of the engine.

        Raises:
            RuntimeError: If no episode is running.
            ValueError: If the controller state is not one.
        """
        frame = self._running_frame()
        values = self.engine_action(read_pad(action))
        reward = self._engine.make_action(values, self.info.frame_skip)
        over = self._engine.is_episode_finished()
        timed_out = over and self._engine.is_episode_timeout_reached()
        if not over:
            # After the end the engine shows nothing: the last picture stays.
            frame = self._engine.get_state().screen_buffer
        self._last_frame = None if over else frame
        return frame, reward, over and not timed_out, timed_out, {}

    def see(self, names: Sequence[str]) -> list[Sighting]:
        """List what a player sees of some objects in the current frame.

        Raises:
            RuntimeError: If no episode is running.
        """
        self._running_frame()
        return [
            Sighting(
                name=label.object_name,
                x=(2 * label.x + label.width) / FRAME_WIDTH_PX - 1,
                width=label.width / FRAME_WIDTH_PX,
                height=label.height / FRAME_HEIGHT_PX,
                position=(label.object_position_x, label.object_position_y),
            )
            for label in self._engine.get_state().labels or []
            if label.object_name in names
        ]

    def read_pose(self) -> tuple[float, float, float]:
        """Tell where the player is, east and north, and where the gun points, in degrees.

        The engine counts degrees to the left, from 0 in the east.

        Raises:
            RuntimeError: If no episode is running.
        """
        self._running_frame()
        variables = vizdoom.GameVariable
        x, y, angle_deg = (
            float(self._engine.get_game_variable(variable))
            for variable in (variables.POSITION_X, variables.POSITION_Y, variables.ANGLE)
        )
        return x, y, angle_deg

    def read_walls(self) -> Float64[np.ndarray, "walls 2 2"]:
        """List the walls of the map, each by its two ends (east, north); needs `knows_map`.

        Raises:
            RuntimeError: If no episode is running.
        """
        self._running_frame()
        lines = (line for sector in self._engine.get_state().sectors for line in sector.lines)
        return np.array(
            [[(line.x1, line.y1), (line.x2, line.y2)] for line in lines if line.is_blocking],
            dtype=np.float64,
        )

    def find_near(self, names: Sequence[str], *, radius: float) -> list[tuple[float, float]]:
        """List where objects are that the player could touch soon, in view or not; `knows_map`.

        Raises:
            RuntimeError: If no episode is running.
        """
        x, y, _ = self.read_pose()
        return [
            (each.position_x, each.position_y)
            for each in self._engine.get_state().objects
            if each.name in names and math.dist((x, y), (each.position_x, each.position_y)) < radius
        ]

    def close(self) -> None:
        """End the engine's process."""
        self._last_frame = None
        self._engine.close()

    def _running_frame(self) -> Frame:
        if self._last_frame is None:
            raise RuntimeError(f"{self.info.name}: no episode is running; call reset first")
        return self._last_frame


class WalkedDoomGame(DoomGame, abc.ABC):
    """A scenario that is moved through: the left stick moves, the right one turns."""

    engine_buttons: ClassVar[tuple[vizdoom.Button, ...]] = (
        vizdoom.Button.TURN_LEFT_RIGHT_DELTA,
        vizdoom.Button.MOVE_FORWARD_BACKWARD_DELTA,
        vizdoom.Button.MOVE_LEFT_RIGHT_DELTA,
    )

    def engine_action(self, pad: dict[str, float]) -> list[float]:
        """Turn by the right stick and move by the left; up on the stick is -1 and forward."""
        return [
            MAX_TURN_DEG * pad["RIGHT_STICK_X"],
            -MAX_SPEED * pad["LEFT_STICK_Y"],
            MAX_SPEED * pad["LEFT_STICK_X"],
        ]
