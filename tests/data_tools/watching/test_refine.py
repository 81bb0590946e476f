"""What only the whole video tells refines a reading, without moving a press."""

import numpy as np

from data_tools.watching.reading import Reading
from data_tools.watching.refine import refine
from nitrogen_train.actions import GAMEPAD


def make_reading(fps: float = 30.0, **controls: np.ndarray) -> Reading:
    num_rows = len(next(iter(controls.values())))
    buttons = np.zeros((num_rows, len(GAMEPAD.buttons)), np.float32)
    sticks = np.zeros((num_rows, len(GAMEPAD.sticks)), np.float32)
    for name, values in controls.items():
        if name in GAMEPAD.buttons:
            buttons[:, GAMEPAD.buttons.index(name)] = values
        else:
            sticks[:, GAMEPAD.sticks.index(name)] = values
    return Reading(
        layout="xbox", drawn=frozenset(controls), width=320, height=180, fps=fps,
        times_s=np.arange(num_rows) / fps, buttons=buttons,
        button_confidence=np.ones_like(buttons), sticks=sticks,
        stick_confidence=np.ones_like(sticks), readable=np.ones(num_rows, bool),
        residual=np.ones(num_rows, np.float32), stretches=(),
    )  # fmt: skip


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


def test_flicker_of_one_row_is_taken_back_and_a_clear_press_of_one_row_stays() -> None:
    values = np.zeros(40)
    values[[10, 11, 12, 13, 14, 15]] = 1
    values[20], values[30] = 0.6, 0.95

    refined, _ = refine(make_reading(EAST=values))

    assert np.flatnonzero(refined.control("EAST") > 0.5).tolist() == [*range(10, 16), 30]


def test_opposite_directions_exclude_each_other() -> None:
    left, right = np.zeros(10), np.zeros(10)
    left[4:6], right[4:6] = 0.9, 0.7

    refined, _ = refine(make_reading(DPAD_LEFT=left, DPAD_RIGHT=right))

    assert (refined.control("DPAD_LEFT")[4:6] > 0.5).all()
    assert not refined.control("DPAD_RIGHT").any()


def test_a_stick_at_rest_is_still_and_small_tilts_stay() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.01, 200)
    values[100:] = 0.15

    refined, facts = refine(make_reading(LEFT_STICK_X=values))

    assert np.mean(refined.control("LEFT_STICK_X")[:100] == 0) > 0.8
    np.testing.assert_allclose(refined.control("LEFT_STICK_X")[100:], 0.15)
    assert facts.stick_reach["LEFT_STICK_X"] < 0.16


def test_the_dead_zone_of_a_display_is_named() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 0.3, 0.5, -0.4, 1.0], 300)

    _, facts = refine(make_reading(LEFT_STICK_Y=values))

    assert facts.stick_dead_zone["LEFT_STICK_Y"] > 0.25


def test_a_display_at_half_of_the_rate_is_recognized() -> None:
    rng = np.random.default_rng(0)
    half = np.repeat(rng.uniform(-1, 1, 150), 2)

    assert refine(make_reading(fps=60.0, LEFT_STICK_X=half))[1].display_fps == 30.0
    whole = rng.uniform(-1, 1, 300)
    assert refine(make_reading(fps=60.0, LEFT_STICK_X=whole))[1].display_fps is None
