"""A run's config to its forecast; no data is opened and nothing is allocated."""

from collections.abc import Iterator
from typing import Any

import torch

from nitrogen_train.config import RunConfig, build, build_for_weights
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.training.freezing import freeze
from nitrogen_train.training_plan.cost import count_moments, measure_cost
from nitrogen_train.training_plan.forecast import Forecast, forecast
from nitrogen_train.training_plan.report import describe_plan
from nitrogen_train.training_plan.setup import STAGES, Setup, divide_batch

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
        f"cannot run on {size} GPUs: {_refuse(data.global_batch_size, size)}"
        for size in SIZES
        if data.global_batch_size % size
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


def _configured(config: RunConfig) -> Setup:
    name = config.strategy["name"]
    if name.removesuffix("_offload") not in STAGES:
        raise ValueError(f"plan knows the strategies {', '.join(STAGES)}, not {name!r}")
    num_gpus = config.trainer["devices"] * config.trainer["num_nodes"]
    setup = _make_setup(config, strategy=name, num_gpus=num_gpus)
    if setup is None:
        raise ValueError(_refuse(config.data.global_batch_size, num_gpus))
    return setup


def _refuse(global_batch_size: int, num_gpus: int) -> str:
    nearest = max(1, round(global_batch_size / num_gpus)) * num_gpus
    return (
        f"{num_gpus} GPUs cannot share data.global_batch_size={global_batch_size} equally, "
        f"but {nearest} samples a step"
    )


def _list_setups(config: RunConfig) -> Iterator[Setup]:
    for num_gpus in SIZES:
        for strategy in _STRATEGIES:
            setup = _make_setup(config, strategy=strategy, num_gpus=num_gpus)
            if setup is not None:
                yield setup


def _make_setup(config: RunConfig, *, strategy: str, num_gpus: int) -> Setup | None:
    divided = divide_batch(
        global_batch_size=config.data.global_batch_size,
        num_gpus=num_gpus,
        most=config.data.micro_batch_size,
    )
    if divided is None:
        return None
    options: dict[str, Any] = config.strategy.get("deepspeed", {}).get("zero_optimization", {})
    return Setup(
        strategy=strategy,
        num_gpus=num_gpus,
        micro_batch_size=divided[0],
        accumulation=divided[1],
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
