"""Numbers of a small simulated manifest, each beside the same number found in another way."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.batch_contents import (
    ClipFacts,
    draw_gaps,
    expect_distinct,
    expect_pairs,
    expect_shared,
    find_gaps,
    find_nearest,
    name_windows,
    read_facts,
    summarize_gaps,
)
from benchmarks.diversity import describe_diversity, measure_diversity
from benchmarks.lane_memory import count_open_clips, measure_lanes
from benchmarks.simulated_manifest import write_simulated_manifest
from benchmarks.stream_contents import (
    compare_batches,
    count_distinct,
    count_pass,
    count_repeats,
    find_whole_pass,
    locate,
    locate_step,
    measure_gaps,
    spread_steps,
)
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.mixture import Source, load_sources
from nitrogen_train.data.order import STRETCH, Interleaving, WindowPlan
from nitrogen_train.data.windows import Located, WindowShape

BATCH, VISIT = 256, 64
WINDOW = WindowShape(num_frames=1, frame_stride=1, action_horizon=18, action_offset=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return simulate(tmp_path_factory.mktemp("simulated"), num_clips=720, num_games=5)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Few enough windows to enumerate passes: a session for training, one for validation."""
    return simulate(tmp_path_factory.mktemp("short"), num_clips=180, num_games=1)


@pytest.fixture(scope="module")
def rows(source: Source) -> list[ManifestRow]:
    return source.manifest.rows()


@pytest.fixture(scope="module")
def facts(source: Source) -> ClipFacts:
    return read_facts(source)


@pytest.fixture(scope="module")
def plan(source: Source) -> WindowPlan:
    return lay_out(source)


def simulate(folder: Path, *, num_clips: int, num_games: int) -> Source:
    write_simulated_manifest(folder, num_clips=num_clips, num_games=num_games)
    sources = {"simulated": {"path": str(folder), "any_fps": True}}
    (loaded,) = load_sources(sources, split="train", window=WINDOW, index_dir=folder)
    return loaded


def lay_out(
    source: Source, *, batch: int = BATCH, lane_groups: int = 2, visit: int = VISIT
) -> WindowPlan:
    interleaving = Interleaving(
        global_batch_size=batch, lane_groups=lane_groups, windows_per_visit=visit, seed=0
    )
    return WindowPlan([source], interleaving)


def draw(source: Source, *, num_batches: int) -> list[Located]:
    generator = np.random.default_rng(1)
    shape = (num_batches, BATCH)
    positions = generator.integers(0, source.table.num_windows, shape)
    return [source.table.locate(each) for each in positions]


def test_the_facts_are_those_of_the_rows(facts: ClipFacts, rows: list[ManifestRow]) -> None:
    seconds: Counter[str] = Counter()
    for clip, row in enumerate(rows):
        runs = zip(row.valid_runs[::2], row.valid_runs[1::2], strict=True)
        firsts = [max(0, stop - max(start, WINDOW.action_offset)) for start, stop in runs]
        num_windows = sum(firsts) if row.split == "train" else 0
        assert facts.num_windows[clip] == num_windows
        assert facts.start_s[clip] == pytest.approx(seconds[row.session_id])
        seconds[row.session_id] += row.num_frames / row.fps  # pyright: ignore[reportArgumentType]
    for codes, names in ((facts.session, "session_id"), (facts.game, "game")):
        pairs = {(int(code), getattr(row, names)) for code, row in zip(codes, rows, strict=True)}
        assert len(pairs) == len(np.unique(codes)) == len({name for _, name in pairs})


