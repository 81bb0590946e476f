"""Forecast a run from its config, and write the forecast as text: `nitrogen-train … plan=true`.

    config ─► forecasts, by number of GPUs ─► table ─► what to change where the job does not fit

No data is opened and nothing is allocated.
"""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from nitrogen_train.config import RunConfig, build, build_for_weights, count_processes
from nitrogen_train.data.order import BatchShape
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.run.forecast import (
    LINK_UTILIZATION,
    MODEL_FLOPS_UTILIZATION,
    NETWORK_UTILIZATION,
    STAGES,
    USABLE_MEMORY,
    Forecast,
    PolicyCost,
    Setup,
    count_moments,
    forecast,
    measure_cost,
)
from nitrogen_train.runtime.progress import format_table
from nitrogen_train.training.optimization import freeze
from nitrogen_train.training.throughput import GPUS, Gpu

_PARTS = ("weights", "gradients", "buckets", "master", "moments", "average", "casts")
_MAX_ADVICE = 12
_WIDTH = 100
SHORT_STEP_S = 0.01
BOUND = (
    "Steps of less than 10 ms are bounds, no forecasts: starting kernels and loading data takes "
    "longer."
)
_UNITS = {"GiB": 2**30, "MiB": 2**20}
_SENT = {"GiB": ("GB", 1e9), "MiB": ("MB", 1e6)}
"""The unit of what is sent, beside that of memory."""

FORMULAS = f"""\
T parameters learn, F are frozen, in 4 bytes; N GPUs; A micro-batches a step
        weights    gradients  buckets  master  moments  average   sent a step and rank
DDP     4 (T+F)    4 T        4 T      -       8 T      4 T       (N-1)/N 2 x 4 T
ZeRO-1  4 (T+F)    4 T        2 x 4 R  4 T/N   8 T/N    4 T/N     (N-1)/N 3 x 4 T
ZeRO-2  4 (T+F)    4 T/N      2 x 4 R  4 T/N   8 T/N    4 T/N     (N-1)/N (2 A + 1) 4 T
ZeRO-3  4 (T+F)/N  4 T/N      2 x 4 R  4 T/N   8 T/N    4 T/N     (N-1)/N A (k 4 (T+F) + 4 T)
        and what it gathers, at most stage3_max_live_parameters; R is reduce_bucket_size; k is
        1, or 2 if 2 (T+F) exceeds stage3_max_reuse_distance
casts        2 (T+F) under autocast: bf16 copies of weights
activations  what a sample keeps, counted on the meta device, x the micro-batch; checkpointed: the
             inputs of blocks and all of one block
step         compute + update + new weights / link + what gradients take longer than the backward
             passes that they travel behind, without loading data and without offload's copies:
             compute = samples x operations / ({MODEL_FLOPS_UTILIZATION:g} x peak),
             update = 2 x (optimizer's state + gradients) / memory bandwidth,
             links at {LINK_UTILIZATION:g} of their peak; between nodes all adapters of one at
             {NETWORK_UTILIZATION:g}, if that is less
fits         where the total is at most {USABLE_MEMORY:g} of the GPU's memory"""

SIZES = (8, 64, 128, 1024)
"""GPUs of the clusters beside the configured one."""
_STRATEGIES = ("ddp", "zero_1", "zero_2", "zero_3")
_BUCKET_VALUES = 50_000_000
"""reduce_bucket_size of `conf/strategy`, where the configured strategy has none."""


def plan_run(config: RunConfig) -> str:
    """Describe what a run would take, on its own cluster and on others.

    Raises:
        ValueError: If the batch does not divide over the configured GPUs, or the strategy is one
            that no forecast knows.
    """
    forecasts = forecast_run(config)
    data, setup = config.data, forecasts[0].setup
    refusals = [
        f"cannot run on {size} GPUs: {shape}"
        for size, shape in _fit_sizes(config).items()
        if isinstance(shape, ValueError)
    ]
    title = (
        f"{setup.strategy} on {setup.num_gpus} GPU(s), {data.global_batch_size} samples a step, "
        f"micro-batches of {setup.micro_batch_size}"
    )
    return describe_plan(forecasts[0].cost, forecasts, refusals, title=title)


