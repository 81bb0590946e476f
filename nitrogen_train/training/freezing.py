"""Parts of a policy that do not learn.

A part whose parameters are all frozen is a fixed function: no dropout, no new norm statistics, and
no backward pass through it unless something in front of it learns.
"""

from collections.abc import Sequence

from torch import nn

from nitrogen_train.training.patterns import find_parameters


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
