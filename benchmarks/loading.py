"""Loading on one core: our loader against decoding in order, random opens, webdataset and LeRobot.

Every reader is a process of its own, pinned to the same core, over the same clips: they take turns
block by block, and are stopped in between. Starts and memory have fresh processes.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.loading_clips import ClipSet, copy_clips, lengthen_groups
from benchmarks.loading_readers import (
    KEPT_WORKER,
    LEROBOT,
    WORKER,
    Reader,
    command_ours,
    list_readers,
)
from benchmarks.pinned import Block, PinnedProcess
from nitrogen_train.config import DataConfig, load_defaults
from nitrogen_train.runtime.progress import track

STEPS = (0, 1000, 1_000_000)
"""To start at."""

_BLOCK_S = 1.5
"""How long a turn is, at least; ours are as long as one stretch of every lane."""


@dataclass(frozen=True, kw_only=True)
class ReaderCost:
    """What a reader has read in its turns."""

    name: str
    group_frames: int
    """Of the files, from one key frame to the next."""
    blocks: list[Block] = field(default_factory=list[Block])

    @property
    def rates(self) -> list[float]:
        """Windows, or frames where there are none, delivered per second on the core."""
        return [block.windows / block.cpu_s for block in self.blocks]

    @property
    def decoded_rates(self) -> list[float]:
        """Frames decoded per second on the core."""
        return [(block.decoded or 0) / block.cpu_s for block in self.blocks]


@dataclass(frozen=True, kw_only=True)
class StartCost:
    """What the first batch costs at a step, one number per start."""

    is_cold: bool
    """Whether nothing was derived from the manifest yet, and the shards not in memory."""
    step: int
    process_s: list[float] = field(default_factory=list[float])
    """From the start of the process to the first batch."""
    loader_s: list[float] = field(default_factory=list[float])
    """The part of it after Python's imports."""
    cpu_s: list[float] = field(default_factory=list[float])
    """Of all of it, the time on the core."""
    early_rates: list[float] = field(default_factory=list[float])
    """Windows per second on the core until each lane has handed out two."""
    steady_rates: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """What the only worker of a loader holds, everything that it has in memory included."""

    name: str
    num_samples: int
    peak_mib: float
    """From its start on."""
    first_mib: float
    """The median over the first tenth of the samples, once each lane has ended a visit."""
    last_mib: float
    """And over the last tenth."""


@dataclass(frozen=True, kw_only=True)
class LoadingCost:
    """What loading costs."""

    clips: dict[str, int | float]
    """Of which it was measured."""
    readers: list[ReaderCost]
    missing: dict[str, str]
    """Readers that were not run, and why."""
    facts: dict[str, str]
    """What a reader says of itself."""
    starts: list[StartCost]
    memories: list[MemoryCost]

    def find(self, name: str, group_frames: int) -> ReaderCost | None:
        """Find a reader's cost, None if it was not run."""
        found = [
            each for each in self.readers if (each.name, each.group_frames) == (name, group_frames)
        ]
        return found[0] if found else None


