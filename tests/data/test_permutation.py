import numpy as np
import pytest

from nitrogen_train.data.permutation import derive_key, permute


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 64, 100, 1000, 4097])
def test_every_place_is_taken_once(size: int) -> None:
    for key in range(5):
        places = permute(np.arange(size), size=size, key=derive_key(key))

        assert sorted(places) == list(range(size))


def test_an_element_does_not_depend_on_what_else_is_asked() -> None:
    key = derive_key(3)
    whole = permute(np.arange(1000), size=1000, key=key)

    some = np.array([999, 0, 500, 500])

    np.testing.assert_array_equal(permute(some, size=1000, key=key), whole[some])


def test_sizes_and_keys_may_differ_by_element() -> None:
    sizes, keys = np.array([3, 1000, 17, 1]), derive_key(np.arange(4))
    index = np.array([2, 998, 0, 0])

    together = permute(index, size=sizes, key=keys)

    alone = [
        int(permute(index[i : i + 1], size=int(sizes[i]), key=keys[i : i + 1])[0]) for i in range(4)
    ]
    assert together.tolist() == alone


@pytest.mark.parametrize("size", [3, 8, 31])
def test_over_keys_every_element_lands_everywhere_alike(size: int) -> None:
    draws = 4000
    keys = np.repeat(derive_key(np.arange(draws)), size)
    places = permute(np.tile(np.arange(size), draws), size=size, key=keys).reshape(draws, size)

    for element in range(size):
        counts = np.bincount(places[:, element], minlength=size)
        chi_squared = ((counts - draws / size) ** 2 / (draws / size)).sum()
        # Its mean is size - 1, its deviation sqrt(2 * size).
        assert chi_squared < size - 1 + 6 * np.sqrt(2 * size)


def test_neighbours_do_not_stay_neighbours() -> None:
    keys = np.repeat(derive_key(np.arange(2000)), 64)
    places = permute(np.tile(np.arange(64), 2000), size=64, key=keys).reshape(2000, 64)

    together = (np.diff(places, axis=1) == 1).mean()

    # Of a random order's steps, one in 64 goes to the next element.
    assert abs(together - 1 / 64) < 0.003


def test_a_large_domain_needs_no_table() -> None:
    size = 135_000_000
    index = np.random.default_rng(0).integers(0, size, 10_000)

    places = permute(index, size=size, key=derive_key(1))

    assert len(np.unique(places)) == len(np.unique(index))
    assert 0 <= places.min() <= places.max() < size
    assert abs(places.mean() / size - 0.5) < 0.02


def test_keys_depend_on_every_part_and_their_order() -> None:
    keys = [derive_key(*parts)[0] for parts in ((1, 2), (2, 1), (1, 2, 0), (1,), (0, 1, 2))]

    assert len(set(keys)) == len(keys)
    np.testing.assert_array_equal(derive_key(5, np.arange(3))[1:2], derive_key(5, 1))


def test_keys_stay_what_they_are() -> None:
    # A run must resume under a later version: these numbers may not change.
    assert derive_key(0, 1, 2).tolist() == [12421565313168862949]
    assert permute(np.arange(10), size=10, key=derive_key(7)).tolist() == [
        2,
        7,
        1,
        3,
        4,
        0,
        8,
        5,
        6,
        9,
    ]
