"""What cannot be read: counted, listed, replaced alike everywhere; too much of it stops."""

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damaged_datasets import (
    Damage,
    cut_video,
    garble_frames,
    garble_video,
    hostile,
    shard_each_clip,
    truncated,
    with_fewer_actions,
    with_video,
    without_video,
)
from range_server import RangeServer, serve_ranges
from rank_streams import GLOBAL_BATCH_SIZE, WINDOW, Topology, build_loader
from tiers import divide

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.data.clip_reader import LoadReport, Quarantine
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.mixture import Source, load_sources
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.storage import Storage, TransientReadError

NUM_CLIPS, NUM_FRAMES = 8, 30
SHORT_VIDEO = encode_video(np.zeros((20, 64, 64, 3), np.uint8), fps=10.0, width=64, height=64)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name in ("bad", "good"):
        plans = [
            clip_plan(clip_id=f"{name}{i}", num_frames=NUM_FRAMES, game="doom_gather")
            for i in range(NUM_CLIPS)
        ]
        write_dataset(folder / name, plans)
    return folder


@pytest.fixture
def mix(whole: Path, tmp_path: Path) -> Callable[..., list[Source]]:
    """Open copies of two data sets, with faults in the clips of the one that is called bad."""

    def mix(damage: dict[str, Damage] | None = None, *, weight: float = 3.0) -> list[Source]:
        for name in ("bad", "good"):
            copy = tmp_path / name
            copy.mkdir()
            for path in (whole / name).iterdir():
                (copy / path.name).write_bytes(path.read_bytes())
            shard_each_clip(copy, damage if name == "bad" else None)
        options = {
            "bad": {"path": str(tmp_path / "bad"), "weight": weight},
            "good": {"path": str(tmp_path / "good")},
        }
        return load_sources(options, split="train", window=WINDOW, index_dir=tmp_path / "index")

    return mix


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with serve_ranges() as server:
        yield server


def take(
    sources: Sequence[Source], folder: Path, num_steps: int = 4, **options: Any
) -> tuple[list[PolicyBatch], LoadReport]:
    """Take steps of one rank; what it could not read is listed in `folder`."""
    quarantine = Quarantine(folder / "rank-0.jsonl", max_share=options.pop("max_share", 1.0))
    loader = build_loader(sources, quarantine=quarantine, **options)
    return list(islice(loader, num_steps)), loader.report


def read_list(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "rank-0.jsonl").read_text().splitlines()]


def check_replacement(
    batches: Sequence[PolicyBatch], report: LoadReport, *, clip_id: str, cause: str
) -> None:
    """All windows of one clip stand in for others, all of another are what was planned."""
    num_replaced = 0
    for batch in batches:
        for got, planned in zip(batch.window_ids, batch.planned_window_ids, strict=True):
            assert got.source == planned.source
            assert got.clip_id != clip_id
            assert (got != planned) == (planned.clip_id == clip_id)
            num_replaced += got != planned
    assert num_replaced
    assert report.replaced == {("bad", cause): num_replaced}
    assert report.windows.total() == GLOBAL_BATCH_SIZE * len(batches)


BEFORE_SHARDING = {
    "a truncated tar": (truncated, "record"),
    "a missing member": (without_video, "picture"),
    "a name that leaves the folder": (hostile("../../bad3"), "record"),
    "a name from the root": (hostile("/etc/passwd"), "record"),
    "a name of an option": (hostile("--checkpoint-action=exec=sh"), "record"),
    "fewer actions than frames": (with_fewer_actions, "record"),
    "a truncated video": (with_video(cut_video), "video"),
    "an undecodable video": (with_video(garble_video), "video"),
    "fewer frames than actions": (with_video(lambda _: SHORT_VIDEO), "video"),
}


@pytest.mark.parametrize("is_kept", [False, True], ids=["stretches", "kept"])
@pytest.mark.parametrize("fault", BEFORE_SHARDING)
def test_a_clip_that_was_damaged_before_it_was_sharded_is_replaced(
    mix: Callable[..., list[Source]], tmp_path: Path, fault: str, is_kept: bool
) -> None:
    damage, cause = BEFORE_SHARDING[fault]
    sources = mix({"bad3": damage})

    # Each step has all clips.
    batches, report = take(sources, tmp_path, num_steps=2, is_kept=is_kept)

    if fault == "fewer frames than actions" and not is_kept:
        # The frames that are there can be had: only windows that see others are replaced.
        replaced = [
            planned
            for batch in batches
            for got, planned in zip(batch.window_ids, batch.planned_window_ids, strict=True)
            if got != planned
        ]
        assert report.replaced == {("bad", cause): len(replaced)}
        assert {planned.clip_id for planned in replaced} == {"bad3"}
    else:
        check_replacement(batches, report, clip_id="bad3", cause=cause)
    (listed,) = read_list(tmp_path)
    assert (listed["source"], listed["shard"], listed["clip_id"]) == ("bad", "bad3.tar", "bad3")
    assert listed["cause"] == cause
    assert listed["message"].isprintable()


