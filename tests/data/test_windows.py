import numpy as np
import pytest

from nitrogen_train.data.windows import WindowShape


def shape(**changes: float) -> WindowShape:
    defaults = {"num_frames": 1, "frame_stride": 1, "action_horizon": 4, "action_offset": 0}
    return WindowShape(**(defaults | changes))


def valid_rows(runs: list[int], num_rows: int) -> np.ndarray:
    valid = np.zeros(num_rows, bool)
    for start, stop in zip(runs[::2], runs[1::2], strict=True):
        valid[start:stop] = True
    return valid


@pytest.mark.parametrize("offset", [0, 1, 3, 9, 20])
@pytest.mark.parametrize("runs", [[], [0, 10], [2, 5, 7, 10], [0, 1], [9, 10]])
def test_rows_count_up_to_the_first_that_is_not_valid(runs: list[int], offset: int) -> None:
    valid = valid_rows(runs, 10)
    rows = [valid[frame + offset : frame + offset + 4] for frame in range(10)]

    counted = shape(action_offset=offset).count_rows(valid, np.arange(10))

    assert counted.tolist() == [np.logical_and.accumulate(each).sum() for each in rows]


def test_frames_are_strided_oldest_first_and_may_lie_before_the_clip() -> None:
    window = shape(num_frames=3, frame_stride=5)

    assert window.frame_indices(np.array([12, 4])).tolist() == [[2, 7, 12], [-6, -1, 4]]


@pytest.mark.parametrize("name", ["num_frames", "frame_stride", "action_horizon"])
def test_sizes_start_at_one(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        shape(**{name: 0})


@pytest.mark.parametrize(
    ("fps", "rows"), [(30.0, 1), (60.0, 2), (59.94, 2), (29.97, 1), (120.0, 4)]
)
def test_rates_that_are_multiples_are_joined(fps: float, rows: int) -> None:
    assert shape(action_hz=30.0).rows_per_action(fps) == rows
    assert shape().rows_per_action(fps) == 1


@pytest.mark.parametrize("fps", [20.0, 45.0, 50.0, 61.0, 1.0])
def test_other_rates_are_refused(fps: float) -> None:
    with pytest.raises(ValueError, match=rf"{fps:g} frames per second are no multiple of"):
        shape(action_hz=30.0).rows_per_action(fps)