def forecast_run(config: RunConfig) -> list[Forecast]:
    """Compute the configured job, and every strategy at the sizes that can share its batch.

    Raises:
        ValueError: As `plan_run` says.
    """
    dtype = torch.bfloat16 if config.trainer["precision"] == "bf16-mixed" else torch.float32
    cost = measure_cost(lambda: _build_policy(config), dtype=dtype)
    setups = [_configured(config), *_list_setups(config)]
    return [forecast(cost, setup) for setup in setups]


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


def propose_micro_batch(wanted: Forecast, gpu: Gpu) -> str:
    """Name the largest micro-batch with which a job fits, in the words of a command.

    It divides the samples of a rank in a step, so that the step stays the same. Where not even one
    sample fits, it comes with the change of the job that costs the least time.
    """
    for setup in _list_ways_out(wanted.setup):
        largest = _enlarge(forecast(wanted.cost, setup), gpu)
        if largest is None:
            continue
        gib = f"{largest.memory.total / 2**30:.1f} GiB of {USABLE_MEMORY * gpu.memory_gib:.1f}"
        size = f"data.micro_batch_size={largest.setup.micro_batch_size}"
        if change := _describe(wanted.setup, setup):
            return f"not even 1 fits; with {change} {size}: {gib}"
        is_kept = largest.setup.micro_batch_size == wanted.setup.micro_batch_size
        return f"{size}{', as it is' * is_kept}: {gib}"
    return (
        "not even 1 fits, with activation_checkpointing=true, ZeRO and offload neither: freeze "
        "more (frozen=[encoder.*]) or take a smaller model"
    )


def _enlarge(wanted: Forecast, gpu: Gpu) -> Forecast | None:
    """Take the largest micro-batch that fits, among those that divide a rank's samples."""
    setup = wanted.setup
    share = setup.micro_batch_size * setup.accumulation
    for accumulation in range(1, share + 1):
        if share % accumulation == 0:
            size = share // accumulation
            changed = replace(setup, micro_batch_size=size, accumulation=accumulation)
            found = forecast(wanted.cost, changed)
            if found.fits(gpu):
                return found
    return None


def _list_changes(setup: Setup) -> Iterator[Setup]:
    """List changes, from the ones that cost least time."""
    for changed in _list_ways_out(setup):
        yield from _shrink(changed)


def _list_ways_out(setup: Setup) -> Iterator[Setup]:
    """List ways to need less memory for the same micro-batch, the job as it is first."""
    strategies = [setup.strategy]
    if setup.num_gpus > 1:
        strategies += [name for name in ("zero_2", "zero_3") if name != setup.strategy]
    strategies.append("zero_2_offload")
    for strategy in strategies:
        for is_checkpointed in dict.fromkeys((setup.is_checkpointed, True)):
            yield replace(setup, strategy=strategy, is_checkpointed=is_checkpointed)


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


