"""Presses end where their fades begin."""

import numpy as np
import pytest

from data_tools.watching.refine import undo_fades


def press(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """Whether a button is down, some rows at a time."""
    down = np.zeros(num_rows, bool)
    row = 5
    while row < num_rows - 12:
        length = int(rng.integers(3, 15))
        down[row : row + length] = True
        row += length + int(rng.integers(3, 30))
    return down


def fade(down: np.ndarray, frames: float) -> np.ndarray:
    """What is shown of it where releases fade, a step per frame."""
    shown = np.zeros(len(down), np.float32)
    for row in range(1, len(down)):
        shown[row] = max(float(down[row]), shown[row - 1] - 1 / frames)
    return shown


@pytest.mark.parametrize("frames", [4.0, 7.5, 12.0])
def test_presses_end_where_they_are_released(frames: float) -> None:
    rng = np.random.default_rng(0)
    downs = [press(rng, 900) for _ in range(4)]
    shown = np.stack([fade(down, frames) for down in downs], axis=1)
    noisy = np.clip(shown + rng.normal(0, 0.03, shown.shape), 0, 1).astype(np.float32)

    mended, found = undo_fades(noisy, np.ones(900, bool))

    assert found == pytest.approx(frames, rel=0.3)
    for column, down in enumerate(downs):
        late = np.mean((noisy[:, column] > 0.5) != down)
        off = np.mean((mended[:, column] > 0.5) != down)
        assert off < 0.25 * late
        # No press is lost, and none is torn in two.
        assert np.sum(np.diff((mended[:, column] > 0.5).astype(int)) == 1) == pytest.approx(
            np.sum(np.diff(down.astype(int)) == 1), abs=2
        )


def test_what_does_not_fade_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    shown = np.stack([press(rng, 900) for _ in range(3)], axis=1).astype(np.float32)

    mended, found = undo_fades(shown, np.ones(900, bool))

    assert found == 0
    np.testing.assert_array_equal(mended, shown)


def test_triggers_that_are_pulled_slowly_do_not_fade() -> None:
    ramp = np.concatenate([np.linspace(0, 1, 9), np.ones(5), np.linspace(1, 0, 9), np.zeros(9)])
    shown = np.tile(ramp, 20)[:, None].astype(np.float32)

    assert undo_fades(shown, np.ones(len(shown), bool))[1] == 0


def test_a_few_rows_are_left_alone() -> None:
    for rows in (0, 1, 5):
        shown = np.ones((rows, 2), np.float32)
        np.testing.assert_array_equal(undo_fades(shown, np.ones(rows, bool))[0], shown)


def test_a_button_that_does_not_fade_among_others_that_do_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    downs = [press(rng, 900) for _ in range(4)]
    shown = np.stack([*(fade(down, 10) for down in downs[:3]), downs[3]], axis=1)

    mended, found = undo_fades(shown.astype(np.float32), np.ones(900, bool))

    assert found > 5
    np.testing.assert_array_equal(mended[:, 3], downs[3])


def test_a_hold_that_ends_with_what_can_be_read_or_dips_for_a_row_stays_whole() -> None:
    rng = np.random.default_rng(0)
    downs = [press(rng, 900) for _ in range(4)]
    shown = np.stack([fade(down, 10) for down in downs], axis=1).astype(np.float32)
    shown[400:470] = 0
    shown[400:440, 0] = 1
    shown[420, 0] = 0.7
    good = np.ones(900, bool)
    good[440:460] = False

    mended, found = undo_fades(shown, good)

    assert found > 5
    assert (mended[400:440, 0] > 0.5).all()
