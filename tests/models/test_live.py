"""Plans that come late: which row is executed at which tick, and what a new plan goes on from."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from nitrogen_train import flow
from nitrogen_train.models.live import (
    Decided,
    Latency,
    LatencyMethod,
    Pilot,
    continue_from,
    weigh_rows,
)


def fly(pilot: Pilot, num_ticks: int) -> tuple[list[int | None], list[tuple[int, list[int], int]]]:
    """Answer each question with rows that name their plan's tick and their place.

    Returns:
        What was executed, as 100 * tick of the plan + row, and the questions: tick, what was
        decided, and how much of it will have passed.
    """
    executed: list[int | None] = []
    questions: list[tuple[int, list[int], int]] = []
    for tick in range(num_ticks):
        decided = pilot.ask()
        if decided is not None:
            known = decided.rows[:, 0].astype(int).tolist() if len(decided.rows) else []
            questions.append((tick, known, decided.num_passing))
            rows = 100 * tick + np.arange(pilot.horizon, dtype=np.float32)
            pilot.answer(rows[:, None])
        row = pilot.act()
        executed.append(None if row is None else int(row[0]))
    return executed, questions


def make(method: LatencyMethod, *, ticks: int = 0, horizon: int = 6, **changes) -> Pilot:
    latency = Latency(method=method, delay_ms=100.0 * ticks)
    return Pilot(**{"horizon": horizon, "held": 1, "fps": 10.0, "latency": latency} | changes)


@pytest.mark.parametrize("method", ["skip", "guided", "trained"])
def test_without_a_delay_every_frame_is_looked_at(method):
    executed, questions = fly(make(method), 4)

    assert executed == [0, 100, 200, 300]
    assert questions[0] == (0, [], 0)
    assert questions[2] == (2, [101, 102, 103, 104, 105], 0)


def test_rows_whose_ticks_have_passed_are_left_out():
    executed, questions = fly(make("skip", ticks=2), 8)

    # Nothing is decided before the first plan; then each counts from its arrival on.
    assert executed == [None, None, 2, 3, 202, 203, 402, 403]
    assert [(tick, passing) for tick, _, passing in questions] == [(0, 0), (2, 2), (4, 2), (6, 2)]


def test_what_was_decided_for_the_coming_ticks_is_what_is_executed():
    pilot = make("trained", ticks=2)

    executed, questions = fly(pilot, 12)

    for tick, decided, passing in questions[1:]:
        assert decided[:passing] == executed[tick : tick + passing]
    assert questions[1] == (2, [2, 3, 4, 5], 2)


def test_a_synchronous_policy_holds_the_last_row_and_then_executes_some():
    pilot = make("synchronous", ticks=2, execution_horizon=3)

    executed, questions = fly(pilot, 11)

    assert executed == [None, None, 0, 1, 2, 2, 2, 500, 501, 502, 502]
    assert [tick for tick, _, _ in questions] == [0, 5, 10]
    assert pilot.num_missed == 3


def test_a_row_is_held_half_a_second_and_then_released():
    pilot = make("skip", ticks=90, horizon=2, fps=10.0)
    pilot.latency = Latency(method="skip", delay_ms=0)
    pilot.ask()
    pilot.answer(np.zeros((2, 1), np.float32))
    pilot.latency = Latency(method="skip", delay_ms=9_000)

    executed, _ = fly(pilot, 12)

    # Two rows that are covered, five ticks of half a second that hold the last one.
    assert [row is None for row in executed] == [False] * 7 + [True] * 5
    assert pilot.num_missed == 6


def test_rows_begin_where_they_were_trained_for():
    executed, questions = fly(make("skip", ticks=2, action_offset=3), 8)

    # Of a plan of tick 0 the first row is for tick 3: nothing of it passes in two ticks.
    assert executed[:6] == [None, None, None, 0, 1, 200]
    assert {passing for _, _, passing in questions} == {0}


def test_a_row_that_is_held_for_several_ticks_is_decided_for_all_of_them():
    executed, questions = fly(make("skip", ticks=3, held=2), 12)

    assert executed == [None] * 3 + [1, 2, 2, 301, 302, 302, 601, 602, 602]
    # Its rows are two ticks long as well: what is decided for ticks 3, 5, 7, 9 and 11.
    assert questions[1] == (3, [1, 2, 3, 4, 5], 2)


def test_jitter_is_drawn_for_each_plan():
    chances = iter([0.0, 0.99, 0.5, 0.5, 0.5])
    pilot = make("skip", chance=lambda: next(chances))
    pilot.latency = Latency(method="skip", delay_ms=100, jitter_ms=200)

    _, questions = fly(pilot, 9)

    assert [tick for tick, _, _ in questions] == [0, 1, 4, 6, 8]


@pytest.mark.parametrize(
    ("delay_ms", "ticks"), [(0, 0), (1, 1), (100, 3), (33.333333333, 1), (33.4, 2), (66.7, 3)]
)
def test_a_plan_counts_from_the_tick_after_its_arrival(delay_ms, ticks):
    latency = Latency(method="skip", delay_ms=delay_ms)

    assert latency.count_ticks(30.0, 0.0) == ticks


def test_a_delay_that_is_none_is_refused():
    for delay_ms in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="delays lie in"):
            Latency(method="skip", delay_ms=delay_ms)


def test_weights_fall_from_what_passes_to_what_is_free():
    weights = weigh_rows(8, num_decided=6, num_passing=2)

    assert weights[:2].tolist() == [1, 1]
    assert weights[6:].tolist() == [0, 0]
    # Row 2 is 4 from the end of what is decided, of 5: c = 0.8.
    assert weights[2].item() == pytest.approx(0.8 * (math.exp(0.8) - 1) / (math.e - 1))
    assert all(first > then for first, then in pairwise(weights[1:6]))


def test_a_pull_leads_a_straight_flow_to_what_is_decided():
    """With a network of slope 0 the chunk's estimate moves with x_t, and J is the identity."""
    target = torch.full((1, 3, 2), 0.7)
    inpainting = flow.Inpainting(actions=target, weights=torch.tensor([1.0, 0.5, 0.0]))
    x_t = torch.zeros(1, 3, 2)

    def still(x: torch.Tensor, time: float) -> torch.Tensor:
        return torch.zeros_like(x) + 0 * time

    pulled = flow.steer_velocity(still, x_t, 0.5, inpainting)

    # x_1 = x_t, and at 0.5 the scale is (0.25 + 0.25) / 0.25 = 2.
    torch.testing.assert_close(pulled[0, :, 0], torch.tensor([1.4, 0.7, 0.0]))
    limited = flow.steer_velocity(still, x_t, 0.0, inpainting)
    torch.testing.assert_close(limited[0, :, 0], 5 * torch.tensor([0.7, 0.35, 0.0]))