def cut_shard(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("happen", "cause"),
    divide(
        [(cut_shard, "truncated"), (Path.unlink, "missing"), (flip_a_bit, "checksum")],
        slow=[(flip_a_bit, "checksum")],
    ),
)
def test_a_shard_that_is_damaged_or_vanishes_later_is_replaced_from_then_on(
    mix: Callable[..., list[Source]],
    tmp_path: Path,
    happen: Callable[[Path], None],
    cause: str,
) -> None:
    sources = mix()
    _, before = take(sources, tmp_path / "before")
    assert not before.replaced
    assert not (tmp_path / "before").exists()

    happen(tmp_path / "bad" / "bad3.tar")

    batches, report = take(sources, tmp_path)
    check_replacement(batches, report, clip_id="bad3", cause=cause)
    # A resume finds the same, and lists nothing twice; neither does another rank.
    again, _ = take(sources, tmp_path, start_step=2, num_steps=2)
    assert [b.window_ids for b in again] == [b.window_ids for b in batches[2:]]
    assert [listed["clip_id"] for listed in read_list(tmp_path)] == ["bad3"]
    other = Quarantine(tmp_path / "rank-1.jsonl", max_share=1.0)
    other.add(report)
    assert not (tmp_path / "rank-1.jsonl").exists()