def test_a_batch_holds_what_is_counted_by_hand(
    plan: WindowPlan, facts: ClipFacts, rows: list[ManifestRow]
) -> None:
    by_id = {row.clip_id: row for row in rows}
    found: list[tuple[int, int, int]] = []
    for step in (0, 7):
        ids = plan.window_ids(np.arange(step * BATCH, (step + 1) * BATCH))
        clips = [by_id[each.clip_id] for each in ids]
        sessions, games = ({getattr(row, key) for row in clips} for key in ("session_id", "game"))
        found.append((len({row.clip_id for row in clips}), len(sessions), len(games)))
        assert count_repeats([locate_step(plan, step)]) == BATCH - len(set(ids))

    counts = count_distinct(facts, [locate_step(plan, step) for step in (0, 7)])

    for name, values in zip(("clip", "session", "game"), zip(*found, strict=True), strict=True):
        assert (counts[name].least, counts[name].most) == (min(values), max(values))
        assert counts[name].observed == np.mean(values)


def test_gaps_and_neighbours_are_those_of_all_pairs(plan: WindowPlan, facts: ClipFacts) -> None:
    batch, later = locate_step(plan, 3), locate_step(plan, 5)
    times_s, session = facts.times_s(batch), facts.session[batch.clip]
    expected = [
        abs(times_s[one] - times_s[other])
        for one, other in combinations(range(BATCH), 2)
        if session[one] == session[other]
    ]
    nearest = [
        min(abs(frame - batch.frame[batch.clip == clip]), default=None)
        for clip, frame in zip(later.clip, later.frame, strict=True)
    ]

    np.testing.assert_allclose(np.sort(find_gaps(session, times_s)), np.sort(expected))
    is_shared, frames = find_nearest(batch, later)
    assert is_shared.tolist() == [each is not None for each in nearest]
    assert frames.tolist() == [each for each in nearest if each is not None]
    assert compare_batches(plan, facts, steps=[3], apart=2).observed == is_shared.mean()


def test_repeats_are_counted() -> None:
    clip, frame = np.array([3, 3, 2, 3]), np.array([7, 8, 7, 7])

    assert count_repeats([Located(clip=clip, frame=frame, num_rows=frame)]) == 1


def test_expectations_are_those_of_independent_draws(source: Source, facts: ClipFacts) -> None:
    batches = draw(source, num_batches=400)

    counts = count_distinct(facts, batches)
    gaps = measure_gaps(facts, batches, table=source.table, num_drawn=100_000)

    for count in counts.values():
        assert count.observed == pytest.approx(count.expected, rel=0.01)
    for common in gaps.values():
        observed, expected = common.observed, common.expected
        assert observed.num_pairs == pytest.approx(expected.num_pairs, rel=0.03)
        assert observed.median_s == pytest.approx(expected.median_s, rel=0.03)
        assert observed.under_10_s == pytest.approx(expected.under_10_s, rel=0.05)
    shared = np.mean(
        [np.isin(later.clip, earlier.clip).mean() for earlier, later in pairwise(batches)]
    )
    assert shared == pytest.approx(expect_shared(facts.num_windows, num_draws=BATCH), rel=0.02)


def test_small_expectations_are_exact() -> None:
    counts = np.array([1, 3])

    assert expect_distinct(counts, num_draws=2) == pytest.approx(2 - (9 + 1) / 16)
    assert expect_pairs(counts, num_draws=2) == pytest.approx((9 + 1) / 16)
    assert expect_shared(counts, num_draws=1) == pytest.approx((9 + 1) / 16)


def test_no_pairs_have_no_median(source: Source, facts: ClipFacts) -> None:
    none = find_gaps(np.arange(3), np.zeros(3))

    assert summarize_gaps(none, num_pairs=0.0).median_s is None
    assert len(draw_gaps(facts, source.table, facts.session, num_pairs=5)) == 5