def measure_loading(
    datasets: Sequence[Path],
    *,
    num_rounds: int,
    max_clips: int,
    micro_batch_size: int | None = None,
    lerobot_python: Path | None = None,
) -> LoadingCost:
    """Measure how training clips of some data sets are loaded.

    Args:
        datasets: Folders that `nitrogen-data shard` has made.
        num_rounds: Turns of each reader; starts are half as many.
        max_clips: Of all data sets together.
        micro_batch_size: Samples of a step; None: as `nitrogen-train`'s.
        lerobot_python: An interpreter that has `lerobot`, if it is to be compared.
    """
    with tempfile.TemporaryDirectory() as folder:
        work_dir = Path(folder)
        stored = copy_clips(datasets, work_dir / "stored", max_clips=max_clips)
        long = lengthen_groups(stored, work_dir / "long")
        data = _default_data(stored, work_dir, micro_batch_size=micro_batch_size)
        readers = list_readers(
            stored, long, data, work_dir, lerobot_python=lerobot_python, block_s=_BLOCK_S
        )
        costs, missing, facts = _take_turns(readers, num_rounds=num_rounds)
        if lerobot_python is None:
            missing[LEROBOT] = "give --lerobot-python"
        return LoadingCost(
            clips={
                "clips": len(stored.videos),
                "frames": sum(stored.num_frames),
                "side": stored.side,
                "micro_batch_size": data.micro_batch_size,
                "group_frames": stored.group_frames,
                "long_group_frames": long.group_frames,
            },
            readers=costs,
            missing=missing,
            facts=facts,
            starts=_measure_starts(data, stored, work_dir, num_starts=(num_rounds + 1) // 2),
            memories=[
                _measure_memory(name, replace(data, num_workers=1, clip_cache_gib=gib))
                for name, gib in ((WORKER, 0.0), (KEPT_WORKER, load_defaults().data.clip_cache_gib))
            ],
        )


def compare(
    ours: ReaderCost, theirs: ReaderCost, rates: Callable[[ReaderCost], list[float]]
) -> list[float]:
    """Divide our rates by theirs of the same round."""
    return [one / other for one, other in zip(rates(ours), rates(theirs), strict=True)]


def _default_data(clips: ClipSet, work_dir: Path, *, micro_batch_size: int | None) -> DataConfig:
    """Take `nitrogen-train`'s defaults, with a step of one micro-batch, and nothing kept."""
    data = load_defaults().data
    size = data.micro_batch_size if micro_batch_size is None else micro_batch_size
    return replace(
        data,
        sources={"clips": {"path": str(clips.dataset_dir)}},
        image_size=clips.side,
        global_batch_size=size,
        micro_batch_size=size,
        index_dir=str(work_dir / "index"),
        clip_cache_gib=0.0,
    )


def _take_turns(
    readers: Sequence[Reader], *, num_rounds: int
) -> tuple[list[ReaderCost], dict[str, str], dict[str, str]]:
    missing: dict[str, str] = {}
    facts: dict[str, str] = {}
    with ExitStack() as stack:
        running: list[tuple[PinnedProcess, ReaderCost]] = []
        for reader in track(readers, label="warm up", unit="reader", total=len(readers)):
            process = stack.enter_context(PinnedProcess(reader.command))
            try:
                ready = process.read()
            except RuntimeError as error:
                if not reader.is_optional:
                    raise
                missing[reader.name] = str(error)
                continue
            process.pause()
            if "facts" in ready:
                facts[reader.name] = ready["facts"]
            cost = ReaderCost(name=reader.name, group_frames=reader.clips.group_frames)
            running.append((process, cost))
        for _ in track(range(num_rounds), label="read", unit="round", total=num_rounds):
            for process, cost in running:
                cost.blocks.append(process.read_block())
    return [cost for _, cost in running], missing, facts


def _measure_starts(
    data: DataConfig, clips: ClipSet, work_dir: Path, *, num_starts: int
) -> list[StartCost]:
    costs = [
        StartCost(is_cold=True, step=0),
        *(StartCost(is_cold=False, step=step) for step in STEPS),
    ]
    for number in track(range(num_starts), label="start", unit="round", total=num_starts):
        index_dir = work_dir / f"index-{number}"
        for cost in costs:
            if cost.is_cold:
                _forget(clips.shards)
            _measure_start(replace(data, index_dir=str(index_dir)), cost)
    return costs


def _measure_start(data: DataConfig, cost: StartCost) -> None:
    start = time.perf_counter()
    with PinnedProcess(command_ours("start", data, start_step=cost.step)) as process:
        first = process.read()
        cost.process_s.append(time.perf_counter() - start)
        rates = process.read()
    cost.loader_s.append(first["loader_s"])
    cost.cpu_s.append(first["cpu_s"])
    cost.early_rates.append(rates["early_rate"])
    cost.steady_rates.append(rates["steady_rate"])


def _measure_memory(name: str, data: DataConfig) -> MemoryCost:
    with PinnedProcess(command_ours("memory", data)) as process:
        return MemoryCost(name=name, **process.read())


def _forget(paths: Sequence[Path]) -> None:
    """Ask the kernel to drop files from memory."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
