"""DDP and ZeRO-1, 2 and 3 on two processes of this machine: time and memory per step and rank."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.strategy_process import NUM_RANKS, NUM_STEPS, WORKLOAD, RankCost
from nitrogen_train.runtime.progress import format_table

STRATEGIES = ("ddp", "zero_1", "zero_2", "zero_3")


@dataclass(frozen=True, kw_only=True)
class StrategyCost:
    """What a strategy costs."""

    name: str
    ranks: list[RankCost]


def measure_strategies(names: Sequence[str]) -> list[StrategyCost]:
    """Train the same policy under each strategy, one after the other, two processes at a time."""
    return [StrategyCost(name=name, ranks=_measure(name)) for name in names]


def describe_strategies(costs: Sequence[StrategyCost]) -> str:
    """Lay measurements out as a table, the larger of the ranks each."""
    header = ("strategy", "step ms", "state MiB", "peak MiB", "average in place ms")
    rows = [
        (
            cost.name,
            f"{1e3 * max(rank.step_s for rank in cost.ranks):.0f}",
            f"{max(rank.state_mib for rank in cost.ranks):.0f}",
            f"{max(rank.peak_mib for rank in cost.ranks):.0f}",
            f"{1e3 * max(rank.gather_s for rank in cost.ranks):.0f}",
        )
        for cost in costs
    ]
    num_parameters = costs[0].ranks[0].num_parameters
    return (
        f"{format_table(header, rows)}\n"
        f"{WORKLOAD.name}, {num_parameters:,} parameters in fp32, {NUM_RANKS} processes over gloo, "
        f"one thread each, 2 samples a rank; median of {NUM_STEPS} steps, the larger of the ranks\n"
        "state: Adam's moments and the average; peak: resident memory above the built policy's\n"
    )


def _measure(name: str) -> list[RankCost]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.strategy_process", name, folder],
            check=True,
            stdout=sys.stderr,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        files = [Path(folder) / f"rank-{rank}.json" for rank in range(NUM_RANKS)]
        return [RankCost(**json.loads(path.read_text(encoding="utf-8"))) for path in files]
