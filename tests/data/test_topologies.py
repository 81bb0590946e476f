"""Ranks, workers and micro-batches share one stream: real processes, compared to a single one."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from damaged_datasets import (
    cut_video,
    garble_frames,
    shard_each_clip,
    with_fewer_actions,
    with_video,
)
from rank_streams import GLOBAL_BATCH_SIZE, Received, Scene, Topology, receive
from tiers import divide

# They share the streams that they are compared with.
pytestmark = pytest.mark.xdist_group("topologies")

NUM_STEPS = 72
"""More than a stretch of 64: every clip is visited, and left."""
WORLD_SIZES, NUM_WORKERS = (1, 2, 4, 8), (0, 1, 2, 3)


class Case(NamedTuple):
    """A topology, and what it is to deliver."""

    world_size: int
    num_workers: int
    accumulation: int
    lane_groups: int
    is_faulty: bool
    is_kept: bool

    @property
    def topology(self) -> Topology:
        return Topology(self.world_size, self.num_workers, self.accumulation)


QUICK = [
    Case(4, 1, 1, 1, is_faulty=False, is_kept=True),
    Case(2, 2, 2, 3, is_faulty=True, is_kept=False),
]
"""Several ranks, workers, lanes and kinds of data; all together are for `make test-full`."""
GRID = [
    Case(*settings)
    for settings in product(WORLD_SIZES, NUM_WORKERS, (1, 2), (1, 3), (False, True), (False, True))
]


@pytest.fixture(scope="module")
def straight(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Callable[..., tuple[Scene, Received]]:
    """What one process that reads by itself receives, by scene."""
    folder = tmp_path_factory.mktemp("data")
    damage = {
        "d3": with_video(cut_video),
        "d11": with_video(garble_frames(10, 13)),
        "g4": with_fewer_actions,
    }
    paths: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for is_faulty, (name, count) in product((False, True), (("defend", 20), ("gather", 12))):
        plans = [
            clip_plan(
                clip_id=f"{name[0]}{i}",
                game=f"doom_{name}",
                num_frames=20 + i,
                invalid_rows=range(5, 5 + i % 4),
            )
            for i in range(count)
        ]
        path = write_dataset(folder / f"{name}-{is_faulty}", plans)
        shard_each_clip(path, damage if is_faulty else None)
        paths[is_faulty][name] = path
    (paths[True]["defend"] / "d7.tar").unlink()
    received: dict[tuple[int, bool, bool], tuple[Scene, Received]] = {}

    def run(*, lane_groups: int, is_faulty: bool, is_kept: bool) -> tuple[Scene, Received]:
        key = lane_groups, is_faulty, is_kept
        if key not in received:
            scene = Scene(
                sources={
                    name: {"path": str(paths[is_faulty][name]), "weight": weight}
                    for name, weight in (("defend", 3.0), ("gather", 1.0))
                },
                index_dir=folder / "index",
                lane_groups=lane_groups,
                is_kept=is_kept,
            )
            alone = folder / "-".join(map(str, key))
            got = receive(scene, Topology(), steps=range(NUM_STEPS), folder=alone)
            received[key] = scene, got
        return received[key]

    return run


def check(case: Case, straight: Callable[..., tuple[Scene, Received]], folder: Path) -> None:
    scene, expected = straight(
        lane_groups=case.lane_groups, is_faulty=case.is_faulty, is_kept=case.is_kept
    )
    got = receive(scene, case.topology, steps=range(NUM_STEPS), folder=folder / "ranks")

    for step, (samples, wanted) in enumerate(zip(got.steps, expected.steps, strict=True)):
        assert len(samples) == GLOBAL_BATCH_SIZE
        assert samples == wanted, f"step {step}"
    assert got.num_valid == expected.num_valid
    assert got.replaced == expected.replaced
    assert bool(got.replaced) == case.is_faulty


def name(case: Case) -> str:
    data = "faulty" if case.is_faulty else "whole"
    mode = "kept" if case.is_kept else "stretches"
    return (
        f"{case.world_size}x{case.num_workers}-{case.accumulation}-{case.lane_groups}-{data}-{mode}"
    )


@pytest.mark.parametrize("case", divide(GRID, slow=QUICK), ids=name)
def test_real_processes_deliver_the_same_global_batches(
    case: Case, straight: Callable[..., tuple[Scene, Received]], tmp_path: Path
) -> None:
    check(case, straight, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize(
    ("before", "after"),
    [(Topology(2, 2), Topology(1, 3, 2)), (Topology(4, 1, 2), Topology(2, 3))],
    ids=["fewer ranks", "more workers"],
)
def test_another_topology_goes_on_in_the_middle_of_a_visit(
    before: Topology,
    after: Topology,
    straight: Callable[..., tuple[Scene, Received]],
    tmp_path: Path,
) -> None:
    scene, expected = straight(lane_groups=3, is_faulty=True, is_kept=False)

    first = receive(scene, before, steps=range(29), folder=tmp_path / "before")
    second = receive(scene, after, steps=range(29, NUM_STEPS), folder=tmp_path / "after")

    assert first.steps + second.steps == expected.steps
    assert first.num_valid + second.num_valid == expected.num_valid
