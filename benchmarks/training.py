"""A training step: ours under Lightning against a bare PyTorch loop over the same modules.

The loader that Lightning asks for its next batch makes a bare step before it answers: the two
kinds of step alternate, on the same weights and the same optimizer, in the same process. The bare
step is what a loop cannot leave out: loss, backward pass, clipping of the gradients, AdamW, and
the averaging of the weights that hangs on the optimizer. Lightning's step is all that happens
between a batch handed out and the next one asked for, with the callbacks and loggers of
`nitrogen-train`; checkpoints and validation are left out.
"""

import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from benchmarks.machine import measure_seconds, run_alone
from benchmarks.memory import read_memory_mib
from benchmarks.workload import Workload
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.config import RunConfig
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.runtime.progress import format_table
from nitrogen_train.train import build_module, build_trainer
from nitrogen_train.training.checkpoints import CheckpointCallback
from nitrogen_train.training.loggers import ending_loggers
from nitrogen_train.training.module import LitPolicy
from nitrogen_train.training.optimization import track_ema

_NUM_WARM_UP_STEPS = 2
_NEVER = 1_000_000
_MIN_PEAK_SAMPLES = 4
"""With fewer, activations disappear beside weights, gradients and the optimizer's state."""
_NUM_PEAK_STEPS = 2
"""The second step has both the optimizer's state and a backward pass."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds per step."""

    bare_s: list[float]
    """Means over blocks of steps, each as long as the interval at which Lightning logs."""
    lightning_s: list[float]
    """Of the steps in between."""
    average_s: float
    """Part of either step: the averaging of the weights."""
    num_parameters: int
    batch_size: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a training step costs."""

    name: str
    times: StepTimes
    peak_batch_size: int
    """Of the two measurements of memory."""
    peak_gib: float
    """Highest resident memory of a process that trains, everything included."""
    checkpointed_peak_gib: float
    """The same with activation checkpointing."""

    @property
    def overhead_s(self) -> float:
        """What Lightning and our module add to a bare step, the median over pairs."""
        pairs = zip(self.times.lightning_s, self.times.bare_s, strict=True)
        return statistics.median(lightning - bare for lightning, bare in pairs)

    @property
    def overhead_share(self) -> float:
        """The same as a share of the bare step."""
        pairs = zip(self.times.lightning_s, self.times.bare_s, strict=True)
        return statistics.median(lightning / bare for lightning, bare in pairs) - 1


def measure_training(workload: Workload, *, num_blocks: int) -> TrainingCost:
    """Measure a workload's step, and the memory with and without activation checkpointing.

    Each measurement has a process of its own.

    Args:
        workload: What to train, on CPU.
        num_blocks: Pairs of blocks of steps; a block is as long as the interval of logging.
    """
    times = run_alone(time_steps, workload, num_blocks=num_blocks)
    num = max(times.batch_size, _MIN_PEAK_SAMPLES)
    kept, recomputed = (
        run_alone(measure_peak_gib, workload, num_samples=num, is_checkpointed=is_checkpointed)
        for is_checkpointed in (False, True)
    )
    return TrainingCost(
        name=workload.name,
        times=times,
        peak_batch_size=num,
        peak_gib=kept,
        checkpointed_peak_gib=recomputed,
    )


def time_steps(workload: Workload, *, num_blocks: int) -> StepTimes:
    """Alternate bare steps and Lightning's."""
    with _start_run(workload) as config:
        module = build_module(config)
        loader = _AlternatingLoader(
            module=module,
            batch=workload.make_batch(),
            gradient_clip_val=config.trainer["gradient_clip_val"],
        )
        block = config.trainer["log_every_n_steps"]
        num_steps = num_blocks * block
        # The last step ends without a question for another batch.
        _fit(config, module, loader, num_steps=_NUM_WARM_UP_STEPS + num_steps + 1)
    return StepTimes(
        bare_s=_average_blocks(loader.bare_s[-num_steps:], block),
        lightning_s=_average_blocks(loader.lightning_s[-num_steps:], block),
        average_s=_measure_averaging(module.policy, decay=config.ema_decay),
        num_parameters=sum(parameter.numel() for parameter in module.policy.parameters()),
        batch_size=config.data.micro_batch_size,
        threads=torch.get_num_threads(),
    )


def measure_peak_gib(workload: Workload, *, num_samples: int, is_checkpointed: bool) -> float:
    """Train under Lightning and return the highest memory that this process has ever had."""
    override = f"activation_checkpointing={'true' if is_checkpointed else 'false'}"
    with _start_run(workload, override) as config:
        loader = repeat(workload.make_batch(num_samples))
        _fit(config, build_module(config), loader, num_steps=_NUM_PEAK_STEPS)
    return read_memory_mib("VmHWM") / 1024


