"""Define one gamepad interface for every game, and players that know nothing of a game.

    reset ─► frame 0 ─► player ─► controls by name (row 0) ─► step ─► frame 1, reward ─► …

A game is a Gymnasium environment whose observation is the picture on the screen, (h, w, 3) uint8
RGB, and whose action is a controller state by name (`Controls`), for example `{"RIGHT_STICK_X":
-0.4, "RIGHT_TRIGGER": True}`. `reset` shows frame 0; the action given to `step` after frame t is
row t of a recording. The sum of the rewards of an episode is its score. `read_pad` reads a
controller state as a game sees it.
"""

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, Controls

Frame = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class GameInfo:
    """The facts of a game that a recorder, a player and a reader need."""

    name: str
    """Identity on disk: lower case, no dots."""
    controls: tuple[str, ...]
    """The gamepad controls that the game listens to; it ignores the others."""
    fps: float
    """Frames shown, and rows acted, per second of game time (after the frame skip)."""
    frame_skip: int
    """The game's own ticks that one row lasts."""
    frame_size: tuple[int, int]
    """Height and width of its picture, in pixels."""
    score: str | None
    """Meaning of the sum of an episode's rewards, with its range; None: nothing tells a score."""
    reference_score: float | None
    """The expert's published mean, or None: 1 on the normalized scale is never below it."""
    licence: str
    """Terms of the code and of the pictures."""
    recording_seeds: range
    """Seeds that recordings may use."""
    heldout_seeds: range
    """Seeds kept for evaluation; disjoint from `recording_seeds`."""
    has_expert: bool = True
    """Whether `expert` plays; else people record it, and an evaluation has no measure."""
    version: str = ""
    """Whatever else changes how it plays: what was played in another version is not mixed in."""


class Game(gymnasium.Env[Frame, Controls], abc.ABC):
    """A game that is played with a gamepad.

    To add one: subclass in a file of its own, fill in `info`, `reset`, `step` and `expert`, and add
    a line to `GAMES` in `nitrogen_train/games/__init__.py`.
    """

    info: ClassVar[GameInfo]

    @classmethod
    def find_missing(cls) -> str:
        """Say in one line what it needs and is not installed; empty if it can be played here."""
        return ""

    @property
    def action_space(self) -> spaces.Dict:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return controls that the game listens to: buttons as 0 or 1, axes in [-1, 1]."""
        return spaces.Dict(
            {
                name: spaces.Box(-1, 1, (), np.float32)
                if name in GAMEPAD.sticks
                else spaces.Discrete(2)
                for name in self.info.controls
            }
        )

    @property
    def observation_space(self) -> spaces.Box:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the picture on the screen."""
        return spaces.Box(0, 255, (*self.info.frame_size, 3), np.uint8)

    @abc.abstractmethod
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode, the same one for the same seed, and show its first frame."""

    @abc.abstractmethod
    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Apply a controller state for one row.

        Returns:
            The next frame, the reward, whether the game ended, whether time ran out, and extras.
        """

    @abc.abstractmethod
    def expert(self) -> Controls:
        """Choose the next action of a scripted player that may read the game's internal state.

        For recording only: a policy never sees what it sees.
        """


def read_pad(action: Controls) -> dict[str, float]:
    """Name the state of every control of the gamepad, as numbers.

    Args:
        action: Some controls by name; the others are released or centred. An analogue trigger is
            read as the binary button that it is in `GAMEPAD`.

    Returns:
        Buttons as 0 or 1, axes in [-1, 1], y down-positive.

    Raises:
        ValueError: If a control is unknown, or a value is not finite or out of range.
    """
    state = GAMEPAD.controls_at(GAMEPAD.rows_from_controls([action]), 0)
    return {name: float(value) for name, value in state.items()}


def random_player(game: type[Game], *, seed: int) -> Iterator[Controls]:
    """Press at random, by one rule for every game: the zero of the normalized score.

    Every row, each control that the game listens to is drawn anew and independently: a button is
    down in half of the rows, an axis is uniform in [-1, 1].

    Args:
        game: Whose controls to press.
        seed: Same seed, same presses.

    Yields:
        Controller states, without end.
    """
    rng = np.random.default_rng(seed)
    while True:
        yield {
            name: bool(rng.random() < 0.5) if name in GAMEPAD.buttons else float(rng.uniform(-1, 1))
            for name in game.info.controls
        }
