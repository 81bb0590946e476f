"""Play in time: rows belong to ticks of the game, and a plan comes later than the frame it is of.

    frame at tick k ─► policy thinks ─► plan arrives at tick k + d ─► its rows from k + d on count
                          ▲
         rows of ticks k … k+d-1, which the plan before has decided

The newest plan that covers a tick is executed; buttons are never averaged. Where no plan covers a
tick the last row is held, and after half a second everything is released.

    synchronous   the game goes on with the last row while the policy thinks, then with the chunk
    skip          the chunk's rows whose ticks have passed are left out
    guided        as skip, and the chunk is pulled towards what was decided (arXiv:2506.07339)
    trained       as skip, and the chunk continues what was decided, as trained (arXiv:2512.05964)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32

from nitrogen_train import flow

LatencyMethod = Literal["synchronous", "skip", "guided", "trained"]

RELEASE_S = 0.5
"""A row is held so long where no plan covers a tick; then the pad is released."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How late plans come, and what is done about it."""

    method: LatencyMethod
    delay_ms: float
    """From the frame to the arrival of its plan."""
    jitter_ms: float = 0.0
    """At most so much more, drawn for each plan."""

    def __post_init__(self) -> None:
        if not (0 <= self.delay_ms < 10_000 and 0 <= self.jitter_ms < 10_000):
            raise ValueError(
                f"delays lie in [0, 10000) ms, got {self.delay_ms:g} and {self.jitter_ms:g} more"
            )

    def count_ticks(self, fps: float, chance: float) -> int:
        """Count the ticks that pass until a plan arrives.

        Args:
            fps: Ticks per second.
            chance: In [0, 1), for the jitter.
        """
        ticks = (self.delay_ms + self.jitter_ms * chance) * fps / 1000
        return math.ceil(round(ticks, 6))


@dataclass(kw_only=True)
class _Plan:
    """A plan that was asked for and has not arrived."""

    asked: int
    arrival: float
    """Tick; infinite where the wall clock tells it."""
    rows: Float32[np.ndarray, "t a"] | None = None


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What a new plan has to go on from."""

    rows: Float32[np.ndarray, "k a"]
    """Rows of the ticks from the frame's on, as far as the plan before goes; model space."""
    num_passing: int
    """How many of them will have been executed when the new plan arrives."""


