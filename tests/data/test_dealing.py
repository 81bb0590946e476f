import numpy as np
import pytest

from nitrogen_train.data.order import deal_evenly


@pytest.mark.parametrize("weights", [[1.0], [3.0, 1.0], [5.0, 2.0, 1.0], [0.7, 0.2, 0.06, 0.04]])
def test_every_run_of_slots_has_each_share_to_within_two(weights: list[float]) -> None:
    slots = deal_evenly(weights, count=400)
    shares = np.array(weights) / sum(weights)

    for length in (1, 7, 32, 100, 400):
        for start in range(0, 400 - length + 1, 13):
            counts = np.bincount(slots[start : start + length], minlength=len(weights))
            assert (np.abs(counts - shares * length) < 2).all()


def test_three_to_one_is_dealt_three_to_one() -> None:
    assert np.bincount(deal_evenly([3.0, 1.0], count=32)).tolist() == [24, 8]


def test_only_ratios_matter() -> None:
    np.testing.assert_array_equal(
        deal_evenly([3.0, 1.0], count=50), deal_evenly([0.75, 0.25], count=50)
    )


@pytest.mark.parametrize("weights", [[1.0, 0.0], [-1.0], [float("nan"), 1.0], [float("inf")]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        deal_evenly(weights, count=4)
