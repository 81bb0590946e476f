"""Both looks of a button are told apart by moments of its own video."""

import numpy as np
import pytest

from data_tools.watching.any_skin.press_splits import LEVELS, find_click_split, find_press_split

NUM_MOMENTS = 48
SIZE = (12.0, 10.0)
BUTTON = (slice(11, 21), slice(10, 22))


def make_patches(
    rng: np.random.Generator, pressed: np.ndarray, *, press: float, noise: float = 4.0
) -> np.ndarray:
    """Differences from rest, in levels: presses of a button, and a neighbour that flashes."""
    patches = rng.normal(0, noise, (len(pressed), 3, 32, 32))
    patches[:, 0, *BUTTON] += press * pressed[:, None, None]
    flashes = rng.random(len(pressed)) < 0.4
    patches[:, 0, :, 26:] += 80 * flashes[:, None, None]
    # Something that comes and goes lies across the button's edge, too.
    patches[:, 0, 14:, 18:26] += 60 * rng.random(len(pressed))[:, None, None]
    return (patches / LEVELS[:, None, None]).astype(np.float32)


def test_a_faint_press_beside_strong_changes_is_told_where_the_network_half_knows_it() -> None:
    rng = np.random.default_rng(0)
    pressed = rng.random(NUM_MOMENTS) < 0.25
    patches = make_patches(rng, pressed, press=12)
    likely = np.where(pressed, 0.6, 0.1).astype(np.float32)

    split = find_press_split(patches, likely, SIZE)

    assert split is not None
    np.testing.assert_array_equal(split.pressed, pressed)
    again = rng.random(200) < 0.5
    read = split.measure(make_patches(rng, again, press=12)) > 0.5
    assert np.mean(read == again) > 0.98


def test_half_a_press_measures_half() -> None:
    rng = np.random.default_rng(0)
    pressed = np.arange(NUM_MOMENTS) % 4 == 0
    split = find_press_split(make_patches(rng, pressed, press=40), pressed.astype(np.float32), SIZE)
    assert split is not None

    for share in (0.0, 0.5, 1.0):
        shown = make_patches(rng, np.full(200, share), press=40, noise=1)
        assert np.mean(split.measure(shown)) == pytest.approx(share, abs=0.1)


def test_what_flashes_beside_a_button_that_is_not_used_is_no_press() -> None:
    rng = np.random.default_rng(0)
    patches = make_patches(rng, np.zeros(NUM_MOMENTS), press=0)
    flashes = (patches[:, 0, 0, 31] > 0.6).astype(np.float32)

    assert find_press_split(patches, flashes, SIZE) is None
    assert find_press_split(patches, np.zeros(NUM_MOMENTS, np.float32), SIZE) is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_moments_that_are_too_few_or_all_alike_part_nothing(count: int) -> None:
    zeros = np.zeros((count, 3, 32, 32), np.float32)

    assert find_press_split(zeros, np.zeros(count, np.float32), SIZE) is None


def test_pressed_is_the_rarer_look_unless_rest_is_known() -> None:
    rng = np.random.default_rng(0)
    held = np.arange(NUM_MOMENTS) % 4 > 0
    patches = make_patches(rng, held, press=40)

    rarer = find_press_split(patches, held.astype(np.float32), SIZE)
    known = find_press_split(patches, held.astype(np.float32), SIZE, is_rest_sure=True)

    assert rarer is not None
    assert known is not None
    np.testing.assert_array_equal(rarer.pressed, ~held)
    np.testing.assert_array_equal(known.pressed, held)


def test_a_click_that_the_network_does_not_see_is_told_unless_places_explain_it() -> None:
    rng = np.random.default_rng(0)
    clicked = rng.random(96) < 0.3
    patches = make_patches(rng, clicked, press=40, noise=2)
    unseen = np.full(96, 0.05, np.float32)
    anywhere = rng.uniform(-5, 5, (96, 2)).astype(np.float32)
    # As of a shadow that is seen when the stick is pushed to the left.
    pushed = anywhere * (1, 0) + np.where(clicked, -9, 9)[:, None] * (1, 0)

    split = find_click_split(patches, unseen, SIZE, anywhere)

    assert split is not None
    np.testing.assert_array_equal(split.pressed, clicked)
    assert find_click_split(patches, unseen, SIZE, pushed.astype(np.float32)) is None
    noise = make_patches(rng, np.zeros(96), press=0)
    assert find_click_split(noise, unseen, SIZE, anywhere) is None
