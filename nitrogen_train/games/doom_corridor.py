"""Doom, deadly corridor: shoot the way free to the vest at the end, past six armed monsters."""

import math
from typing import ClassVar

import vizdoom

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import GameInfo
from nitrogen_train.games.doom import (
    FRAME_SKIP,
    LICENCE,
    MAX_TURN_DEG,
    TICS_PER_SECOND,
    Sighting,
    WalkedDoomGame,
)

MONSTERS = ("ChaingunGuy", "ShotgunGuy", "Zombieman")
"""The living ones: the engine names the dead ones otherwise."""
MIN_HEIGHT = 0.04
"""The expert minds monsters that are at least this tall on the screen; it comes nearer for the
others, which a wall hides but for a sliver or which are too far to hit."""
AIM_SHARE = 0.4
"""The expert fires when the gun points into this middle share of a monster's outline."""
RETREAT = 0.5
"""Left stick of the expert while it aims: backwards, for their shots spread and its own do not.
Standing still it dies in 1 of 10 episodes, walking on in 4."""
CENTRING = 0.02
"""Left stick sideways per unit from the middle of the corridor, which is 32 wide for a player."""


class DoomCorridor(WalkedDoomGame):
    """ViZDoom's `deadly_corridor`: left stick moves, right one turns, right trigger fires."""

    info: ClassVar[GameInfo] = GameInfo(
        name="doom_corridor",
        controls=("LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X", "RIGHT_TRIGGER"),
        fps=TICS_PER_SECOND / FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        frame_size=(192, 256),
        score=(
            "units walked towards the vest, plus 1000 for the vest, less 100 for a death, in 60 s: "
            "about -120 to 2290"
        ),
        # The vest without a death: the 1280 units to where it is touched, and 1000.
        reference_score=2280.0,
        licence=LICENCE,
        recording_seeds=range(0, 10_000),
        heldout_seeds=range(1_000_000, 1_001_000),
    )
    scenario = "deadly_corridor"
    engine_buttons = (*WalkedDoomGame.engine_buttons, vizdoom.Button.ATTACK)

    def engine_action(self, pad: dict[str, float]) -> list[float]:
        """Turn by the right stick, move by the left one, and fire by the right trigger."""
        return [*super().engine_action(pad), pad["RIGHT_TRIGGER"]]

    def expert(self) -> Controls:
        """Back off from monsters in view, aim and fire; else run along the corridor to the vest.

        Turning to a monster makes it the better target, so the choice is stable without memory.
        """
        monsters = [m for m in self.see(MONSTERS) if m.height >= MIN_HEIGHT]
        if not monsters:
            return self._run_on()
        target = min(monsters, key=_turn_deg)
        return {
            "LEFT_STICK_Y": RETREAT,
            "RIGHT_STICK_X": _stick_for(target.angle_deg),
            "RIGHT_TRIGGER": abs(target.x) <= AIM_SHARE * target.width,
        }

    def _run_on(self) -> Controls:
        _, left_of_middle, angle_deg = self.read_pose()
        # The corridor leads to the east, where the engine's angle is 0; it counts to the left.
        right_turn_deg = (angle_deg + 180) % 360 - 180
        heading = math.radians(right_turn_deg)
        sideways = max(-1.0, min(1.0, CENTRING * left_of_middle))
        return {
            "LEFT_STICK_X": max(0.0, math.cos(heading)) * sideways,
            "LEFT_STICK_Y": -math.cos(heading),
            "RIGHT_STICK_X": _stick_for(right_turn_deg),
        }


def _turn_deg(monster: Sighting) -> float:
    return abs(monster.angle_deg)


def _stick_for(turn_deg: float) -> float:
    return max(-1.0, min(1.0, turn_deg / (FRAME_SKIP * MAX_TURN_DEG)))