def describe_plan(
    cost: PolicyCost, forecasts: Sequence[Forecast], refusals: Sequence[str], *, title: str
) -> str:
    """Lay forecasts out, with their formulas, what does not fit, what to change, what else fits.

    Args:
        cost: Of the policy.
        forecasts: The configured job first.
        refusals: Why some sizes of cluster cannot run the config.
        title: What was asked for.
    """
    setup = forecasts[0].setup
    # Small policies are rows of zeros in GiB.
    unit = "GiB" if max(each.memory.total for each in forecasts) >= 2**30 else "MiB"
    again = cost.flops + cost.recomputed_flops
    samples = setup.micro_batch_size * setup.accumulation
    lines = [
        f"COMPUTED, not measured: {title}",
        f"{cost.num_trained + cost.num_frozen:,} parameters, {cost.num_trained:,} learn; "
        f"{_flop(cost.flops)} a sample, {_flop(again)} with activation checkpointing, which is "
        f"{'on' if setup.is_checkpointed else 'off'}; precision {setup.precision}",
        "",
        f"Memory, {unit} per GPU, that the policy and its optimizer take (* is the configured job)",
        _lay_out_state(forecasts, unit),
        "",
        f"Memory, {unit} per GPU, of activations and in total; {_SENT[unit][0]} that a rank sends "
        "in a step",
        _lay_out_memory(forecasts, unit),
        "",
        "Seconds per step, samples per second of the whole job",
        _lay_out_times(forecasts),
        *([BOUND] if _is_bound(forecasts) else []),
        "",
        *_list_advice(forecasts),
        *refusals,
        "",
        f"The largest micro-batch with which * fits, of the {samples} samples of a rank in a step",
        *(f"  {gpu.name}: {propose_micro_batch(forecasts[0], gpu)}" for gpu in GPUS),
        "",
        FORMULAS,
        _describe_gpus(),
    ]
    return "\n".join(_wrap(lines)) + "\n"


def _wrap(lines: Sequence[str]) -> list[str]:
    """Fit sentences into the width; tables and formulas do."""
    return [
        part
        for line in lines
        for part in (
            textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
            if len(line) > _WIDTH and "\n" not in line
            else [line]
        )
    ]


def _lay_out_state(forecasts: Sequence[Forecast], unit: str) -> str:
    rows = [
        (
            *_name(each, is_configured=index == 0),
            *(_size(getattr(each.memory, part), unit=unit) for part in _PARTS),
        )
        for index, each in enumerate(forecasts)
    ]
    return format_table(("job", "GPUs", "batch", *_PARTS), rows)


def _lay_out_memory(forecasts: Sequence[Forecast], unit: str) -> str:
    sent_unit, sent_bytes = _SENT[unit]
    header = (
        "job", "GPUs", "batch", "activations", "checkpointed", "total", "host", f"sent {sent_unit}",
    )  # fmt: skip
    size = partial(_size, unit=unit)
    rows = [
        (
            *_name(each, is_configured=index == 0),
            size(each.cost.activation_bytes * each.setup.micro_batch_size),
            size(each.cost.checkpointed_bytes * each.setup.micro_batch_size),
            size(each.memory.total),
            size(each.memory.host),
            f"{each.communication.total / sent_bytes:.2f}",
        )
        for index, each in enumerate(forecasts)
    ]
    return format_table(header, rows)


def _is_bound(forecasts: Sequence[Forecast]) -> bool:
    steps = (each.step_s(gpu) for each in forecasts for gpu in GPUS if each.fits(gpu))
    return min(steps, default=SHORT_STEP_S) < SHORT_STEP_S


def _lay_out_times(forecasts: Sequence[Forecast]) -> str:
    header = ("job", "GPUs", "batch", *(gpu.name for gpu in GPUS))
    rows = [
        (
            *_name(each, is_configured=index == 0),
            *(
                f"{each.step_s(gpu):.3g} s, {each.samples_per_s(gpu):.0f}/s"
                if each.fits(gpu)
                else "does not fit"
                for gpu in GPUS
            ),
        )
        for index, each in enumerate(forecasts)
    ]
    return format_table(header, rows)


def _name(each: Forecast, *, is_configured: bool) -> tuple[str, str, str]:
    setup = each.setup
    star = "*" if is_configured else ""
    return (
        f"{setup.strategy}{star}",
        str(setup.num_gpus),
        f"{setup.micro_batch_size}x{setup.accumulation}",
    )


