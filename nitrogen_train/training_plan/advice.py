"""What to change where a job does not fit."""

from collections.abc import Iterator
from dataclasses import replace

from nitrogen_train.training.gpus import Gpu
from nitrogen_train.training_plan.forecast import USABLE_MEMORY, Forecast, forecast
from nitrogen_train.training_plan.setup import Setup


def advise(wanted: Forecast, gpu: Gpu) -> str:
    """Name the smallest change that fits, and what it takes then; in the words of a command."""
    for setup in _list_changes(wanted.setup):
        changed = forecast(wanted.cost, setup)
        if changed.fits(gpu):
            return f"{_describe(wanted.setup, setup)}: {changed.memory.total / 2**30:.1f} GiB"
    return (
        f"nothing here fits into {USABLE_MEMORY * gpu.memory_gib:.1f} GiB: "
        "freeze more (frozen=[encoder.*]) or take a smaller model"
    )


def _list_changes(setup: Setup) -> Iterator[Setup]:
    """List changes, from the ones that cost least time."""
    strategies = [setup.strategy]
    if setup.num_gpus > 1:
        strategies += [name for name in ("zero_2", "zero_3") if name != setup.strategy]
    strategies.append("zero_2_offload")
    for strategy in strategies:
        for is_checkpointed in (setup.is_checkpointed, True):
            yield from _shrink(replace(setup, strategy=strategy, is_checkpointed=is_checkpointed))


def _shrink(setup: Setup) -> Iterator[Setup]:
    """Halve the micro-batch, down to a quarter: smaller ones leave a GPU idle."""
    yield setup
    size, accumulation = setup.micro_batch_size, setup.accumulation
    for factor in (2, 4):
        if size % factor == 0:
            yield replace(
                setup, micro_batch_size=size // factor, accumulation=accumulation * factor
            )


def _describe(before: Setup, after: Setup) -> str:
    changes = {
        "strategy": (before.strategy, after.strategy),
        "activation_checkpointing": (before.is_checkpointed, after.is_checkpointed),
        "data.micro_batch_size": (before.micro_batch_size, after.micro_batch_size),
    }
    return " ".join(
        f"{key}={str(now).lower()}" for key, (was, now) in changes.items() if was != now
    )
