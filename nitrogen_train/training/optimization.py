"""Build what moves the weights: groups of parameters, their optimizer, its schedule and average.

    parameters by name ─► frozen | groups (factors, decay) ─► optimizer ─► schedule, average

Patterns are those of a shell (`fnmatch`): `encoder.*` is every parameter whose name begins with
`encoder.`, and `*` stands for any text, dots included. A part whose parameters are all frozen is a
fixed function: no dropout, no new norm statistics, and no backward pass through it unless something
in front of it learns. Schedules count optimizer steps.

The exponential average of the weights is one more state of the optimizer. It lives beside Adam's
moments, so it is sharded, saved and restored wherever the optimizer is, and costs no communication.
It stays in fp32: at a decay of 0.9999 a bf16 average would stand still.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from nitrogen_train.training.phases import count_phases

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


ParameterGroup = dict[str, Any]
"""Group as optimizers take it, its parameters with their names; `lr_scale` is ours."""


def find_parameters(module: nn.Module, pattern: str, *, setting: str) -> list[str]:
    """Find the names that a pattern fits, in the module's order.

    Args:
        module: Whose parameters are meant.
        pattern: For names of parameters.
        setting: What the pattern was given as, for the error.

    Raises:
        ValueError: If it fits no parameter; the message names patterns like it that fit some.
    """
    names = [name for name, _ in module.named_parameters()]
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        known = [f"{part}.*" for part, _ in module.named_modules() if part] + names
        close = difflib.get_close_matches(pattern, known, n=3) or [
            f"{part}.*" for part, _ in module.named_children()
        ]
        raise ValueError(
            f"{setting}: {pattern!r} fits no parameter; did you mean {', '.join(close)}?"
        )
    return found


def freeze(policy: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude parameters from training.

    Args:
        policy: Whose parameters they are.
        patterns: For names of parameters; see `find_parameters`.

    Raises:
        ValueError: If a pattern fits no parameter, or nothing is left to train.
    """
    for pattern in patterns:
        for name in find_parameters(policy, pattern, setting="frozen"):
            policy.get_parameter(name).requires_grad = False
    if not any(parameter.requires_grad for parameter in policy.parameters()):
        raise ValueError(f"frozen: {', '.join(patterns)} leave nothing to train; freeze less")


def hold_frozen_parts(policy: nn.Module) -> None:
    """Put every part that has parameters, all of them frozen, into evaluation mode."""
    for part in policy.modules():
        learns = [parameter.requires_grad for parameter in part.parameters()]
        if learns and not any(learns):
            part.eval()


def warmup_stable_decay(
    optimizer: Optimizer,
    *,
    max_steps: int,
    warmup_share: float = 0.0,
    decay_share: float = 0.0,
    warmup_steps: int | None = None,
    decay_steps: int | None = None,
) -> LambdaLR:
    """Rise linearly, stay, fall linearly to zero at the last step.

    The first step already has the first part of the rise: 1 / steps of warm-up.

    Args:
        optimizer: Whose learning rates are the stable ones.
        max_steps: Length of the run.
        warmup_share: Of the run, to reach the stable rate; in [0, 1].
        decay_share: Of the run, for the fall at the end; in [0, 1].
        warmup_steps: Instead of `warmup_share`.
        decay_steps: Instead of `decay_share`.

    Source:
        MiniCPM, arXiv:2404.06395; NitroGen trains with it (lengths not published).
    """
    warmup, decay = count_phases(
        max_steps=max_steps,
        warmup_share=warmup_share,
        decay_share=decay_share,
        warmup_steps=warmup_steps,
        decay_steps=decay_steps,
    )

    def factor(step: int) -> float:
        warm = (step + 1) / warmup if warmup else 1.0
        cool = (max_steps - step) / decay if decay else 1.0
        return max(0.0, min(1.0, warm, cool))

    return LambdaLR(optimizer, factor)


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimizer, schedule and average that train a policy's parameters."""

    optimizer: Callable[..., Optimizer]
    """Builds the optimizer; its learning rate and weight decay are those of most parameters."""
    schedule: Callable[[Optimizer], LRScheduler]
    """Builds the learning-rate schedule."""
    ema_decay: float
    """Decay of the average; see `track_ema`."""
    lr_scales: Mapping[str, float] = field(default_factory=dict[str, float])
    """Factors on the learning rate, by pattern; see `group_parameters`."""

    def configure(
        self, policy: nn.Module, *, is_on_gpu: bool = False
    ) -> tuple[Optimizer, LRScheduler]:
        """Build the optimizer over what is not frozen, and its schedule.

        Args:
            policy: Whose parameters it moves.
            is_on_gpu: Whether they lie on a GPU when it does. There its fused form is used, which
                moves a third of the bytes, unless `optimizer.fused` or `.foreach` says otherwise.
        """
        groups = group_parameters(policy, lr_scales=self.lr_scales)
        options = {"fused": True} if is_on_gpu and _may_be_fused(self.optimizer) else {}
        optimizer = self.optimizer(groups, **options)
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        track_ema(optimizer, decay=self.ema_decay)
        return optimizer, self.schedule(optimizer)