def step_barely(
    policy: VisualPolicy, batch: PolicyBatch, *, optimizer: Optimizer, gradient_clip_val: float
) -> None:
    """Make one step of training, with nothing around it."""
    optimizer.zero_grad()
    output = policy.compute_loss(batch)
    (output.error_sum / batch.num_valid_in_step).backward()
    nn.utils.clip_grad_norm_(policy.parameters(), gradient_clip_val)
    optimizer.step()


def describe_training(costs: Sequence[TrainingCost]) -> str:
    """Lay measurements out as a table."""
    header = (
        "size", "parameters", "batch", "threads", "bare ms", "Lightning ms", "overhead ms",
        "share", "EMA ms", "memory batch", "peak GiB", "checkpointed",
    )  # fmt: skip
    rows = [
        (
            cost.name,
            f"{cost.times.num_parameters:,}",
            str(cost.times.batch_size),
            str(cost.times.threads),
            f"{statistics.median(cost.times.bare_s) * 1e3:.1f}",
            f"{statistics.median(cost.times.lightning_s) * 1e3:.1f}",
            f"{cost.overhead_s * 1e3:+.1f}",
            f"{cost.overhead_share:+.1%}",
            f"{cost.times.average_s * 1e3:.1f}",
            str(cost.peak_batch_size),
            f"{cost.peak_gib:.2f}",
            f"{cost.checkpointed_peak_gib:.2f}",
        )
        for cost in costs
    ]
    return (
        f"{format_table(header, rows)}\n"
        "bare: loss, backward, clipping, AdamW, EMA; medians over "
        f"{', '.join(str(len(cost.times.bare_s)) for cost in costs)} pairs measured in turn\n"
    )


class _AlternatingLoader:
    """Hands out the same batch for ever, and makes a bare step before each."""

    def __init__(self, *, module: LitPolicy, batch: PolicyBatch, gradient_clip_val: float) -> None:
        self.bare_s: list[float] = []
        self.lightning_s: list[float] = []
        self._module = module
        self._batch = batch
        self._gradient_clip_val = gradient_clip_val

    def __iter__(self) -> Iterator[PolicyBatch]:
        while True:
            optimizer = self._module.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, Optimizer)  # noqa: S101 - our module configures one
            seconds = measure_seconds(
                step_barely,
                self._module.policy,
                self._batch,
                optimizer=optimizer,
                gradient_clip_val=self._gradient_clip_val,
            )
            self.bare_s.append(seconds)
            start = time.perf_counter()
            yield self._batch
            self.lightning_s.append(time.perf_counter() - start)


@contextmanager
def _start_run(workload: Workload, *overrides: str) -> Iterator[RunConfig]:
    """Offer the config of a run on the CPU, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        config = workload.compose_config(
            f"output_dir={folder}",
            "trainer.accelerator=cpu",
            f"val_every_n_steps={_NEVER}",
            f"checkpoint_every_n_steps={_NEVER}",
            *overrides,
        )
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        yield config


def _fit(
    config: RunConfig, module: LitPolicy, loader: Iterable[PolicyBatch], *, num_steps: int
) -> None:
    """Train as `nitrogen-train` does; its progress goes to standard error."""
    os.environ["WANDB_SILENT"] = "true"
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = build_trainer(replace(config, max_steps=num_steps))
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    callbacks.remove(next(one for one in callbacks if isinstance(one, CheckpointCallback)))
    with redirect_stdout(sys.stderr), warnings.catch_warnings(), ending_loggers():
        # Lightning has advice about loaders; this one is meant as it is.
        warnings.simplefilter("ignore")
        trainer.fit(module, loader)


def _average_blocks(seconds: Sequence[float], block: int) -> list[float]:
    starts = range(0, len(seconds), block)
    return [statistics.fmean(seconds[start : start + block]) for start in starts]


def _measure_averaging(policy: nn.Module, *, decay: float) -> float:
    """Measure the averaging of the weights alone, on an optimizer that does nothing else."""
    optimizer = _IdleOptimizer(p for p in policy.parameters() if p.requires_grad)
    track_ema(optimizer, decay=decay)
    optimizer.step()
    return statistics.median(measure_seconds(optimizer.step) for _ in range(5))


class _IdleOptimizer(Optimizer):
    """Has a state, as an optimizer after its first step, and leaves the weights alone."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["step"] = 0

    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 - as the base class
        """Do nothing; the hooks run."""
