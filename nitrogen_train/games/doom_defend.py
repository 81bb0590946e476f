"""Doom, defend the center: stand still, turn and shoot what comes near."""

from typing import ClassVar

import vizdoom

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import GameInfo
from nitrogen_train.games.doom import (
    FRAME_SKIP,
    LICENCE,
    MAX_TURN_DEG,
    TICS_PER_SECOND,
    DoomGame,
    Sighting,
)

MONSTERS = ("Demon", "MarineChainsawVzd")
MIN_NEARNESS = 0.18
"""The expert minds monsters that are nearer. They only bite, so the others do no harm yet, and the
rounds last as long as the minute does."""
DISTANCE_COST_DEG = 20.0
"""Angle that outweighs 1 / nearness when the expert chooses a target."""
AIM_SHARE = 0.4
"""The expert fires when the gun points into this middle share of a monster's outline. At 0.7 it
scores the same, but leaves no margin to who imitates it: every slip is a round lost."""


class DoomDefend(DoomGame):
    """ViZDoom's `defend_the_center`: the right stick turns, the right trigger fires."""

    info: ClassVar[GameInfo] = GameInfo(
        name="doom_defend",
        controls=("RIGHT_STICK_X", "RIGHT_TRIGGER"),
        fps=TICS_PER_SECOND / FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        frame_size=(192, 256),
        score="kills with 26 rounds in 60 s, less 1 for a death: -1 to 26",
        # The mean of an expert of the same kind with frame skip 2; ours is stronger.
        reference_score=22.0,
        licence=LICENCE,
        recording_seeds=range(0, 10_000),
        heldout_seeds=range(1_000_000, 1_001_000),
    )
    scenario = "defend_the_center"
    engine_buttons = (vizdoom.Button.TURN_LEFT_RIGHT_DELTA, vizdoom.Button.ATTACK)

    def engine_action(self, pad: dict[str, float]) -> list[float]:
        """Turn by the right stick, right is clockwise, and fire by the right trigger."""
        return [MAX_TURN_DEG * pad["RIGHT_STICK_X"], pad["RIGHT_TRIGGER"]]

    def expert(self) -> Controls:
        """Turn to a near monster and fire when the gun points at it; else sweep to the right.

        Turning to a monster makes it the better target, so the choice is stable without memory.
        """
        near = [m for m in self.see(MONSTERS) if m.nearness >= MIN_NEARNESS]
        if not near:
            return {"RIGHT_STICK_X": 1.0}
        target = min(near, key=_cost_deg)
        turn = target.angle_deg / (FRAME_SKIP * MAX_TURN_DEG)
        return {
            "RIGHT_STICK_X": max(-1.0, min(1.0, turn)),
            "RIGHT_TRIGGER": abs(target.x) <= AIM_SHARE * target.width,
        }


def _cost_deg(monster: Sighting) -> float:
    return abs(monster.angle_deg) + DISTANCE_COST_DEG / monster.nearness
