"""Where a stick rests and how far it goes is told from its places, whatever the player does."""

import numpy as np
import pytest

from data_tools.watching.any_skin.stick_range import find_stick_ranges

TRAVEL = 12.0
RNG = np.random.default_rng(0)
ANGLES = RNG.uniform(0, 2 * np.pi, 300)
AROUND = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) * RNG.uniform(0.2, 1, (300, 1)) ** 0.5
AT_REST = np.zeros((120, 2))
PLAYS = {
    "rests, and goes all ways": (AT_REST, AROUND),
    "rests for most of the time": (np.zeros((900, 2)), AROUND),
    "held forward for most of the time": (AT_REST, [[0, -1.0]] * 800, AROUND[:80]),
    "forward or nothing": (AT_REST, [[0, -1.0]] * 300, [[0, y] for y in -RNG.random(20)]),
    "forward for most of the time, and steered": (
        np.column_stack([AROUND[:, 0], -np.ones(300)]),
        AROUND[:100],
        AT_REST[:30],
    ),
    "left and right alone": (AT_REST, [[-1.0, 0]] * 150, [[1.0, 0]] * 200),
    "a wheel that goes to one side": (AT_REST, [[1.0, 0]] * 200),
}


@pytest.mark.parametrize("off", [(0.0, 0.0), (3.4, -4.2)], ids=["right place", "place is off"])
@pytest.mark.parametrize("play", PLAYS)
def test_rest_and_reach_are_found(play: str, off: tuple[float, float]) -> None:
    axes = np.concatenate([np.asarray(part, float) for part in PLAYS[play]])
    places = off + TRAVEL * RNG.permutation(axes) + RNG.normal(0, 0.25, axes.shape)

    ((rest, reach),) = find_stick_ranges([places.astype(np.float32)], [0.8 * TRAVEL])

    assert rest == pytest.approx(off, abs=0.5)
    assert reach == pytest.approx(TRAVEL, rel=0.1)


def test_a_stick_that_is_parked_does_not_rest_where_the_layout_saw_it() -> None:
    # The layout was told from pictures that show the cap where it is parked, and lies near there.
    parked = np.array([0.8, 0.0])
    axes = np.concatenate([AROUND, np.tile(parked, (1600, 1)), *[AT_REST] * 3])
    places = TRAVEL * (axes - 0.6 * parked) + RNG.normal(0, 0.25, axes.shape)

    ((rest, reach),) = find_stick_ranges([places.astype(np.float32)], [TRAVEL])

    assert rest == pytest.approx(-TRAVEL * 0.6 * parked, abs=0.6)
    assert reach == pytest.approx(TRAVEL, rel=0.1)


def test_a_stick_that_goes_one_way_rests_where_the_reach_of_the_other_has_it() -> None:
    # A walk: forward, as far as it goes, with a look aside. Of these places the layout's is near
    # the middle, and it sees too small a stick.
    rng = np.random.default_rng(0)
    forward = -rng.beta(3, 1.2, 600)
    sideways = np.where(rng.random(600) < 0.2, rng.uniform(-0.6, 0.6, 600), 0)
    axes = np.concatenate([np.column_stack([sideways, forward]), AT_REST[:90]])
    walk = (TRAVEL * axes + [0, 2.0] + rng.normal(0, 0.1, axes.shape)).astype(np.float32)
    turns = np.concatenate([np.asarray(part) for part in PLAYS["left and right alone"]])
    turns = (TRAVEL * turns + rng.normal(0, 0.1, turns.shape)).astype(np.float32)

    (rest, reach), (_, other) = find_stick_ranges([walk, turns], [0.6 * TRAVEL, 0.6 * TRAVEL])

    assert rest == pytest.approx([0, 2.0], abs=0.5)
    assert (reach, other) == pytest.approx((TRAVEL, TRAVEL), rel=0.1)


def test_a_stick_that_is_moved_a_little_goes_as_far_as_the_other() -> None:
    little = (0.3 * TRAVEL * AROUND).astype(np.float32)
    far = (TRAVEL * np.concatenate([AT_REST, AROUND])).astype(np.float32)

    (_, reach), (_, other) = find_stick_ranges([little, far], [TRAVEL, TRAVEL])

    assert reach == other == pytest.approx(TRAVEL, rel=0.1)


def test_places_that_were_read_wrong_do_not_stretch_it() -> None:
    places = TRAVEL * np.concatenate([AT_REST, AROUND, AROUND, [[0.1, 1.9]] * 10])

    ((_, reach),) = find_stick_ranges([places.astype(np.float32)], [TRAVEL])

    assert reach == pytest.approx(TRAVEL, rel=0.1)


def test_a_stick_that_is_not_moved_is_not_stretched() -> None:
    places = RNG.normal(1.0, 0.2, (200, 2)).astype(np.float32)

    ((rest, reach),) = find_stick_ranges([places], [TRAVEL])

    assert rest == pytest.approx([1, 1], abs=0.2)
    assert reach == TRAVEL / 4


def test_without_places_the_layout_is_believed() -> None:
    ((rest, reach),) = find_stick_ranges([np.zeros((0, 2), np.float32)], [TRAVEL])

    assert (rest.tolist(), reach) == ([0, 0], TRAVEL)