@dataclass
class Pilot:
    """Decides, for one episode, when to plan, and what is executed at each tick."""

    horizon: int
    """Rows of a chunk."""
    held: int
    """Ticks for which each row is held."""
    fps: float
    latency: Latency
    execution_horizon: int = 1
    """Rows of each plan that a synchronous policy executes."""
    action_offset: int = 0
    """Rows from a frame to the first row of its plan."""
    chance: Callable[[], float] = lambda: 0.0
    """Draws in [0, 1), for the jitter."""
    is_timed: bool = False
    """Whether a plan arrives when it is answered: on the wall clock. The latency is then what is
    expected; else it is what happens."""
    tick: int = 0
    num_missed: int = 0
    """Ticks that no plan covered, after the first plan."""
    age: int | None = None
    """Ticks since the frame that the row executed last is of; None: none was planned."""
    _rows: dict[int, tuple[Float32[np.ndarray, " a"], int]] = field(default_factory=dict)
    """What is executed at a tick, and the tick of the frame behind it."""
    _pending: _Plan | None = None
    _last: Float32[np.ndarray, " a"] | None = None
    _since: int = 0

    def ask(self) -> Decided | None:
        """Take in what has arrived; say what a plan of this tick's frame goes on from.

        Returns:
            None where no plan is asked for: one is under way, or the last one is not used up.
        """
        if self._pending is not None and self.tick >= self._pending.arrival:
            self._place(self._pending)
            self._pending = None
        is_waiting = self.latency.method == "synchronous" and self.tick in self._rows
        if self._pending is not None or is_waiting:
            return None
        delay = self.latency.count_ticks(self.fps, self.chance())
        arrival = math.inf if self.is_timed else self.tick + delay
        self._pending = _Plan(asked=self.tick, arrival=arrival)
        ticks = [self.tick + (row + self.action_offset) * self.held for row in range(self.horizon)]
        decided = [self._rows[tick][0] for tick in takewhile(self._rows.__contains__, ticks)]
        rows = np.stack(decided) if decided else np.zeros((0, 0), np.float32)
        passing = math.ceil(max(0, delay - self.action_offset * self.held) / self.held)
        return Decided(rows=rows, num_passing=min(passing, len(decided), self.horizon - 1))

    def answer(self, rows: Float32[np.ndarray, "t a"]) -> None:
        """Hand over the plan that was asked for; it arrives when its delay is over, or now.

        Args:
            rows: Of the chunk, model space.
        """
        assert self._pending is not None
        self._pending.rows = rows
        if self.is_timed or self._pending.arrival <= self.tick:
            self._place(self._pending)
            self._pending = None

    def _place(self, plan: _Plan) -> None:
        assert plan.rows is not None
        first = plan.asked + self.action_offset * self.held
        rows = plan.rows
        if self.latency.method == "synchronous":
            # The game has gone on, and nobody minds: the chunk begins now.
            first, rows = max(first, self.tick), rows[: self.execution_horizon]
        for row, values in enumerate(rows):
            for tick in range(first + row * self.held, first + (row + 1) * self.held):
                if tick >= self.tick:
                    self._rows[tick] = (values, plan.asked)

    def act(self) -> Float32[np.ndarray, " a"] | None:
        """Return the row of this tick, and go on to the next one; None: everything is released."""
        tick, self.tick = self.tick, self.tick + 1
        planned = self._rows.pop(tick, None)
        self.age = None
        if planned is not None:
            row, asked = planned
            self._last, self._since, self.age = row, tick, tick - asked
            return row
        self.num_missed += self._last is not None
        if self._last is not None and tick - self._since > RELEASE_S * self.fps:
            self._last = None
        return self._last


def weigh_rows(num_rows: int, *, num_decided: int, num_passing: int) -> Float32[torch.Tensor, " t"]:
    r"""Weigh the rows of a new chunk by how much they are decided.

    The first `num_passing` have 1; those that the plan before has as well fall to 0 as
    :math:`c\,(e^c - 1)/(e - 1)`, c from 1 down; the others have 0.

    Args:
        num_rows: Of a chunk.
        num_decided: First rows that the plan before has as well.
        num_passing: First rows that will be executed before the new plan arrives.

    Source:
        Real-time chunking, arXiv:2506.07339, equation 5.
    """
    rows = torch.arange(num_rows, dtype=torch.float32)
    share = (num_decided - rows) / (num_decided - num_passing + 1)
    soft = share * share.exp().sub(1) / (math.e - 1)
    weights = torch.where(rows < num_passing, torch.ones(()), soft)
    return torch.where(rows < num_decided, weights, torch.zeros(()))


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What chunks are given of what is decided; nothing where the method gives nothing."""

    committed: Float32[np.ndarray, "b k a"] | None = None
    inpainting: flow.Inpainting | None = None


def continue_from(
    decided: Sequence[Decided], *, method: LatencyMethod, num_rows: int
) -> Continuation:
    """Say what chunks are given of what is decided.

    Args:
        decided: Of each chunk, all alike far.
        method: What is done about latency.
        num_rows: Of a chunk.
    """
    num_decided, num_passing = len(decided[0].rows), decided[0].num_passing
    if method == "trained" and num_passing:
        return Continuation(committed=np.stack([each.rows[:num_passing] for each in decided]))
    if method != "guided" or not num_decided:
        return Continuation()
    rows = np.stack([each.rows for each in decided])
    # What is not decided has no weight, whatever stands there.
    padded = np.pad(rows, ((0, 0), (0, num_rows - num_decided), (0, 0)))
    weights = weigh_rows(num_rows, num_decided=num_decided, num_passing=num_passing)
    return Continuation(
        inpainting=flow.Inpainting(actions=torch.from_numpy(padded), weights=weights)
    )