def test_a_list_that_was_cut_short_goes_on(
    mix: Callable[..., list[Source]], tmp_path: Path
) -> None:
    sources = mix({"bad3": truncated})
    (tmp_path / "rank-0.jsonl").write_text('{"source": "bad", "shard": "bad')

    take(sources, tmp_path)

    lines = (tmp_path / "rank-0.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["clip_id"] == "bad3"


@pytest.mark.parametrize("is_kept", [False, True], ids=["stretches", "kept"])
@pytest.mark.parametrize("world_size", divide([2, 4], slow=[2]))
def test_every_split_over_ranks_replaces_alike(
    mix: Callable[..., list[Source]], tmp_path: Path, world_size: int, is_kept: bool
) -> None:
    sources = mix({"bad3": with_video(garble_frames(11, 13)), "bad5": truncated})
    alone, _ = take(sources, tmp_path / "alone", is_kept=is_kept)
    topology = Topology(world_size=world_size)

    ranks = [
        take(sources, tmp_path / str(rank), is_kept=is_kept, topology=topology, rank=rank)[0]
        for rank in range(world_size)
    ]

    for step, batch in enumerate(alone):
        union = [window_id for rank in ranks for window_id in rank[step].window_ids]
        assert union == list(batch.window_ids)


@pytest.mark.slow
def test_a_fault_within_a_clip_is_replaced_alike_wherever_a_run_begins(
    mix: Callable[..., list[Source]], tmp_path: Path
) -> None:
    sources = mix({"bad3": with_video(garble_frames(11, 13))})
    straight, report = take(sources, tmp_path, num_steps=20)

    for start_step in (1, 18):
        resumed, _ = take(sources, tmp_path, start_step=start_step, num_steps=2)
        for expected, got in zip(straight[start_step:], resumed, strict=False):
            assert got.window_ids == expected.window_ids
            assert got.sample_seed.tolist() == expected.sample_seed.tolist()
    assert set(report.replaced) == {("bad", "video")}


def test_a_source_of_a_single_visit_has_others_to_stand_in(
    write_dataset: Callable[..., Path], clip_plan: Any, tmp_path: Path
) -> None:
    plans = [clip_plan(clip_id=f"bad{i}", num_frames=NUM_FRAMES) for i in range(4)]
    folder = shard_each_clip(write_dataset(tmp_path, plans), {"bad3": truncated})
    options = {"bad": {"path": str(folder)}}
    sources = load_sources(options, split="train", window=WINDOW, index_dir=tmp_path / "index")

    batches, report = take(sources, tmp_path, is_kept=True)

    check_replacement(batches, report, clip_id="bad3", cause="record")


def test_too_many_replaced_windows_stop_the_run_and_name_the_causes(
    mix: Callable[..., list[Source]], tmp_path: Path
) -> None:
    sources = mix({"bad3": truncated, "bad5": with_video(cut_video)})

    with pytest.raises(
        ShardError,
        match=r"of 10\d\d windows could not be read and were replaced, more than "
        r"data.max_fault_share=0.01: (\d+ of bad \((record|video)\)(, )?){2}; .*rank-0.jsonl",
    ):
        take(sources, tmp_path, num_steps=30, max_share=0.01, is_kept=True)

    batches, _ = take(sources, tmp_path, num_steps=30, max_share=0.5, is_kept=True)
    assert len(batches) == 30


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_source_of_which_nothing_can_be_read_stops_the_run(
    mix: Callable[..., list[Source]], tmp_path: Path, num_workers: int
) -> None:
    sources = mix()
    for path in (tmp_path / "bad").glob("*.tar"):
        path.unlink()

    with pytest.raises(
        ShardError, match=r"source 'bad' \(.*/bad\): 16 .* cannot be read; the last: .*is missing"
    ) as raised:
        take(sources, tmp_path, topology=Topology(num_workers=num_workers))

    assert "\n" not in str(raised.value)
    # Though the traceback is still there.
    assert not multiprocessing.active_children()


def serve(sources: Sequence[Source], server: RangeServer, **options: Any) -> list[Source]:
    """Move the bad source's shards to a server."""
    bad, good = sources
    assert bad.dataset.storage.folder is not None
    for path in bad.dataset.storage.folder.glob("*.tar"):
        server.files[f"/bad/{path.name}"] = path.read_bytes()
    settings: dict[str, Any] = {"attempts": 2, "first_wait_s": 0.01, "timeout_s": 2.0} | options
    served = Dataset(f"{server.url}/bad")
    served.storage, served.manifest = Storage(str(served), **settings), bad.manifest
    return [replace(bad, dataset=served), good]


def test_reads_from_a_server_begin_before_their_turn(
    mix: Callable[..., list[Source]], tmp_path: Path, server: RangeServer
) -> None:
    sources = mix()
    local, _ = take(sources, tmp_path)
    quarantine = Quarantine(tmp_path / "list.jsonl", max_share=0.0)
    batches = iter(build_loader(serve(sources, server), quarantine=quarantine))
    served = [next(batches)]
    num_lanes = sum(window.source == "bad" for window in served[0].window_ids)

    # A stretch of 64 windows lies in four clips of 30 frames at the most. Nobody asks for another
    # batch meanwhile.
    until = time.monotonic() + 60
    while len(server.requests) <= 4 * num_lanes and time.monotonic() < until:
        time.sleep(0.01)

    assert len(server.requests) > 4 * num_lanes
    served += islice(batches, len(local) - 1)
    for ours, theirs in zip(served, local, strict=True):
        assert ours.window_ids == theirs.window_ids
        assert torch.equal(ours.frames, theirs.frames)
        assert torch.equal(ours.actions, theirs.actions)


@pytest.mark.slow
def test_a_shard_that_vanishes_from_a_server_is_replaced(
    mix: Callable[..., list[Source]], tmp_path: Path, server: RangeServer
) -> None:
    sources = serve(mix(), server)
    del server.files["/bad/bad3.tar"]

    batches, report = take(sources, tmp_path, num_steps=2)

    check_replacement(batches, report, clip_id="bad3", cause="missing")


@pytest.mark.parametrize("fault", divide(["500", "stall", "reset", "short"], slow=["stall"]))
def test_a_fault_that_passes_changes_nothing(
    mix: Callable[..., list[Source]], tmp_path: Path, server: RangeServer, fault: str
) -> None:
    sources = mix()
    expected, _ = take(sources, tmp_path, num_steps=1)
    server.faults = [fault]

    batches, report = take(serve(sources, server), tmp_path, num_steps=1)

    assert not server.faults
    assert [b.window_ids for b in batches] == [b.window_ids for b in expected]
    assert not report.replaced
    assert not (tmp_path / "rank-0.jsonl").exists()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("fault", "says"),
    divide([("500", "HTTP 500"), ("stall", "TimeoutError")], slow=[("500", "HTTP 500")]),
)
def test_a_fault_that_does_not_pass_stops_the_run_and_replaces_nothing(
    mix: Callable[..., list[Source]],
    tmp_path: Path,
    server: RangeServer,
    fault: str,
    says: str,
    num_workers: int,
) -> None:
    sources = serve(mix(), server)
    server.faults = [fault] * 1000

    with pytest.raises(
        TransientReadError, match=rf"{server.url}/bad/bad\d.tar: 2 attempts failed.*{says}"
    ) as raised:
        take(sources, tmp_path, topology=Topology(num_workers=num_workers))

    assert "\n" not in str(raised.value)
    assert not (tmp_path / "rank-0.jsonl").exists()
