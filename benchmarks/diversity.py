"""How well the order shuffles, and what that costs: computed from a simulated manifest, no video.

Batches are looked at at steps that are spread evenly over a pass, under `nitrogen-train`'s default
data config, and compared with independent uniform draws of windows.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.batch_contents import read_facts
from benchmarks.lane_memory import LaneMemory, measure_lanes
from benchmarks.manifest import measure_opening
from benchmarks.manifest_process import Memory
from benchmarks.simulated_manifest import write_simulated_manifest
from benchmarks.stream_contents import (
    CommonGaps,
    Count,
    PassCount,
    Succession,
    compare_batches,
    count_distinct,
    count_pass,
    count_repeats,
    find_whole_pass,
    locate_step,
    measure_gaps,
    spread_steps,
)
from nitrogen_train.config import DataConfig, load_defaults
from nitrogen_train.data.order import Interleaving, WindowPlan
from nitrogen_train.run.data_of_run import build_plan
from nitrogen_train.runtime.progress import format_table

LAGS = (1, 16, 64, 256, 1024)
"""Steps between batches that are compared."""
WORLD_SIZES = (1, 8, 64, 1024)
_NUM_STEPS = 512
_NUM_COMPARED = 32
_NUM_MEMORY_STEPS = 4
_NUM_DRAWN_PAIRS = 2**20


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the batches of a plan hold."""

    num_batches: int
    """That were looked at."""
    distinct: dict[str, Count]
    """Of a batch: by clip, session and game."""
    repeats: int
    """Samples whose window comes earlier in their batch, in all batches together."""
    gaps: dict[str, CommonGaps]
    """Of samples of one batch, by what they have in common."""
    successions: list[Succession]


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """How well the order shuffles a manifest, and what that costs."""

    num_clips: int
    """Of the manifest, validation's included."""
    num_windows: int
    """In use."""
    interleaving: Interleaving
    contents: Contents
    passes: list[PassCount]
    """Of a smaller manifest, enumerated."""
    lanes: list[LaneMemory]
    """By world size."""
    worker_memory: list[Memory]
    """Of workers that have opened the manifest, see `manifest_process`."""