def _list_advice(forecasts: Sequence[Forecast]) -> list[str]:
    lines = [
        f"does not fit: {each.setup.strategy} on {each.setup.num_gpus} {gpu.name} needs "
        f"{each.memory.total / 2**30:.1f} GiB of {USABLE_MEMORY * gpu.memory_gib:.1f}; "
        f"fits with {advise(each, gpu)}"
        for each in forecasts
        for gpu in GPUS
        if not each.fits(gpu)
    ]
    if len(lines) > _MAX_ADVICE:
        lines[_MAX_ADVICE:] = [f"and {len(lines) - _MAX_ADVICE} more, marked in the table"]
    return lines or ["everything fits"]


def _describe_gpus() -> str:
    write: Callable[[float], str] = "{:g}".format
    rows = [
        (
            gpu.name,
            *map(
                write,
                (
                    gpu.bf16_flops / 1e12, gpu.fp32_flops / 1e12, gpu.memory_gib,
                    gpu.memory_bytes_per_s / 1e12, gpu.gpus_per_node,
                    gpu.link_bytes_per_s / 1e9, gpu.network_bytes_per_s / 1e9,
                ),
            ),
        )
        for gpu in GPUS
    ]  # fmt: skip
    header = (
        "peaks", "bf16 TFLOP/s", "fp32 TFLOP/s", "GiB", "TB/s", "GPUs a node", "link GB/s",
        "network GB/s",
    )  # fmt: skip
    return format_table(header, rows)


def _size(size: float | int, *, unit: str) -> str:
    return f"{size / _UNITS[unit]:.2f}" if size else "-"


def _flop(operations: int | float) -> str:
    size, unit = (1e9, "GFLOP") if operations >= 1e10 else (1e6, "MFLOP")
    return f"{operations / size:.0f} {unit}"


def _configured(config: RunConfig) -> Setup:
    name = config.strategy["name"]
    if name.removesuffix("_offload") not in STAGES:
        raise ValueError(f"plan knows the strategies {', '.join(STAGES)}, not {name!r}")
    return _make_setup(config, strategy=name, shape=_fit(config, count_processes(config)))


def _fit(config: RunConfig, num_gpus: int) -> BatchShape:
    data = config.data
    return BatchShape.fit(data.global_batch_size, world_size=num_gpus, most=data.micro_batch_size)


def _fit_sizes(config: RunConfig) -> dict[int, BatchShape | ValueError]:
    """Divide the batch over each number of GPUs, or say why it cannot be."""
    shapes: dict[int, BatchShape | ValueError] = {}
    for num_gpus in SIZES:
        try:
            shapes[num_gpus] = _fit(config, num_gpus)
        except ValueError as error:
            shapes[num_gpus] = error
    return shapes


def _list_setups(config: RunConfig) -> Iterator[Setup]:
    for shape in _fit_sizes(config).values():
        if isinstance(shape, BatchShape):
            for strategy in _STRATEGIES:
                yield _make_setup(config, strategy=strategy, shape=shape)


def _make_setup(config: RunConfig, *, strategy: str, shape: BatchShape) -> Setup:
    options: dict[str, Any] = config.strategy.get("deepspeed", {}).get("zero_optimization", {})
    return Setup(
        strategy=strategy,
        num_gpus=shape.world_size,
        micro_batch_size=shape.micro_batch_size,
        accumulation=shape.accumulation,
        precision=config.trainer["precision"],
        is_checkpointed=config.activation_checkpointing,
        num_moments=count_moments(build(config.optimizer)),
        bucket_values=options.get("reduce_bucket_size", _BUCKET_VALUES),
        live_values=options.get("stage3_max_live_parameters", 1_000_000_000),
        reuse_values=options.get("stage3_max_reuse_distance", 1_000_000_000),
    )


def _build_policy(config: RunConfig) -> VisualPolicy:
    """Build the policy of a run, frozen as it will be, on torch's default device."""
    policy: VisualPolicy = build_for_weights(config.model)
    freeze(policy, config.frozen)
    return policy
