"""A game for the tests: point the stick at the bright bar; one point per row that does."""

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games import Frame, Game, GameInfo


class ChaseGame(Game):
    info: ClassVar[GameInfo] = GameInfo(
        name="chase",
        controls=("RIGHT_STICK_X", "SOUTH"),
        fps=10.0,
        frame_skip=1,
        frame_size=(24, 48),
        score="rows pointed the right way, 0 to 10",
        reference_score=None,
        licence="CC0-1.0",
        recording_seeds=range(100),
        heldout_seeds=range(100, 112),
    )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        self._rng = np.random.default_rng(seed)
        # Episodes of different lengths: those in lock step do not end together.
        self._rows_left = 8 + (seed or 0) % 3
        return self._show(), {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        reward = float(action["RIGHT_STICK_X"] * self._side > 0)
        self._rows_left -= 1
        return self._show(), reward, self._rows_left == 0, False, {}

    def expert(self) -> Controls:
        return {"RIGHT_STICK_X": float(self._side)}

    def _show(self) -> Frame:
        self._side = int(self._rng.choice([-1, 1]))
        frame = np.zeros((24, 48, 3), np.uint8)
        frame[:, 24 + 16 * self._side] = 255
        return frame


class UncountableGame(ChaseGame):
    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        return self._show(), float("nan"), False, False, {}


class DyingGame(ChaseGame):
    """Takes its process with it, as one does that the kernel kills for memory."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        os._exit(9)


class CountedGame(ChaseGame):
    """Leaves a mark for every episode, in the folder of the environment's `MARKS_DIR`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        with (Path(os.environ["MARKS_DIR"]) / "marks").open("a") as file:
            file.write(f"{seed}\n")
        return super().reset(seed=seed, options=options)
