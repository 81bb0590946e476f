import numpy as np
import pytest

from nitrogen_train.data.order import (
    PART_ATTEMPTS,
    STRETCH,
    Interleaving,
    LaneOrder,
    SourceOrder,
    Turns,
)


def lay(**changes: int) -> Interleaving:
    return Interleaving(
        **(
            {"global_batch_size": 8, "lane_groups": 3, "windows_per_visit": 128, "seed": 0}
            | changes
        )
    )


def build_source(
    num_windows: int = 1000, *, seed: int = 0, windows_per_visit: int = 128, index: int = 0
) -> SourceOrder:
    return SourceOrder(
        windows_per_visit=windows_per_visit, starts=[0, num_windows], weights=[1.0], seed=seed,
        index=index,
    )  # fmt: skip


def visits(order: SourceOrder, numbers: range, width: int = 128) -> np.ndarray:
    visit, atom = np.divmod(np.arange(numbers.start * width, numbers.stop * width), width)
    return order.positions(visit, atom).reshape(len(numbers), width)


def test_a_pass_holds_every_window_at_most_once_and_leaves_out_less_than_a_visit() -> None:
    order = build_source(1000)

    for start in (0, 7, 70):
        seen = visits(order, range(start, start + 7)).ravel()
        assert len(np.unique(seen)) == 7 * 128
        assert 1000 - 7 * 128 < 128


def test_what_a_pass_leaves_out_differs_from_pass_to_pass() -> None:
    order = build_source(1000)

    seen = [set(visits(order, range(7 * i, 7 * i + 7)).ravel()) for i in range(8)]

    assert set.union(*seen) == set(range(1000))


def test_a_visit_is_neighbouring_windows_in_shuffled_stretches() -> None:
    order = build_source(10_000, windows_per_visit=256)
    orders = set()

    for visit in visits(order, range(30), width=256):
        start = min(visit) if max(visit) - min(visit) == 255 else min(visit[visit > 5000])
        relative = (visit - start) % 10_000
        assert sorted(relative) == list(range(256))
        stretches = relative.reshape(-1, STRETCH) // STRETCH
        assert (stretches == stretches[:, :1]).all()
        orders.add(tuple(stretches[:, 0]))
        assert list(relative[:STRETCH]) != sorted(relative[:STRETCH])
    assert len(orders) > 5


def test_passes_seeds_and_sources_differ() -> None:
    first = visits(build_source(), range(7))

    for other in (
        visits(build_source(), range(7, 14)),
        visits(build_source(seed=1), range(7)),
        visits(build_source(index=1), range(7)),
    ):
        assert (first == other).mean() < 0.02


def test_a_source_smaller_than_a_visit_is_passed_through_evenly() -> None:
    seen = visits(build_source(30), range(20)).ravel()

    counts = np.bincount(seen, minlength=30)
    assert counts.max() - counts.min() <= 20


def test_replacements_are_drawn_anew_with_each_attempt_from_the_same_part() -> None:
    order = SourceOrder(
        windows_per_visit=64, starts=[0, 5000, 20_000], weights=[1.0, 1.0], seed=0, index=0
    )
    visit, atom = np.divmod(np.arange(400 * 64), 64)
    planned = order.positions(visit, atom)
    drawn = [order.positions(visit, atom, attempt=attempt) for attempt in (1, 2)]

    for positions in drawn:
        np.testing.assert_array_equal(positions < 5000, planned < 5000)
        assert (positions == planned).mean() < 0.05
    assert (drawn[0] == drawn[1]).mean() < 0.05


def test_replacements_of_a_part_that_is_one_visit_lie_elsewhere() -> None:
    order = SourceOrder(
        windows_per_visit=64, starts=[0, 100, 20_000], weights=[1.0, 1.0], seed=0, index=0
    )
    atom = np.arange(64)
    visit = np.full(64, next(v for v in range(9) if order.positions(np.full(1, v), atom[:1]) < 100))
    planned = order.positions(visit, atom)

    within = [order.positions(visit, atom, attempt=a) for a in range(1, PART_ATTEMPTS + 1)]
    beyond = order.positions(visit, atom, attempt=PART_ATTEMPTS + 1)

    assert (np.concatenate(within) < 100).all()
    assert len(np.setdiff1d(within, planned)) == 100 - 64
    assert (beyond >= 100).any()


