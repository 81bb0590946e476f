"""What one rank pays under a strategy; Lightning starts the second rank with the same command.

python -m benchmarks.strategy_process STRATEGY FOLDER    # writes FOLDER/rank-R.json
"""

import json
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from torch import Tensor

from benchmarks.memory import read_memory_mib
from benchmarks.workload import Workload
from nitrogen_train.config import build
from nitrogen_train.train import build_module
from nitrogen_train.training.strategies import ZeroStrategy

NUM_RANKS = 2
NUM_WARM_UP_STEPS = 2
NUM_STEPS = 8
WORKLOAD = Workload(
    name="part of base",
    overrides=(
        "model=base", "model.encoder.pretrained=false", "+model.encoder.options.depth=2",
        "model.mixer.num_layers=1", "model.dit.num_layers=2", "data.global_batch_size=4",
        "data.micro_batch_size=2", "trainer.accelerator=cpu", f"trainer.devices={NUM_RANKS}",
    ),
)  # fmt: skip
"""Layers as wide as at base size, but few, so that two whole copies fit into a laptop."""


@dataclass(frozen=True, kw_only=True)
class RankCost:
    """What one rank paid."""

    num_parameters: int
    step_s: float
    """Median over steps."""
    gather_s: float
    """To put the averaged weights into the policy, once."""
    state_mib: float
    """The optimizer's state and the average."""
    peak_mib: float
    """Highest resident memory of the process above what it had with the policy built."""


class _Watch(L.Callback):
    """Times steps, and the averaged weights at the end."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.gather_s = 0.0
        self.state_bytes = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Note the time."""
        self.ends.append(time.perf_counter())

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:  # noqa: ANN401 - ours
        """Look at the optimizer while it is there, and put the averages in place once."""
        strategy = trainer.strategy
        is_zero = isinstance(strategy, ZeroStrategy)
        optimizer = strategy.state.optimizer if is_zero else trainer.optimizers[0]
        self.state_bytes = sum(
            value.nbytes
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )
        start = time.perf_counter()
        with pl_module.averaged_weights():
            self.gather_s = time.perf_counter() - start


def measure_rank(strategy: str, folder: Path) -> None:
    """Train a few steps as one of the ranks, and write what it cost."""
    torch.set_num_threads(1)
    config = WORKLOAD.compose_config(f"strategy={strategy}", f"output_dir={folder}")
    module = build_module(config)
    num_parameters = sum(parameter.numel() for parameter in module.policy.parameters())
    before_mib = read_memory_mib("VmHWM")
    watch = _Watch()
    trainer = L.Trainer(
        strategy=build(config.strategy | {"accelerator": "cpu"}),
        accelerator="cpu",
        devices=NUM_RANKS,
        max_steps=NUM_WARM_UP_STEPS + NUM_STEPS,
        gradient_clip_val=config.trainer["gradient_clip_val"],
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, repeat(WORKLOAD.make_batch()))
    steps = [end - start for start, end in zip(watch.ends, watch.ends[1:], strict=False)]
    cost = RankCost(
        num_parameters=num_parameters,
        step_s=statistics.median(steps[-NUM_STEPS:]),
        gather_s=watch.gather_s,
        state_mib=watch.state_bytes / 2**20,
        peak_mib=read_memory_mib("VmHWM") - before_mib,
    )
    path = folder / f"rank-{trainer.global_rank}.json"
    path.write_text(json.dumps(asdict(cost)), encoding="utf-8")


if __name__ == "__main__":
    # Lightning has advice about loaders; this one is meant as it is.
    warnings.simplefilter("ignore")
    measure_rank(sys.argv[1], Path(sys.argv[2]))
