"""What a stream holds does not grow with what it has delivered."""

import multiprocessing
import os
from collections.abc import Callable
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from damaged_datasets import shard_each_clip
from rank_streams import GLOBAL_BATCH_SIZE, WINDOW, build_loader

from nitrogen_train.data.mixture import load_sources
from nitrogen_train.data.quarantine import Quarantine

NUM_STEPS = 60
"""Of 48 windows each."""


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_growth(folder: Path, answers: Connection) -> None:
    """Take windows in stretch mode, and send by how many bytes the process has grown."""
    sources = load_sources(
        {"all": {"path": str(folder)}}, split="train", window=WINDOW, index_dir=folder / "index"
    )
    loader = build_loader(sources, quarantine=Quarantine(folder / "rank-0.jsonl", max_share=1.0))
    batches = iter(loader)
    # Every lane has seen the end of a visit by then, and holds what it ever will.
    for _ in islice(batches, 70):
        pass
    before = resident_bytes()
    for _ in islice(batches, NUM_STEPS):
        pass
    answers.send(resident_bytes() - before)


@pytest.mark.full
def test_memory_stays_flat(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    plans = [clip_plan(clip_id=f"c{i}", num_frames=40) for i in range(12)]
    folder = shard_each_clip(write_dataset(tmp_path, plans))
    # A process of its own, which holds nothing of other tests.
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure_growth, args=(folder, theirs))

    process.start()
    theirs.close()
    growth = ours.recv()
    process.join()

    assert NUM_STEPS * GLOBAL_BATCH_SIZE > 2000
    # Keeping the windows' frames would take 70 MB, the encoded clips that they come from 10 MB.
    assert growth < 4 * 2**20
