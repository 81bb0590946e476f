"""An exponential moving average of the weights, kept as one more state of the optimizer.

The average lives beside Adam's moments, so it is sharded, saved and restored wherever the optimizer
is, and costs no communication. It stays in fp32: at a decay of 0.9999 a bf16 average would stand
still.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_KEY = "ema"
_UPDATES = "ema_updates"


def track_ema(optimizer: Optimizer, *, decay: float) -> None:
    """Update an average of every parameter after each step of the optimizer.

    The n-th update uses min(decay, (1 + n) / (10 + n)), so that a short run is not averaged with
    its initial weights.

    Args:
        optimizer: Its state gains an entry "ema" per parameter.
        decay: In [0, 1); 0.9999 averages over about 10,000 steps.

    Raises:
        ValueError: If the decay is outside [0, 1).

    Source:
        The warm-up is that of `tf.train.ExponentialMovingAverage`.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"ema decay must lie in [0, 1), got {decay}")

    def update(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401
        first_group = optimizer.param_groups[0]
        count = first_group.get(_UPDATES, 0)
        first_group[_UPDATES] = count + 1
        weight = 1 - min(decay, (1 + count) / (10 + count))
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for parameter in _trained(optimizer):
            state = optimizer.state[parameter]
            if _KEY not in state:
                state[_KEY] = parameter.detach().float().clone()
            else:
                averages.append(state[_KEY])
                values.append(parameter.detach().float())
        if averages:
            # One kernel for all of them.
            torch._foreach_lerp_(averages, values, weight)  # pyright: ignore[reportPrivateImportUsage]

    optimizer.register_step_post_hook(update)


@contextmanager
def ema_weights(module: nn.Module, optimizer: Optimizer) -> Iterator[None]:
    """Run the block with the averaged weights in the module; then put the trained ones back."""
    trained = {
        parameter: parameter.detach().clone()
        for parameter in module.parameters()
        if _KEY in optimizer.state.get(parameter, {})
    }
    with torch.no_grad():
        for parameter in trained:
            parameter.copy_(optimizer.state[parameter][_KEY])
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in trained.items():
                parameter.copy_(value)


def averages_in(optimizer_state: dict[str, Any]) -> dict[str, Tensor]:
    """Find the averages in a saved optimizer state, by name of the parameter.

    Args:
        optimizer_state: What `optimizer.state_dict()` gave of an optimizer whose parameters had
            names.
    """
    state = optimizer_state["state"]
    return {
        name: state[index][_KEY]
        for group in optimizer_state["param_groups"]
        for index, name in zip(group["params"], group["param_names"], strict=True)
        if index in state
    }


def _trained(optimizer: Optimizer) -> Iterator[Tensor]:
    # A parameter that never had a gradient has no state, and its average is itself.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state.get(parameter):
                yield parameter
