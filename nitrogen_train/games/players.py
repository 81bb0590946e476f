"""Players that know nothing of the game."""

from collections.abc import Iterator

import numpy as np

from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.games.base import Game


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