def test_a_pull_goes_through_the_networks_slope():
    inpainting = flow.Inpainting(actions=torch.ones(1, 1, 2), weights=torch.ones(1))
    weight = torch.tensor([[0.0, 2.0], [1.0, 0.0]])

    def network(x: torch.Tensor, time: float) -> torch.Tensor:
        return x @ weight.T

    x_t, time = torch.tensor([[[0.2, 0.4]]]), 0.5
    pulled = flow.steer_velocity(network, x_t, time, inpainting)

    jacobian = torch.eye(2) + (1 - time) * weight
    x_1 = jacobian @ x_t[0, 0]
    expected = weight @ x_t[0, 0] + 2 * jacobian.T @ (1 - x_1)
    torch.testing.assert_close(pulled[0, 0], expected)


def test_what_is_decided_is_given_as_the_method_can_take_it():
    decided = [Decided(rows=np.full((2, 3), each, np.float32), num_passing=1) for each in (1, 2)]

    guided, trained, skipped = (
        continue_from(decided, method=method, num_rows=4)
        for method in ("guided", "trained", "skip")
    )

    assert guided.inpainting is not None
    assert guided.inpainting.actions.shape == (2, 4, 3)
    assert guided.inpainting.actions[1, :2].eq(2).all()
    assert guided.inpainting.weights[2:].tolist() == [0, 0]
    assert trained.committed is not None
    assert trained.committed.tolist() == [[[1] * 3], [[2] * 3]]
    assert (skipped.committed, skipped.inpainting) == (None, None)
    nothing = [Decided(rows=np.zeros((0, 0), np.float32), num_passing=0)]
    for method in ("guided", "trained"):
        given = continue_from(nothing, method=method, num_rows=4)
        assert (given.committed, given.inpainting) == (None, None)


def test_on_the_wall_clock_a_plan_arrives_when_it_is_answered():
    pilot = make("skip", ticks=1, is_timed=True)
    executed, ages = [], []
    for tick in range(8):
        if tick in (3, 5):
            # What was asked for at tick 0, and at tick 3, has been thought out.
            pilot.answer(100 * (tick - 3) / 2 + np.arange(6, dtype=np.float32)[:, None])
        asked = pilot.ask()
        assert (asked is not None) == (tick in (0, 3, 5))
        row = pilot.act()
        executed.append(None if row is None else int(row[0]))
        ages.append(pilot.age)

    assert executed == [None, None, None, 3, 4, 102, 103, 104]
    assert ages == [None, None, None, 3, 4, 2, 3, 4]
