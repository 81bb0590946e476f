"""How the weights move: groups of parameters, their optimizer, its schedule and its average."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nitrogen_train.training.ema import track_ema
from nitrogen_train.training.patterns import find_parameters

ParameterGroup = dict[str, Any]
"""As optimizers take it, its parameters with their names; `lr_scale` is ours."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """What trains a policy's parameters."""

    optimizer: Callable[[Iterable[ParameterGroup]], Optimizer]
    """Builds the optimizer; its learning rate and weight decay are those of most parameters."""
    schedule: Callable[[Optimizer], LRScheduler]
    """Builds the learning-rate schedule."""
    ema_decay: float
    """See `track_ema`."""
    lr_scales: Mapping[str, float] = field(default_factory=dict[str, float])
    """Factors on the learning rate, by pattern; see `group_parameters`."""

    def configure(self, policy: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Build the optimizer over what is not frozen, and its schedule."""
        optimizer = self.optimizer(group_parameters(policy, lr_scales=self.lr_scales))
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        track_ema(optimizer, decay=self.ema_decay)
        return optimizer, self.schedule(optimizer)


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
