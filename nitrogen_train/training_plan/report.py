"""A run's forecast as text: `nitrogen-train … plan=true`."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial

from nitrogen_train.table import format_table
from nitrogen_train.training.gpus import GPUS
from nitrogen_train.training_plan.advice import advise
from nitrogen_train.training_plan.cost import PolicyCost
from nitrogen_train.training_plan.forecast import (
    LINK_UTILIZATION,
    MODEL_FLOPS_UTILIZATION,
    USABLE_MEMORY,
    Forecast,
)

_PARTS = ("weights", "gradients", "buckets", "master", "moments", "average", "casts")
_MAX_ADVICE = 12
_WIDTH = 100
_SHORT_STEP_S = 0.01
_BOUND = (
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
             links at {LINK_UTILIZATION:g} of their peak, the network's between nodes
fits         where the total is at most {USABLE_MEMORY:g} of the GPU's memory"""


def describe_plan(
    cost: PolicyCost, forecasts: Sequence[Forecast], refusals: Sequence[str], *, title: str
) -> str:
    """Lay forecasts out, with their formulas, what does not fit and what to change.

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
        *([_BOUND] if _is_bound(forecasts) else []),
        "",
        *_list_advice(forecasts),
        *refusals,
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
    return min(steps, default=_SHORT_STEP_S) < _SHORT_STEP_S


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
