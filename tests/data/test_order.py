import itertools

import numpy as np
import pytest

from nitrogen_train.data.order import Mixture, SourceOrder

COUNTS = np.array([5, 0, 3, 8, 1, 4], np.int64)


def build_order(seed: int = 0, clips_per_block: int = 2) -> SourceOrder:
    return SourceOrder(COUNTS, clips_per_block=clips_per_block, seed=(seed,))


@pytest.mark.parametrize("clips_per_block", [1, 2, 4, 100])
def test_a_pass_visits_every_window_once(clips_per_block: int) -> None:
    order = build_order(clips_per_block=clips_per_block)
    every = {(clip, window) for clip, count in enumerate(COUNTS) for window in range(count)}

    for visit in range(3):
        positions = range(visit * 21, (visit + 1) * 21)
        windows = [order.window_at(position) for position in positions]

        assert {(w.clip, w.window) for w in windows} == every
        assert {w.visit for w in windows} == {visit}


def test_a_window_depends_on_its_position_alone_not_on_what_was_asked_before() -> None:
    forward = build_order()
    expected = [forward.window_at(position) for position in range(100)]

    fresh = build_order()

    for position in np.random.default_rng(0).permutation(100):
        assert fresh.window_at(int(position)) == expected[position]


def test_passes_and_seeds_differ() -> None:
    order = build_order()
    first, second = ([order.window_at(p)[:2] for p in range(s, s + 21)] for s in (0, 21))
    other = build_order(seed=1)

    assert first != second
    assert first != [other.window_at(position)[:2] for position in range(21)]


def test_windows_of_a_block_are_mixed() -> None:
    order = SourceOrder(np.full(4, 100), clips_per_block=2, seed=(0,))

    clips = [order.window_at(position).clip for position in range(200)]

    assert len(set(clips)) == 2
    changes = sum(a != b for a, b in itertools.pairwise(clips))
    assert changes > 60


def test_a_source_without_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="no window"):
        SourceOrder(np.zeros(3, np.int64), clips_per_block=2, seed=(0,))


def test_the_order_is_pinned() -> None:
    order = build_order()

    assert [tuple(order.window_at(position)) for position in range(6)] == PINNED


PINNED = [(3, 4, 0), (3, 6, 0), (3, 7, 0), (3, 2, 0), (3, 0, 0), (3, 3, 0)]


@pytest.mark.parametrize("weights", [[1.0], [3.0, 1.0], [0.2, 0.5, 0.3], [7.0, 1.0, 1.0, 1.0]])
def test_every_stretch_of_the_mixture_has_the_shares_of_the_weights(weights: list[float]) -> None:
    mixture = Mixture(weights)
    shares = np.array(weights) / sum(weights)
    sources = np.array([mixture.locate(sample)[0] for sample in range(3000)])

    for start in range(0, 2900, 64):
        counts = np.bincount(sources[start : start + 64], minlength=len(weights))
        assert np.abs(counts - 64 * shares).max() <= len(weights)


def test_each_source_is_read_without_gaps_or_repeats() -> None:
    mixture = Mixture([3.0, 1.0, 2.0])
    positions: list[list[int]] = [[], [], []]

    for sample in range(5000):
        source, position = mixture.locate(sample)
        positions[source].append(position)

    assert all(read == list(range(len(read))) for read in positions)


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_must_be_positive(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Mixture(weights)


def test_a_weight_too_small_for_the_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        Mixture([1.0, 1e-6])
