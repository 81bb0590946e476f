"""Compare predicted rows with recorded rows, per game and over all games.

On real data the last action repeated reaches 90 % of button F1, so F1 is also counted where a
button changes. With the label of the row before as the reference:

* onset: down now, up in the row before; release: up now, down in the row before;
* a prediction is judged by the same rule *against the same recorded row before*, so every row
  stands for itself, and repeating that row can never score at an onset or a release.

Only counts and sums are kept, so the result depends neither on the order of the rows nor on how
they were split over batches and processes. A metric without an answer is None and left out of every
mean: F1 of a button that never does it, R² of an axis whose labels do not vary.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool

from nitrogen_train.actions import ActionRows, ActionSpace

EVENTS = ("frame", "onset", "release")
"""Events on which a button is judged: being down in a row, going down, coming up."""

SUMMARY = ("frame_f1", "onset_f1", "release_f1", "stick_r2", "stick_mae")
"""A game's means over its buttons and axes; the macro metrics are their means over games."""


@dataclass(kw_only=True)
class _Counts:
    """Everything that is remembered of one game."""

    num_rows: int
    events: np.ndarray
    """(events, 3, buttons) int: true positives, false positives, false negatives."""
    sums: np.ndarray
    """(4, axes) float: labels, their squares, absolute errors, squared errors."""
    low: np.ndarray
    high: np.ndarray
    """(axes,) range of the labels: an axis that does not vary has no R²."""

    @classmethod
    def empty(cls, space: ActionSpace) -> "_Counts":
        num_axes = len(space.sticks)
        return cls(
            num_rows=0,
            events=np.zeros((len(EVENTS), 3, len(space.buttons)), dtype=np.int64),
            sums=np.zeros((4, num_axes)),
            low=np.full(num_axes, np.inf),
            high=np.full(num_axes, -np.inf),
        )

    def add(self, other: "_Counts") -> None:
        self.num_rows += other.num_rows
        self.events += other.events
        self.sums += other.sums
        self.low = np.minimum(self.low, other.low)
        self.high = np.maximum(self.high, other.high)


@dataclass(kw_only=True)
class OfflineMetrics:
    """Sums over rows, from which the metrics follow at the end."""

    space: ActionSpace
    _games: dict[str, _Counts] = field(default_factory=dict)

    def update(
        self,
        game: str,
        *,
        predicted: ActionRows,
        labels: ActionRows,
        previous: ActionRows | None,
        valid: Bool[np.ndarray, " rows"],
    ) -> None:
        """Count some rows of a game.

        Args:
            game: Where the rows come from.
            predicted: The policy's rows.
            labels: The recorded rows at the same times.
            previous: The recorded rows just before these; None counts no onsets and releases.
            valid: True where the recorded rows exist and are valid; the others are not counted.

        Raises:
            ValueError: If the rows do not match, or a prediction is not finite.
        """
        recorded = [labels] if previous is None else [labels, previous]
        self._check(predicted, *recorded, num_rows=len(valid))
        down, said_down = (rows.buttons[valid] for rows in (labels, predicted))
        truth = labels.sticks[valid].astype(np.float64)
        error = predicted.sticks[valid] - truth
        counts = _Counts.empty(self.space)
        counts.num_rows = int(valid.sum())
        counts.events[0] = _hits(said_down, down)
        if previous is not None:
            was_down = previous.buttons[valid]
            counts.events[1] = _hits(said_down & ~was_down, down & ~was_down)
            counts.events[2] = _hits(~said_down & was_down, ~down & was_down)
        counts.sums[:] = [values.sum(axis=0) for values in (truth, truth**2, abs(error), error**2)]
        counts.low = truth.min(axis=0, initial=np.inf)
        counts.high = truth.max(axis=0, initial=-np.inf)
        self._games.setdefault(game, _Counts.empty(self.space)).add(counts)

    def merge(self, other: "OfflineMetrics") -> None:
        """Add what another process counted.

        Raises:
            ValueError: If it counted another action space.
        """
        if other.space != self.space:
            raise ValueError(f"cannot merge {other.space.name!r} into {self.space.name!r}")
        for game, counts in other._games.items():
            self._games.setdefault(game, _Counts.empty(self.space)).add(counts)

    def compute(self) -> dict[str, Any]:
        """Turn the sums into metrics.

        Returns:
            `{"macro": {...}, "games": {game: {...}}}`: each with the means named in `SUMMARY`, and
            per game its `rows`, `buttons` and `sticks`. Buttons that were never down and never
            predicted, and axes that neither vary nor err, are not listed.
        """
        games = {game: self._summarize(counts) for game, counts in sorted(self._games.items())}
        macro = {name: _mean([metrics[name] for metrics in games.values()]) for name in SUMMARY}
        return {"macro": macro, "games": games}

    def _summarize(self, counts: _Counts) -> dict[str, Any]:
        buttons = {
            name: {event: _f1(counts.events[e, :, i]) for e, event in enumerate(EVENTS)}
            for i, name in enumerate(self.space.buttons)
            if counts.events[:, :, i].any()
        }
        sticks = {
            name: _stick(counts, axis)
            for axis, name in enumerate(self.space.sticks)
            if counts.high[axis] > counts.low[axis] or counts.sums[2, axis] > 0
        }
        varying = [stick for stick in sticks.values() if stick["r2"] is not None]
        means = {
            f"{event}_f1": _mean([button[event]["f1"] for button in buttons.values()])
            for event in EVENTS
        }
        means |= {
            f"stick_{name}": _mean([stick[name] for stick in varying]) for name in ("r2", "mae")
        }
        return {"rows": counts.num_rows, **means, "buttons": buttons, "sticks": sticks}

    def _check(self, *rows: ActionRows, num_rows: int) -> None:
        expected = ((num_rows, len(self.space.buttons)), (num_rows, len(self.space.sticks)))
        for each in rows:
            if (each.buttons.shape, each.sticks.shape) != expected:
                raise ValueError(
                    f"rows of {self.space.name!r} should have the shapes {expected}, "
                    f"got {(each.buttons.shape, each.sticks.shape)}"
                )
        if not np.isfinite(rows[0].sticks).all():
            raise ValueError("the policy predicted a stick value that is not finite")


def _hits(said: np.ndarray, true: np.ndarray) -> list[np.ndarray]:
    return [(said & true).sum(axis=0), (said & ~true).sum(axis=0), (~said & true).sum(axis=0)]


def _f1(hits: np.ndarray) -> dict[str, float | int | None]:
    """Compute precision, recall and F1; None without a single positive label."""
    right, wrong, missed = (int(count) for count in hits)
    support = right + missed
    return {
        "precision": right / (right + wrong) if right + wrong else None,
        "recall": right / support if support else None,
        "f1": 2 * right / (2 * right + wrong + missed) if support else None,
        "support": support,
        "false_alarms": wrong,
    }


def _stick(counts: _Counts, axis: int) -> dict[str, float | None]:
    total, squares, absolute, squared_errors = counts.sums[:, axis]
    spread = squares - total**2 / counts.num_rows
    varies = counts.high[axis] > counts.low[axis]
    return {
        "r2": float(1 - squared_errors / spread) if varies else None,
        "mae": float(absolute / counts.num_rows),
    }


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
