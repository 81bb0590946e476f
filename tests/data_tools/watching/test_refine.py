"""What only the whole video tells refines a reading, without moving a press."""

import numpy as np
import pytest
from made_readings import make_reading

from data_tools.watching.refine import refine


def test_weak_presses_become_whole_ones_at_their_own_rows() -> None:
    values = np.full(60, 0.05)
    values[10:20] = 0.46
    values[40] = 0.5

    refined, facts = refine(make_reading(SOUTH=values))

    assert np.flatnonzero(refined.control("SOUTH") > 0.5).tolist() == [*range(10, 20), 40]
    assert 0.4 < facts.down_levels["SOUTH"] < 0.5


def test_a_trigger_that_is_pulled_in_part_keeps_its_values() -> None:
    values = np.concatenate([np.zeros(30), np.linspace(0, 1, 30), np.linspace(1, 0, 30)])

    refined, _ = refine(make_reading(LEFT_TRIGGER=values))

    np.testing.assert_allclose(refined.control("LEFT_TRIGGER"), values, atol=0.011)


def test_a_trigger_at_rest_is_still() -> None:
    values = np.zeros(90)
    values[10:80:3] = 0.11
    values[40:60] = np.concatenate([np.linspace(0.05, 0.9, 10), np.linspace(0.9, 0.05, 10)])

    refined, _ = refine(make_reading(RIGHT_TRIGGER=values))

    read = refined.control("RIGHT_TRIGGER")
    assert not read[:40].any()
    assert not read[61:].any()
    np.testing.assert_allclose(read[40:60], values[40:60], atol=1e-6)


def test_flicker_of_one_row_is_taken_back_and_a_clear_press_of_one_row_stays() -> None:
    values = np.zeros(40)
    values[[10, 11, 12, 13, 14, 15]] = 1
    values[20], values[30] = 0.6, 0.95

    refined, _ = refine(make_reading(EAST=values))

    assert np.flatnonzero(refined.control("EAST") > 0.5).tolist() == [*range(10, 16), 30]


def test_a_doubtful_release_of_one_row_is_mended_but_not_beside_an_unreadable_row() -> None:
    values = np.zeros(60)
    values[10:30] = 1
    values[20], values[50] = 0.45, 0.6
    reading = make_reading(EAST=values)
    reading.readable[49] = False

    refined, _ = refine(reading)

    assert np.flatnonzero(refined.control("EAST") > 0.5).tolist() == [*range(10, 30), 50]


def test_rows_that_could_not_be_read_say_nothing_of_rest() -> None:
    button, stick = np.zeros(400), np.zeros(400)
    button[:60], button[60:80] = 0.2, 0.8
    stick[:80] = np.tile([0.03, -0.03], 40)
    reading = make_reading(SOUTH=button, LEFT_STICK_X=stick)
    reading.readable[80:] = False

    refined, _ = refine(reading)

    assert not refined.control("SOUTH")[:60].any()
    assert not refined.control("LEFT_STICK_X").any()


@pytest.mark.parametrize(
    ("strong", "weak"),
    [("DPAD_LEFT", "DPAD_RIGHT"), ("DPAD_RIGHT", "DPAD_LEFT"), ("DPAD_DOWN", "DPAD_UP")],
)
def test_opposite_directions_exclude_each_other(strong: str, weak: str) -> None:
    values = np.zeros((2, 10))
    values[0, 4:6], values[1, 4:6] = 0.9, 0.7

    refined, _ = refine(make_reading(**{strong: values[0], weak: values[1]}))

    assert (refined.control(strong)[4:6] > 0.5).all()
    assert not refined.control(weak).any()


def test_a_stick_at_rest_is_still_and_small_tilts_stay() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.01, 200)
    values[100:] = 0.15

    refined, facts = refine(make_reading(LEFT_STICK_X=values))

    assert np.mean(refined.control("LEFT_STICK_X")[:100] == 0) > 0.8
    np.testing.assert_allclose(refined.control("LEFT_STICK_X")[100:], 0.15)
    assert facts.stick_reach["LEFT_STICK_X"] < 0.16


def test_a_small_tilt_is_no_rest_and_the_reach_is_that_of_the_largest_tilts() -> None:
    values = np.full(100, 0.1)
    values[90:] = -0.9

    refined, facts = refine(make_reading(LEFT_STICK_X=values))

    np.testing.assert_allclose(refined.control("LEFT_STICK_X"), values, atol=1e-6)
    assert facts.stick_reach["LEFT_STICK_X"] > 0.89


def test_the_dead_zone_of_a_display_is_named() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 0.3, 0.5, -0.4, 1.0], 300)

    _, facts = refine(make_reading(LEFT_STICK_Y=values))

    assert facts.stick_dead_zone["LEFT_STICK_Y"] > 0.25


def test_a_display_at_half_of_the_rate_is_recognized() -> None:
    rng = np.random.default_rng(0)
    half = np.repeat(rng.uniform(-1, 1, 150), 2)

    for values in (half, half[1:]):
        refined, facts = refine(make_reading(fps=60.0, LEFT_STICK_X=values))
        assert facts.display_fps == refined.display_fps == 30.0
    assert refine(make_reading(fps=30.0, LEFT_STICK_X=half))[1].display_fps is None
    whole = rng.uniform(-1, 1, 300)
    assert refine(make_reading(fps=60.0, LEFT_STICK_X=whole))[1].display_fps is None


def test_rows_that_could_not_be_read_do_not_change_the_displays_rate() -> None:
    half = np.repeat(np.random.default_rng(0).uniform(-1, 1, 150), 2)
    half[::7] = 0
    reading = make_reading(fps=60.0, LEFT_STICK_X=half)
    reading.readable[::7] = False

    assert refine(reading)[1].display_fps == 30.0


def test_an_axis_that_nobody_moves_is_still() -> None:
    noise = np.zeros(200)
    noise[::9] = 0.02
    moved = noise.copy()
    moved[50:60] = 0.3

    refined, _ = refine(make_reading(LEFT_STICK_X=noise, LEFT_STICK_Y=moved))

    assert not refined.control("LEFT_STICK_X").any()
    assert refined.control("LEFT_STICK_Y")[55] == pytest.approx(0.3)
