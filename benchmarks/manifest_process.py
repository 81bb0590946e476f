"""What a process pays for a manifest; run as a process of its own, which imports no torch.

python -m benchmarks.manifest_process DATASET INDEX_DIR    # prints JSON
"""

import json
import multiprocessing
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from benchmarks.memory import read_memory_mib
from nitrogen_train.data.manifest import MANIFEST_NAME, Manifest, open_manifest
from nitrogen_train.data.selection import Selection
from nitrogen_train.data.windows import WindowShape, WindowTable, open_window_table

NUM_WORKERS = 4
NUM_POSITIONS = 4096
NUM_ROWS = 64
"""Rows of the manifest that are read, as a worker does for the clips that it decodes."""

_SELECTION = "split == train and idle_share < 0.9"
_WINDOW = WindowShape(num_frames=1, frame_stride=1, action_horizon=18, action_offset=3)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Pages that no other process has, in MiB."""

    own: float
    """Written by the process, or by one that it was forked from and has changed since."""
    mapped: float
    """Read from mapped files by this process alone so far; the kernel may drop them at any time."""


@dataclass(frozen=True, kw_only=True)
class ProcessCost:
    """What one process paid, and the workers that it forked."""

    manifest_s: float
    """To open the manifest, and to convert it if nobody has."""
    manifest_peak_mib: float
    """Highest resident memory until then, mapped files included."""
    table_s: float
    """To open the table of windows, and to build it if nobody has."""
    table_peak_mib: float
    locate_s: float
    num_windows: int
    memory: Memory
    worker_memory: list[Memory]
    """Each forked worker's, all alive, after it has located and read windows of its own."""


def measure_process(dataset_dir: Path, index_dir: Path) -> ProcessCost:
    """Open a manifest and its windows, locate some of them, and do so again in forked workers."""
    start = time.perf_counter()
    manifest = open_manifest(dataset_dir / MANIFEST_NAME, cache_dir=index_dir)
    manifest_s, manifest_peak_mib = time.perf_counter() - start, read_memory_mib("VmHWM")
    start = time.perf_counter()
    table = open_window_table(
        manifest,
        selection=Selection(_SELECTION),
        window=_WINDOW,
        cache_dir=index_dir,
        by_game=True,
    )
    table_s, table_peak_mib = time.perf_counter() - start, read_memory_mib("VmHWM")
    positions = _draw(table, seed=0)
    start = time.perf_counter()
    table.locate(positions)
    return ProcessCost(
        manifest_s=manifest_s,
        manifest_peak_mib=manifest_peak_mib,
        table_s=table_s,
        table_peak_mib=table_peak_mib,
        locate_s=time.perf_counter() - start,
        num_windows=table.num_windows,
        memory=_measure_memory(),
        worker_memory=_measure_workers(manifest, table),
    )


def _measure_workers(manifest: Manifest, table: WindowTable) -> list[Memory]:
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(NUM_WORKERS), fork.SimpleQueue()
    workers = [
        fork.Process(target=_work, args=(seed, manifest, table, barrier, results))
        for seed in range(1, NUM_WORKERS + 1)
    ]
    for worker in workers:
        worker.start()
    memories = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return memories


def _work(
    seed: int,
    manifest: Manifest,
    table: WindowTable,
    barrier: Barrier,
    results: "multiprocessing.SimpleQueue[Memory]",
) -> None:
    located = table.locate(_draw(table, seed=seed))
    for clip in located.clip[:NUM_ROWS]:
        manifest.row(int(clip))
    barrier.wait()
    memory = _measure_memory()
    # Nobody leaves while another is being measured.
    barrier.wait()
    results.put(memory)


def _draw(table: WindowTable, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, table.num_windows, NUM_POSITIONS)


def _measure_memory() -> Memory:
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    lines = (line.split() for line in rollup.splitlines())
    kib = {line[0].rstrip(":"): int(line[1]) for line in lines if line[-1] == "kB"}
    return Memory(own=kib["Private_Dirty"] / 1024, mapped=kib["Private_Clean"] / 1024)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure_process(Path(sys.argv[1]), Path(sys.argv[2])))))