def test_parts_are_drawn_by_their_weights_not_their_size() -> None:
    order = SourceOrder(
        windows_per_visit=64, starts=[0, 640, 64_000], weights=[3.0, 1.0], seed=0, index=0
    )
    visit = np.arange(400)

    positions = order.positions(visit, np.zeros(400, np.int64))

    assert abs((positions < 640).mean() - 0.75) < 0.01


def test_a_source_or_part_without_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="no window"):
        build_source(0)
    with pytest.raises(ValueError, match="no window"):
        SourceOrder(windows_per_visit=64, starts=[0, 5, 5], weights=[1.0, 1.0], seed=0, index=0)


def walk(lanes: LaneOrder, laid: Interleaving, steps: range) -> Turns:
    batch = laid.global_batch_size
    return lanes.locate(np.arange(steps.start * batch, steps.stop * batch))


def test_a_lane_hands_out_each_window_of_each_visit_once_and_in_order() -> None:
    laid = lay(windows_per_visit=64)
    turns = walk(LaneOrder(laid, weights=[1.0]), laid, range(3 * 64 * 3))

    for lane in range(laid.num_lanes):
        mine = turns.lane == lane
        atoms = turns.atom[mine]
        np.testing.assert_array_equal(np.diff(atoms) % 64, 1)
        changes = np.flatnonzero(np.diff(turns.visit[mine])) + 1
        np.testing.assert_array_equal(atoms[changes], 0)


def test_lanes_share_one_sequence_of_visits() -> None:
    laid = lay(windows_per_visit=64)
    turns = walk(LaneOrder(laid, weights=[3.0, 1.0]), laid, range(3 * 64 * 4))

    for source, lanes in ((0, 18), (1, 6)):
        seen = np.unique(turns.visit[turns.source == source])
        # Every visit number from 0 on belongs to one lane; the last ones have begun in some lanes.
        assert seen[: 4 * lanes].tolist() == list(range(4 * lanes))
        for number in seen[: 4 * lanes]:
            of_visit = (turns.visit == number) & (turns.source == source)
            assert len(np.unique(turns.lane[of_visit])) == 1


def test_every_step_has_every_share_and_so_has_every_rank_nearly() -> None:
    laid = lay(global_batch_size=32)
    turns = walk(LaneOrder(laid, weights=[3.0, 1.0]), laid, range(100))

    by_step = turns.source.reshape(100, 32)
    assert (by_step.sum(axis=1) == 8).all()
    by_rank = by_step.reshape(100, 4, 8).sum(axis=2)
    assert by_rank.min() >= 1
    assert by_rank.max() <= 3


def test_visits_end_at_an_even_pace_in_every_ranks_lanes() -> None:
    laid = lay(global_batch_size=512, lane_groups=1, windows_per_visit=256)
    turns = walk(LaneOrder(laid, weights=[1.0]), laid, range(256))

    begun = (turns.atom == 0).reshape(256, 8, 64).sum(axis=2)

    # 64 lanes of 256 windows: one visit in four steps, for each of 8 ranks.
    assert begun.max() <= 2
    windows = begun.reshape(16, 16, 8).sum(axis=1)
    assert windows.min() >= 3
    assert windows.max() <= 5


def test_a_sample_depends_on_its_number_alone() -> None:
    laid = lay()
    lanes = LaneOrder(laid, weights=[3.0, 1.0])
    whole = lanes.locate(np.arange(5000))

    some = np.random.default_rng(0).permutation(5000)[:100]

    found = LaneOrder(laid, weights=[3.0, 1.0]).locate(some)
    for name in ("lane", "source", "visit", "atom"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[some])


def test_a_source_that_no_step_would_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest batch that admits it is about 21"):
        LaneOrder(lay(global_batch_size=4), weights=[20.0, 1.0])


@pytest.mark.parametrize(
    ("name", "value"), [("lane_groups", 0), ("global_batch_size", 0), ("windows_per_visit", 100)]
)
def test_an_interleaving_that_is_none_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=name):
        lay(**{name: value})
