"""Opening a manifest of many clips: once per node, then in every process of the node."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import measure_seconds
from benchmarks.manifest_process import NUM_POSITIONS, NUM_ROWS, NUM_WORKERS, Memory, ProcessCost
from benchmarks.simulated_manifest import write_simulated_manifest
from nitrogen_train.runtime.progress import format_table


@dataclass(frozen=True, kw_only=True)
class ManifestCost:
    """What a simulated manifest costs."""

    num_clips: int
    num_games: int
    write_s: float
    """To simulate it."""
    parquet_mib: float
    index_mib: float
    """Files derived from it, once per node."""
    first: ProcessCost
    """The process that finds no index, and makes it."""
    second: ProcessCost
    """A fresh process that finds the index."""


def measure_manifest(*, num_clips: int, num_games: int) -> ManifestCost:
    """Simulate a manifest, and open it in two processes, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        dataset_dir, index_dir = Path(folder) / "dataset", Path(folder) / "index"
        write_s = measure_seconds(
            write_simulated_manifest, dataset_dir, num_clips=num_clips, num_games=num_games
        )
        first, second = (measure_opening(dataset_dir, index_dir) for _ in range(2))
        return ManifestCost(
            num_clips=num_clips,
            num_games=num_games,
            write_s=write_s,
            parquet_mib=_size_mib(dataset_dir),
            index_mib=_size_mib(index_dir),
            first=first,
            second=second,
        )


def measure_opening(dataset_dir: Path, index_dir: Path) -> ProcessCost:
    """Open a manifest in a process of its own, and in workers that it forks."""
    command = [sys.executable, "-m", "benchmarks.manifest_process"]
    done = subprocess.run(
        [*command, str(dataset_dir), str(index_dir)], check=True, stdout=subprocess.PIPE
    )
    values = json.loads(done.stdout)
    values["memory"] = Memory(**values["memory"])
    values["worker_memory"] = [Memory(**memory) for memory in values["worker_memory"]]
    return ProcessCost(**values)


def describe_manifest(cost: ManifestCost) -> str:
    """Lay measurements out as a table."""
    header = ("process", "manifest s", "table s", f"locate {NUM_POSITIONS} ms", "own MiB", "mapped")
    rows = [
        (
            name,
            f"{process.manifest_s:.2f}",
            f"{process.table_s:.2f}",
            f"{process.locate_s * 1e3:.1f}",
            f"{process.memory.own:.0f}",
            f"{process.memory.mapped:.0f}",
        )
        for name, process in (("first", cost.first), ("second", cost.second))
    ]
    rows += [
        (f"worker {number}", "", "", "", f"{memory.own:.0f}", f"{memory.mapped:.0f}")
        for number, memory in enumerate(cost.second.worker_memory, 1)
    ]
    return (
        f"{format_table(header, rows)}\n"
        f"{cost.num_clips} clips of {cost.num_games} games, {cost.second.num_windows} windows, "
        f"simulated in {cost.write_s:.0f} s; parquet {cost.parquet_mib:.0f} MiB, index "
        f"{cost.index_mib:.0f} MiB\n"
        f"peak resident memory of first: {cost.first.manifest_peak_mib:.0f} MiB to convert the "
        f"manifest, {cost.first.table_peak_mib:.0f} MiB with the table, mapped files included\n"
        f"{NUM_WORKERS} workers forked by second have located {NUM_POSITIONS} windows and read "
        f"{NUM_ROWS} rows each; own: written, mapped: pages of files that no other process has\n"
    )


def _size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*")) / 2**20
