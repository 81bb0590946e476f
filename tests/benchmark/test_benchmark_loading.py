"""Counts and tables; how fast anything is, is not asked here."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.loading import STEPS, LoadingCost, MemoryCost, ReaderCost, StartCost
from benchmarks.loading_clips import copy_clips, lengthen_groups
from benchmarks.loading_process import LoaderBlocks
from benchmarks.loading_readers import (
    LEROBOT,
    OPENS,
    SEQUENTIAL,
    STRETCHES,
    WEBDATASET_ONE,
    WEBDATASET_WHOLE,
    WORKER,
)
from benchmarks.loading_report import describe_loading, list_comparisons
from benchmarks.loading_rivals import Job, TimedBlocks
from benchmarks.pinned import Block, PinnedProcess
from nitrogen_train.config import DataConfig, load_defaults
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.order import STRETCH
from nitrogen_train.data.video import choose_decoder

BATCH = 2


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    plans = [clip_plan(clip_id=f"c{i}", num_frames=100) for i in range(4)]
    held_out = clip_plan(clip_id="held-out", session_id="two", split="val")
    return write_dataset(tmp_path_factory.mktemp("tiny"), [*plans, held_out])


def small(dataset: Path, index_dir: Path) -> DataConfig:
    return replace(
        load_defaults().data,
        sources={"tiny": {"path": str(dataset)}},
        image_size=64,
        global_batch_size=BATCH,
        micro_batch_size=BATCH,
        index_dir=str(index_dir),
        num_workers=0,
        clip_cache_gib=0.0,
    )


def block(rate: float, *, decoded: int | None = None) -> Block:
    return Block(seconds=2.0, cpu_s=1.0, windows=int(rate), frames=int(rate), decoded=decoded)


def make_cost() -> LoadingCost:
    def reader(name: str, group: int, rates: tuple[int, int], *, decodes: bool) -> ReaderCost:
        blocks = [block(rate, decoded=rate if decodes else None) for rate in rates]
        return ReaderCost(name=name, group_frames=group, blocks=blocks)

    def start(step: int, seconds: float) -> StartCost:
        return StartCost(
            is_cold=False, step=step, process_s=[seconds], loader_s=[1.0], cpu_s=[2.0],
            early_rates=[50.0], steady_rates=[500.0],
        )  # fmt: skip

    return LoadingCost(
        clips={
            "clips": 1, "frames": 100, "side": 64, "micro_batch_size": BATCH, "group_frames": 5,
            "long_group_frames": 250,
        },
        readers=[
            reader(STRETCHES, 5, (600, 800), decodes=True),
            reader(SEQUENTIAL["pyav"], 5, (1000, 1000), decodes=True),
            reader(SEQUENTIAL["decord"], 5, (500, 500), decodes=True),
            reader(OPENS, 5, (100, 100), decodes=False),
        ],
        missing={LEROBOT: "give --lerobot-python"},
        facts={},
        starts=[start(step, 10.0 + step / 1e6) for step in STEPS],
        memories=[
            MemoryCost(name=WORKER, num_samples=9, peak_mib=900.0, first_mib=800.0, last_mib=880.0)
        ],
    )  # fmt: skip


def test_only_training_clips_are_copied_and_long_groups_show_the_same(
    dataset: Path, tmp_path: Path
) -> None:
    stored = copy_clips([dataset], tmp_path / "stored", max_clips=3)
    long = lengthen_groups(stored, tmp_path / "long")

    assert [path.stem for path in stored.videos] == ["c0", "c1", "c2"]
    assert stored.num_frames == long.num_frames == [100] * 3
    assert (stored.group_frames, long.group_frames) == (5, 250)
    assert (stored.side, stored.fps, len(stored.shards)) == (64, 10.0, 3)
    assert [row.split for row in read_manifest(long.dataset_dir).rows()] == ["train"] * 3
    frames = [choose_decoder().decode(clips.videos[0].read_bytes()) for clips in (stored, long)]
    assert abs(frames[0].astype(int) - frames[1]).max() <= 8


def test_clips_of_another_size_are_refused(
    dataset: Path, tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    other = write_dataset(tmp_path / "other", [clip_plan(clip_id="large")], size=96)

    with pytest.raises(ValueError, match="squares of one size: shard with one --size"):
        copy_clips([dataset, other], tmp_path / "out", max_clips=9)


def test_a_block_of_ours_is_a_stretch_of_every_lane(dataset: Path, tmp_path: Path) -> None:
    blocks = LoaderBlocks(small(dataset, tmp_path))

    blocks.warm_up()
    read = [blocks.read_block() for _ in range(2)]

    assert [each.windows for each in read] == [STRETCH * BATCH] * 2
    assert [each.frames for each in read] == [STRETCH * BATCH] * 2
    # One frame a window, each decoded once for its stretch.
    assert [each.decoded for each in read] == [STRETCH * BATCH] * 2


def test_kept_clips_are_not_decoded_in_a_block(dataset: Path, tmp_path: Path) -> None:
    blocks = LoaderBlocks(replace(small(dataset, tmp_path), clip_cache_gib=1.0))

    blocks.warm_up()

    assert (blocks.read_block().windows, blocks.read_block().decoded) == (STRETCH * BATCH, 0)


# webdataset leaves files open when nobody asks it for more: only in a process of its own, below.
@pytest.mark.parametrize("name", ["pyav", "decord", "opens"])
def test_rivals_count_what_they_deliver(name: str, dataset: Path, tmp_path: Path) -> None:
    clips = copy_clips([dataset], tmp_path / "stored", max_clips=2)
    job = Job(
        videos=[str(path) for path in clips.videos],
        shards=[str(path) for path in clips.shards],
        micro_batch_size=BATCH,
        action_horizon=3,
        block_s=1e-9,
    )

    read = TimedBlocks(name, job).read_block()

    num_frames, decoded = (1, None) if name == "opens" else (100, 100)
    assert (read.frames, read.windows, read.decoded) == (num_frames, num_frames, decoded)


def test_ratios_are_of_the_same_round_and_judged_by_the_median() -> None:
    comparisons = {each.name: each for each in list_comparisons(make_cost())}

    decoded = comparisons[f"{STRETCHES}, groups of 5: frames decoded, over {SEQUENTIAL['pyav']}"]
    assert (decoded.values, decoded.verdict) == ([0.6, 0.8], "met: >= 0.6")
    opens = comparisons[f"{STRETCHES}, groups of 5: windows, over {OPENS}"]
    assert (opens.values, opens.verdict) == ([6.0, 8.0], "missed: >= 10")
    start = comparisons["first batch at step 1,000,000 over step 0, from the process's start"]
    assert (start.values, start.verdict) == ([1.1], "met: <= 1.2")


def test_tables_name_what_was_not_run() -> None:
    text = describe_loading(make_cost())

    assert f"{LEROBOT}: not run: give --lerobot-python" in text
    # The core was theirs half of the time.
    assert "50%" in text
    assert "+10.0%" in text


def test_a_process_that_ends_says_why() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such library')"]

    with PinnedProcess(command) as process, pytest.raises(RuntimeError, match="no such library"):
        process.read()


@pytest.mark.full
def test_the_command_measures_all_of_it(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "results.json"
    arguments = ["loading", str(dataset), "--rounds", "1", "--micro-batch-size", str(BATCH)]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, "--json", str(path)])

    main()

    text = capsys.readouterr().out
    names = (STRETCHES, WORKER, *list(SEQUENTIAL.values())[:2], OPENS)
    assert all(f"\n{name} " in text for name in (*names, WEBDATASET_ONE, WEBDATASET_WHOLE))
    assert f"{LEROBOT}: not run: give --lerobot-python" in text
    (result,) = json.loads(path.read_text(encoding="utf-8"))["loading"]
    ours = [each["blocks"] for each in result["readers"] if each["name"] == STRETCHES]
    assert [[each["decoded"] for each in blocks] for blocks in ours] == [[STRETCH * BATCH]] * 2
    for name in (WEBDATASET_ONE, WEBDATASET_WHOLE):
        (of_rival,) = [each["blocks"] for each in result["readers"] if each["name"] == name]
        assert of_rival[0]["windows"] % BATCH == 0 < of_rival[0]["windows"]
    assert [(each["is_cold"], each["step"]) for each in result["starts"]] == [
        (True, 0),
        *((False, step) for step in STEPS),
    ]
    assert all(each["num_samples"] >= 10_000 for each in result["memories"])