def measure_diversity(
    *, num_clips: int, num_games: int, pass_clips: int, lane_groups: int | None = None
) -> Diversity:
    """Simulate manifests, and look at the order that a run would have over them.

    Args:
        num_clips: Of the manifest that batches are drawn from.
        num_games: Of it.
        pass_clips: Of a second manifest, of which passes are enumerated.
        lane_groups: In place of the default.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, index_dir = Path(folder) / "whole", Path(folder) / "index"
        write_simulated_manifest(whole, num_clips=num_clips, num_games=num_games)
        plan, data = plan_run(whole, index_dir=index_dir, lane_groups=lane_groups)
        # The first makes the table of windows that both use.
        _, opened = (measure_opening(whole, index_dir) for _ in range(2))
        reduced = Path(folder) / "reduced"
        write_simulated_manifest(reduced, num_clips=pass_clips, num_games=1)
        enumerated, _ = plan_run(reduced, index_dir=index_dir, lane_groups=lane_groups)
        numbers = (0, find_whole_pass(enumerated))
        return Diversity(
            num_clips=num_clips,
            num_windows=plan.sources[0].table.num_windows,
            interleaving=plan.interleaving,
            contents=look_into_batches(plan),
            passes=[count_pass(enumerated, number=number) for number in numbers],
            lanes=measure_lanes(
                plan,
                steps=spread_steps(plan, _NUM_MEMORY_STEPS + 1)[1:],
                world_sizes=WORLD_SIZES,
                frame_bytes=3 * data.num_frames * data.image_size**2,
            ),
            worker_memory=opened.worker_memory,
        )


def plan_run(
    dataset_dir: Path, *, index_dir: Path, lane_groups: int | None
) -> tuple[WindowPlan, DataConfig]:
    """Lay out the order that `nitrogen-train` would have over a data set."""
    config = load_defaults()
    config.data.sources = {"simulated": {"path": str(dataset_dir), "any_fps": True}}
    config.data.index_dir = str(index_dir)
    if lane_groups is not None:
        config.data.lane_groups = lane_groups
    return build_plan(config), config.data


def look_into_batches(plan: WindowPlan) -> Contents:
    """Look at the batches of some steps, and at how they follow each other."""
    (source,) = plan.sources
    facts = read_facts(source)
    batches = [locate_step(plan, step) for step in spread_steps(plan, _NUM_STEPS)]
    compared = spread_steps(plan, _NUM_COMPARED)
    return Contents(
        num_batches=len(batches),
        distinct=count_distinct(facts, batches),
        repeats=count_repeats(batches),
        gaps=measure_gaps(facts, batches, table=source.table, num_drawn=_NUM_DRAWN_PAIRS),
        successions=[compare_batches(plan, facts, steps=compared, apart=lag) for lag in LAGS],
    )


def describe_diversity(diversity: Diversity) -> str:
    """Lay results out as tables."""
    laid, contents = diversity.interleaving, diversity.contents
    passes = "".join(
        f"pass {each.number + 1} of the {each.num_windows} windows of a smaller manifest: "
        f"{each.handed_out} handed out, each at most {each.most_often} times\n"
        for each in diversity.passes
    )
    workers = ", ".join(f"{memory.own:.0f}" for memory in diversity.worker_memory)
    return (
        f"{diversity.num_clips} clips, {diversity.num_windows} windows of training, batches of "
        f"{laid.global_batch_size}, lane_groups {laid.lane_groups}, windows_per_visit "
        f"{laid.windows_per_visit}; {contents.num_batches} batches spread over a pass\n\n"
        f"{_describe_distinct(contents)}\n\n{_describe_gaps(contents)}\n\n"
        f"{_describe_successions(contents)}\n\n{_describe_lanes(diversity)}\n\n"
        f"windows that come twice in one batch, in all {contents.num_batches} batches: "
        f"{contents.repeats}\n{passes}"
        f"own memory of workers that have the manifest and its windows: {workers} MiB\n"
    )


def _describe_distinct(contents: Contents) -> str:
    header = ("different", "observed", "least", "most", "expected", "of expected")
    rows = [
        (
            name,
            f"{count.observed:.1f}",
            str(count.least),
            str(count.most),
            f"{count.expected:.1f}",
            f"{count.observed / count.expected:.4f}",
        )
        for name, count in contents.distinct.items()
    ]
    return format_table(header, rows)


def _describe_gaps(contents: Contents) -> str:
    header = ("pairs of one", "", "in a batch", "median s", "under 1 s", "under 10 s")
    rows = [
        (
            name,
            which,
            f"{gaps.num_pairs:.2f}",
            _format(gaps.median_s, ".1f"),
            _format(gaps.under_1_s, ".2%"),
            _format(gaps.under_10_s, ".2%"),
        )
        for name, common in contents.gaps.items()
        for which, gaps in (("observed", common.observed), ("expected", common.expected))
    ]
    return format_table(header, rows)


def _describe_successions(contents: Contents) -> str:
    header = ("steps later", "of a clip of the batch", "expected", "median s to it")
    rows = [
        (
            str(each.num_steps),
            f"{each.observed:.2%}",
            f"{each.expected:.2%}",
            _format(each.median_s, ".1f"),
        )
        for each in contents.successions
    ]
    return format_table(header, rows)


def _describe_lanes(diversity: Diversity) -> str:
    header = ("ranks", "lanes each", "open clips", "encoded GiB", "decoded GiB", "GiB")
    rows = [
        (
            str(each.world_size),
            str(each.num_lanes),
            str(each.num_clips),
            f"{each.encoded_gib:.2f}",
            f"{each.decoded_gib:.2f}",
            f"{each.encoded_gib + each.decoded_gib:.2f}",
        )
        for each in diversity.lanes
    ]
    return format_table(header, rows)


def _format(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