def _may_be_fused(optimizer: Callable[..., Optimizer]) -> bool:
    """Tell whether an optimizer has a fused form, and nobody has chosen its form."""
    known = inspect.signature(optimizer).parameters
    chosen = getattr(optimizer, "keywords", {})
    return "fused" in known and not {"fused", "foreach"} & chosen.keys()


def group_parameters(policy: nn.Module, *, lr_scales: Mapping[str, float]) -> list[ParameterGroup]:
    """Divide what is not frozen by learning rate, and by whether weight decay applies.

    Weight decay applies to the weights of linear, convolutional and recurrent layers. Norms,
    biases, embeddings and position tables have none: pulled to zero they lose what they say, and
    do not generalize better.

    Args:
        policy: Whose parameters they are.
        lr_scales: Pattern (see `find_parameters`) to factor on the learning rate; others have 1.

    Raises:
        ValueError: If a factor is not above 0, a pattern fits nothing that learns, or two patterns
            fit the same parameter.
    """
    scales = _scale_by_name(policy, lr_scales)
    groups: dict[tuple[float, bool], ParameterGroup] = {}
    for name, parameter in policy.named_parameters():
        if not parameter.requires_grad:
            continue
        scale, decays = scales.get(name, 1.0), _decays(policy, name, parameter)
        if (scale, decays) not in groups:
            exception = {} if decays else {"weight_decay": 0.0}
            groups[scale, decays] = {"params": [], "lr_scale": scale, **exception}
        groups[scale, decays]["params"].append((name, parameter))
    return list(groups.values())


def describe_rates(optimizer: Optimizer) -> dict[str, float]:
    """Read the learning rates: `train/lr`, not scaled, and one for each factor of `lr_scales`."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        scale = group["lr_scale"]
        rates["train/lr"] = group["lr"] / scale
        if scale != 1:
            rates[f"train/lr_times_{scale:g}"] = group["lr"]
    return rates


def _scale_by_name(policy: nn.Module, lr_scales: Mapping[str, float]) -> dict[str, float]:
    patterns: dict[str, str] = {}
    for pattern, scale in lr_scales.items():
        if scale <= 0:
            raise ValueError(
                f"lr_scales: {pattern}={scale} must be above 0; to train nothing use frozen"
            )
        found = find_parameters(policy, pattern, setting="lr_scales")
        learning = [name for name in found if policy.get_parameter(name).requires_grad]
        if not learning:
            raise ValueError(f"lr_scales: all that {pattern!r} fits is frozen; remove it")
        for name in learning:
            if name in patterns:
                raise ValueError(
                    f"lr_scales: {patterns[name]!r} and {pattern!r} both fit {name}; "
                    "make them exclude each other"
                )
            patterns[name] = pattern
    return {name: lr_scales[pattern] for name, pattern in patterns.items()}


def _decays(policy: nn.Module, name: str, parameter: Tensor) -> bool:
    layer, _, role = name.rpartition(".")
    is_embedding = isinstance(policy.get_submodule(layer), nn.Embedding)
    # A table or a token that a module holds itself is not called a weight.
    return parameter.ndim > 1 and "weight" in role and not is_embedding
