"""Run the short training, or the loader alone, that a profile measures.

    config ─► its own folder, no checkpoints, validations and loggers ─► some steps ─► text, traces
    config ─► this rank's loader, no policy ─► some micro-batches ─► text

Nothing of the run's folder is read or changed; what is written lies in `profile` inside of it.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch

from nitrogen_train.config import Profile, RunConfig, count_processes, shape_batch
from nitrogen_train.data.stream import TrainingLoader
from nitrogen_train.run.data_of_run import is_first_rank
from nitrogen_train.run.plan_report import BOUND, SHORT_STEP_S, forecast_run
from nitrogen_train.run.profile_report import LoaderRate, describe_loader, describe_steps
from nitrogen_train.runtime.processes import count_cores, measure_cpu_s
from nitrogen_train.runtime.progress import Progress, waiting
from nitrogen_train.train import (
    build_datamodule,
    build_module,
    build_trainer,
    prepare,
    quieten_lightning,
)
from nitrogen_train.training.checkpoints import CheckpointCallback
from nitrogen_train.training.launch import leading_ranks
from nitrogen_train.training.preemption import PreemptionCallback
from nitrogen_train.training.step_profiler import (
    PhaseClock,
    PhaseProfiler,
    ProfiledSteps,
    StepProfilerCallback,
    name_trace,
    timing_collectives,
)
from nitrogen_train.training.throughput import GPUS, ThroughputCallback, find_gpu
from nitrogen_train.training.training_progress import ProgressCallback

_LEFT_OUT = (CheckpointCallback, PreemptionCallback, ThroughputCallback, ProgressCallback)
"""Callbacks that save, wait for the device, or tell of a run."""
_MEASURED_MICRO_BATCHES = 100


def profile_run(config: RunConfig) -> str:
    """Measure what the config asks for; all ranks together.

    Args:
        config: Of a run, checked; its folder may have a run in it.

    Returns:
        What rank 0 has to say.

    Raises:
        ValueError: If the config cannot work, or the run is too short to be measured.
    """
    quieten_lightning()
    prepare(config)
    own = replace(
        config,
        output_dir=str(find_profile_dir(config)),
        data=replace(config.data, num_val_windows=0),
        loggers={},
    )
    return _profile_steps(own) if config.profile is Profile.steps else _profile_loader(own)


def find_profile_dir(config: RunConfig) -> Path:
    """Name the folder in which a profile is written."""
    return Path(config.output_dir) / "profile"


def _profile_steps(config: RunConfig) -> str:
    shape = shape_batch(config)
    steps = ProfiledSteps.fit(config.max_steps, accumulation=shape.accumulation)
    with waiting("opening the data sets") if is_first_rank() else nullcontext():
        datamodule = build_datamodule(config)
    with waiting("building the policy") if is_first_rank() else nullcontext():
        module = build_module(config)
    trainer = _build_trainer(replace(config, max_steps=steps.total))
    device = trainer.strategy.root_device
    clock = PhaseClock(device=device if device.type == "cuda" else None)
    folder = Path(config.output_dir)
    callback = StepProfilerCallback(clock, steps, folder=folder)
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    callbacks.append(callback)
    # Lightning sets it without declaring it.
    trainer.profiler = PhaseProfiler(clock)  # pyright: ignore[reportAttributeAccessIssue]
    with timing_collectives(clock), leading_ranks(trainer):
        trainer.fit(module, datamodule)
    if not trainer.is_global_zero:
        return ""
    last = trainer.world_size - 1
    more = f" … {name_trace(folder, last).name}" if last else ""
    return describe_steps(
        callback.ranks,
        shape=shape,
        max_wait_share=config.data.max_wait_share,
        traces=[
            f"trace: {name_trace(folder, 0)}{more}; open {'one' if last else 'it'} at "
            "https://ui.perfetto.dev"
        ],
    )


def _build_trainer(config: RunConfig) -> L.Trainer:
    trainer = build_trainer(config)
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    callbacks[:] = [each for each in callbacks if not isinstance(each, _LEFT_OUT)]
    return trainer


def _profile_loader(config: RunConfig) -> str:
    with waiting("counting the policy's operations") if is_first_rank() else nullcontext():
        needs, notes = _find_needs(config)
    with waiting("opening the data sets") if is_first_rank() else nullcontext():
        datamodule = build_datamodule(config)
    # Of its world's size, and of this rank's share; nothing is started.
    datamodule.trainer = _build_trainer(config)
    data, accumulation = config.data, shape_batch(config).accumulation
    # Each lane opens a clip in its first turn, and what was prepared ahead comes for nothing.
    num_warm_up = max(data.lane_groups * accumulation, data.prefetch_factor + 4)
    num_measured = min(_MEASURED_MICRO_BATCHES, config.max_steps * accumulation)
    total = (num_warm_up + num_measured) * data.micro_batch_size
    shown = Progress(total=total, label="load", unit="sample") if is_first_rank() else nullcontext()
    with shown as progress:
        rate = measure_loader(
            datamodule.train_dataloader(),
            num_workers=min(data.num_workers, data.micro_batch_size),
            num_warm_up=num_warm_up,
            num_measured=num_measured,
            tell=(lambda _: None) if progress is None else progress.update,
        )
    if (num_ranks := count_processes(config)) > 1:
        notes.append(
            f"Of rank 0 of {num_ranks}: the others read at the same time where a launcher (srun, "
            "torchrun) has started them."
        )
    text = describe_loader(rate, needs, micro_batch_size=data.micro_batch_size, notes=notes)
    return text if is_first_rank() else ""


def _find_needs(config: RunConfig) -> tuple[dict[str, float], list[str]]:
    """Predict samples per second of a GPU: the one that is here, or each that is known."""
    job = forecast_run(config)[0]
    here = find_gpu(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    gpus = GPUS if here is None else (here,)
    is_bound = any(job.step_s(gpu) < SHORT_STEP_S for gpu in gpus)
    needs = {gpu.name: job.samples_per_s(gpu) / count_processes(config) for gpu in gpus}
    return needs, [BOUND] if is_bound else []


def measure_loader(
    loader: TrainingLoader,
    *,
    num_workers: int,
    num_warm_up: int,
    num_measured: int,
    tell: Callable[[int], None],
) -> LoaderRate:
    """Take a loader's micro-batches as fast as they come.

    Args:
        loader: Not started yet.
        num_workers: That it has.
        num_warm_up: Micro-batches that are not measured.
        num_measured: Micro-batches after these.
        tell: Is told the samples of each.
    """
    begin, samples = time.perf_counter(), 0
    batches = iter(loader)
    for batch in islice(batches, num_warm_up):
        tell(len(batch))
    loader.report.take()
    start, cpu_start = time.perf_counter(), measure_cpu_s()
    for batch in islice(batches, num_measured):
        samples += len(batch)
        tell(len(batch))
    seconds, cpu_s = time.perf_counter() - start, measure_cpu_s() - cpu_start
    report = loader.report.take()
    return LoaderRate(
        num_workers=num_workers,
        num_cores=count_cores(),
        samples=samples,
        seconds=seconds,
        cpu_s=cpu_s,
        start_s=start - begin,
        frames_decoded=report.frames_decoded,
        bytes_read=report.bytes_read,
    )
