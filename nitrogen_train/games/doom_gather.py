"""Doom, health gathering: stay alive on an acid floor by picking up medikits."""

from typing import ClassVar

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

MEDIKITS = ("CustomMedikit", "Medikit")
MIN_NEARNESS = 0.03
"""The expert ignores medikits that are farther: a small frame hides them."""
SWEEP = 0.6
"""Right stick of the expert while no medikit is in view."""
TURN_LAG = 2.0
"""Rows in which the expert would turn to a medikit at a constant rate."""
MIN_SPEED, SLOW_ANGLE_DEG = 0.2, 30.0
"""The expert's forward stick falls from 1 at angle 0 to the least at about this angle."""


class DoomGather(WalkedDoomGame):
    """ViZDoom's `health_gathering`, moved by the left stick and turned by the right one."""

    info: ClassVar[GameInfo] = GameInfo(
        name="doom_gather",
        controls=("LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X"),
        fps=TICS_PER_SECOND / FRAME_SKIP,
        frame_skip=FRAME_SKIP,
        frame_size=(192, 256),
        score="tics survived, less 100 for a death: about 300 when idle, at most 2100",
        # The maximum, reached in 6 of 6 episodes by an expert that sees every medikit.
        reference_score=2100.0,
        licence=LICENCE,
        recording_seeds=range(0, 10_000),
        heldout_seeds=range(1_000_000, 1_001_000),
    )
    scenario = "health_gathering"

    def expert(self) -> Controls:
        """Walk to the medikit that is reached soonest; turn right while none is in view.

        Turning towards a medikit makes it the sooner one, so the choice is stable without memory.
        It walks slowly while the medikit is off the centre, so as not to circle around it.
        """
        medikits = [m for m in self.see(MEDIKITS) if m.nearness >= MIN_NEARNESS]
        if not medikits:
            return {"RIGHT_STICK_X": SWEEP}
        angle_deg = min(medikits, key=_tics_to_reach).angle_deg
        turn = angle_deg / (TURN_LAG * FRAME_SKIP * MAX_TURN_DEG)
        return {
            "LEFT_STICK_Y": -max(MIN_SPEED, 1 - abs(angle_deg) / SLOW_ANGLE_DEG),
            "RIGHT_STICK_X": max(-1.0, min(1.0, turn)),
        }


def _tics_to_reach(medikit: Sighting) -> float:
    # One as tall as the screen would be 13.5 units away, and running covers 12 units a tic.
    return 13.5 / 12 / medikit.nearness + abs(medikit.angle_deg) / (0.8 * MAX_TURN_DEG)