@pytest.mark.parametrize("lane_groups", [1, 2, 20])
def test_a_pass_has_no_repeats(short: Source, lane_groups: int) -> None:
    plan, num_windows = lay_out(short, batch=64, lane_groups=lane_groups), short.table.num_windows

    first, whole = (count_pass(plan, number=number) for number in (0, find_whole_pass(plan)))

    assert (first.num_windows, first.most_often, whole.most_often) == (num_windows, 1, 1)
    assert whole.handed_out == num_windows - num_windows % VISIT
    # Lanes begin anywhere in their first visits: half of these is left out.
    num_visits = min(plan.interleaving.num_lanes, num_windows // VISIT)
    skipped = whole.handed_out - first.handed_out
    assert skipped == pytest.approx(num_visits * VISIT / 2, rel=0.05)


def test_a_pass_is_what_the_stream_hands_out(short: Source) -> None:
    plan, visits = lay_out(short, batch=64), short.table.num_windows // VISIT
    samples = np.arange((2 * visits + 4 * plan.interleaving.num_lanes) * VISIT)
    of_pass = samples[plan.turns(samples).visit // visits == 1]

    counted = Counter(name_windows(locate(plan, of_pass)).tolist())

    found = count_pass(plan, number=1)
    assert (len(counted), max(counted.values())) == (found.handed_out, found.most_often)


def test_lanes_keep_what_they_have_come_by(source: Source, rows: list[ManifestRow]) -> None:
    batch, groups, last = 4, 3, 461
    plan = lay_out(source, batch=batch, lane_groups=groups, visit=2 * STRETCH)
    kept: dict[int, tuple[int, dict[int, set[int]]]] = {}
    turns = plan.turns(np.arange((last + 1) * batch))
    for lane, visit, atom in np.stack([turns.lane, turns.visit, turns.atom], axis=1).tolist():
        if lane not in kept or kept[lane][0] != visit:
            kept[lane] = visit, {}
        stretch = atom // STRETCH
        if stretch not in kept[lane][1]:
            atoms = np.arange(stretch * STRETCH, (stretch + 1) * STRETCH)
            kept[lane][1][stretch] = set(plan.windows(0, visit, atoms).clip.tolist())
    opened_clips = [set().union(*kept[lane][1].values()) for lane in range(batch * groups)]
    lanes = [[rows[clip] for clip in clips] for clips in opened_clips]
    num_bytes = [sum(row.size + row.num_frames * (25 * 4 + 1) for row in lane) for lane in lanes]

    opened = count_open_clips(plan, step=last)

    # By group and slot; which group comes first depends on the step.
    by_slot = opened.sum(axis=0)
    assert by_slot[:, 0].tolist() == [sum(map(len, lanes[slot::batch])) for slot in range(batch)]
    assert by_slot[:, 1].tolist() == [sum(num_bytes[slot::batch]) for slot in range(batch)]
    one, each = measure_lanes(plan, steps=[last], world_sizes=(1, batch), frame_bytes=2**20)
    assert one.encoded_gib * 2**30 == pytest.approx(sum(num_bytes))
    assert (each.num_lanes, each.decoded_gib) == (groups, groups * STRETCH / 1024)
    assert each.num_clips == by_slot[:, 0].max()


def test_steps_are_spread_over_a_pass(plan: WindowPlan, source: Source) -> None:
    steps = spread_steps(plan, 4)

    assert (steps[0], steps[2]) == (0, source.table.num_windows // BATCH // 2)


@pytest.mark.full
def test_a_small_manifest_is_measured() -> None:
    diversity = measure_diversity(num_clips=9000, num_games=10, pass_clips=900)

    empty = replace(diversity.contents.successions[0], median_s=None)
    successions = [empty, *diversity.contents.successions[1:]]
    contents = replace(diversity.contents, successions=successions)
    text = describe_diversity(replace(diversity, contents=contents))
    assert [each.most_often for each in diversity.passes] == [1, 1]
    assert len(diversity.worker_memory) == 4
    for line in ("clip  ", "session  ", "game  ", "1024  ", "pass 1 of"):
        assert f"\n{line}" in text
    assert next(line for line in text.splitlines() if line.startswith("1  ")).endswith("  -")
