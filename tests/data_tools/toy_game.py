"""A Gymnasium game in a few lines: hold the stick to the left for the first half, then right."""

from typing import Any, ClassVar

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games import Frame, Game, GameInfo


class ToyGame(Game):
    info: ClassVar[GameInfo] = GameInfo(
        name="toy",
        controls=("LEFT_STICK_X", "RIGHT_TRIGGER"),
        fps=10.0,
        frame_skip=1,
        frame_size=(48, 64),
        score="rows with the stick on the right side, 0 to 40",
        reference_score=None,
        licence="CC0-1.0",
        recording_seeds=range(100, 200),
        heldout_seeds=range(1000, 1100),
    )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        self.num_steps = 0
        self.last: float = 0.0
        return self._show(), {}

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.last = float(action.get("LEFT_STICK_X", 0.0))
        reward = float(np.sign(self.last) == np.sign(self.num_steps - 19.5))
        self.num_steps += 1
        return self._show(), reward, self.num_steps == 40, False, {}

    def expert(self) -> Controls:
        return {"LEFT_STICK_X": -0.5 if self.num_steps < 20 else 0.5}

    def _show(self) -> Frame:
        """Grey of brightness 3 t on top; below it the stick's last value."""
        frame = np.full((48, 64, 3), 3 * self.num_steps, np.uint8)
        frame[24:] = round(127 + 100 * self.last)
        return frame


class FailingGame(ToyGame):
    def expert(self) -> Controls:
        return {"LEFT_STICK_X": 1 / 0}


class TallGame(ToyGame):
    def _show(self) -> Frame:
        return super()._show().transpose(1, 0, 2)
