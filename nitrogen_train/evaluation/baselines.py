"""Players that see no picture: what a policy must beat offline before its metrics mean anything.

* `repeat`: the recorded row just before, once more;
* `idle`: nothing pressed, sticks centred;
* `most_common`: per game, each button as it is in most rows of the training split, and the median
  of each axis, the constant with the least absolute error.
"""

from dataclasses import dataclass, field

import numpy as np

from nitrogen_train.actions import ActionRows, ActionSpace

_NUM_BINS = 401
"""The median is read off a histogram of [-1, 1]: exact to 0.0025, in constant memory."""


def predict_repeat(previous: ActionRows) -> ActionRows:
    """Predict that nothing changes."""
    return previous


def predict_idle(previous: ActionRows) -> ActionRows:
    """Predict that nobody touches the pad, for as many rows as are given."""
    return ActionRows(
        buttons=np.zeros_like(previous.buttons), sticks=np.zeros_like(previous.sticks)
    )


@dataclass(kw_only=True)
class MostCommonAction:
    """The best constant action of each game, counted over its training rows."""

    space: ActionSpace
    _num_rows: dict[str, int] = field(default_factory=dict)
    _presses: dict[str, np.ndarray] = field(default_factory=dict)
    _histograms: dict[str, np.ndarray] = field(default_factory=dict)

    def update(self, game: str, rows: ActionRows) -> None:
        """Count training rows of a game."""
        presses = self._presses.setdefault(game, np.zeros(len(self.space.buttons), np.int64))
        presses += rows.buttons.sum(axis=0)
        histogram = self._histograms.setdefault(
            game, np.zeros((len(self.space.sticks), _NUM_BINS), np.int64)
        )
        bins = np.rint((rows.sticks + 1) / 2 * (_NUM_BINS - 1)).astype(np.int64)
        for axis in range(len(self.space.sticks)):
            histogram[axis] += np.bincount(bins[:, axis], minlength=_NUM_BINS)
        self._num_rows[game] = self._num_rows.get(game, 0) + len(rows)

    def predict(self, game: str, *, num_rows: int) -> ActionRows:
        """Repeat the game's constant action.

        Raises:
            ValueError: If no training row of the game was counted.
        """
        total = self._num_rows.get(game, 0)
        if total == 0:
            raise ValueError(
                f"the training split has no row of {game!r}: "
                "the most common action needs at least one training clip of every game"
            )
        below_half = np.cumsum(self._histograms[game], axis=1) < total / 2
        sticks = below_half.sum(axis=1) / (_NUM_BINS - 1) * 2 - 1
        return ActionRows(
            buttons=np.tile(self._presses[game] * 2 > total, (num_rows, 1)),
            sticks=np.tile(sticks.astype(np.float32), (num_rows, 1)),
        )
