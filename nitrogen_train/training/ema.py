"""Average the weights exponentially, as one more state of the optimizer.

The average lives beside Adam's moments, so it is sharded, saved and restored wherever the optimizer
is, and costs no communication. It stays in fp32: at a decay of 0.9999 a bf16 average would stand
still.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

EMA_KEY = "ema"
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
        pairs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        for parameter in _moving(optimizer):
            state = optimizer.state[parameter]
            count = state.get(_UPDATES, 0)
            state[_UPDATES] = count + 1
            if count == 0:
                state[EMA_KEY] = parameter.detach().float().clone()
            else:
                averages, values = pairs.setdefault(count, ([], []))
                averages.append(state[EMA_KEY])
                values.append(parameter.detach().float())
        for count, (averages, values) in pairs.items():
            weight = 1 - min(decay, (1 + count) / (10 + count))
            # One kernel for all of them.
            torch._foreach_lerp_(averages, values, weight)  # pyright: ignore[reportPrivateImportUsage]

    optimizer.register_step_post_hook(update)


@contextmanager
def ema_weights(
    parameters: Iterable[Tensor], optimizer: Optimizer, *, publish: Callable[[], None] | None = None
) -> Iterator[None]:
    """Run the block with the averaged weights in place; then put the trained ones back.

    Args:
        parameters: The tensors that the optimizer moves; others are left alone.
        optimizer: One that `track_ema` was called for.
        publish: Makes others see what the tensors hold now; on all ranks together.
    """
    trained = {
        parameter: parameter.detach().clone()
        for parameter in parameters
        if EMA_KEY in optimizer.state.get(parameter, {})
    }
    averages = {parameter: optimizer.state[parameter][EMA_KEY] for parameter in trained}
    _put(averages, publish)
    try:
        yield
    finally:
        _put(trained, publish)


def _put(values: Mapping[Tensor, Tensor], publish: Callable[[], None] | None) -> None:
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
        if publish is not None:
            publish()


def averages_in(optimizer_state: dict[str, Any]) -> dict[str, Tensor]:
    """Find the averages in a saved optimizer state, by name of the parameter.

    Args:
        optimizer_state: What `optimizer.state_dict()` gave of an optimizer whose parameters had
            names.
    """
    state = optimizer_state["state"]
    return {
        name: state[index][EMA_KEY]
        for group in optimizer_state["param_groups"]
        for index, name in zip(group["params"], group["param_names"], strict=True)
        if index in state
    }


def _moving(optimizer: Optimizer) -> Iterator[Tensor]:
    # A parameter that never had a gradient has not moved, and its average is itself. ZeRO-3 gives
    # its optimizer a part of the parameters at a time: each counts its own updates.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None or EMA_KEY in optimizer.state.get(parameter, {}):
                yield parameter
