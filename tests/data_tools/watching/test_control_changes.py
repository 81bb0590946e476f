"""A control is read again exactly when its picture has changed."""

import numpy as np
import pytest

from data_tools.watching.any_skin.control_changes import ControlChanges, measure_change

CELLS = (slice(10, 12), slice(20, 22))
"""Of the control; its pixels are four times that."""


def show(levels: list[float], *, elsewhere: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    luma = np.full((len(levels), 160, 256), elsewhere, np.float32)
    for frame, level in zip(luma, levels, strict=True):
        frame[40:48, 80:88] = level
    return luma, np.full((len(levels), 2, 80, 128), 128, np.float32)


class Reader:
    """Reads the level of the control, and notes what it was asked for."""

    def __init__(self, luma: np.ndarray) -> None:
        self.luma, self.asked = luma, []

    def __call__(self, frames: np.ndarray, columns: np.ndarray) -> np.ndarray:
        self.asked += frames.tolist()
        return self.luma[frames, 44, 84][:, None]


def read(levels: list[float], *, chunk: int = 100) -> tuple[list[float], list[int]]:
    luma, chroma = show(levels)
    changes, before = ControlChanges([CELLS], 1), None
    values, asked = [], []
    for start in range(0, len(levels), chunk):
        part = slice(start, start + chunk)
        reader = Reader(luma[part])
        change = measure_change(luma[part], chroma[part], before)
        values += changes.fill(change, reader)[:, 0, 0].tolist()
        asked += [start + frame for frame in reader.asked]
        before = luma[part][-1], chroma[part][-1]
    return values, asked


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_only_frames_that_differ_are_read_and_the_others_are_as_before(chunk: int) -> None:
    levels = [50.0, 50, 51, 51, 90, 90, 90, 50, 50]

    values, asked = read(levels, chunk=chunk)

    assert asked == [0, 4, 7]
    assert values == [50, 50, 50, 50, 90, 90, 90, 50, 50]


@pytest.mark.parametrize("chunk", [2, 100])
def test_what_creeps_is_read_before_it_has_gone_far(chunk: int) -> None:
    levels = [50.0 + step for step in range(20)]

    values, asked = read(levels, chunk=chunk)

    assert len(asked) == 7
    assert max(abs(value - level) for value, level in zip(values, levels, strict=True)) <= 2.5


def test_what_changes_elsewhere_or_in_colour_alone_is_told_apart() -> None:
    luma, chroma = show([50.0] * 3)
    luma[1:, 100:] = 30
    chroma[2, 1, 20:24, 40:44] = 140

    change = measure_change(luma, chroma, None)

    assert change[0].max() == 0
    assert change[1][CELLS].max() == 0
    assert change[1].max() == 70
    assert change[2][CELLS].max() == 12
    assert measure_change(luma[:1], chroma[:1], (luma[2], chroma[0]))[0].max() == 70


def test_without_controls_nothing_is_read() -> None:
    luma, chroma = show([1.0, 2.0])

    assert ControlChanges([], 1).fill(measure_change(luma, chroma, None), Reader(luma)).size == 0
