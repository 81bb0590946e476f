"""Convert weights between two namings, bit for bit.

A rule names tensors of a foreign file with the shapes that they must have, the tensors of ours
that hold the same numbers, and how to get from one to the other and back. All rules of a file
together are its inventory: what is missing, unknown or of another shape is refused by name.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_MAX_NAMES = 5


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Tensors of theirs and of ours that determine each other."""

    theirs: dict[str, tuple[int, ...]]
    """Names in the foreign file, with their shapes."""
    ours: tuple[str, ...]
    to_ours: Callable[[Sequence[Tensor]], Sequence[Tensor]]
    to_theirs: Callable[[Sequence[Tensor]], Sequence[Tensor]]


def rename(theirs: str, ours: str, *shape: int) -> Rule:
    """Keep a tensor as it is."""
    return Rule(theirs={theirs: shape}, ours=(ours,), to_ours=_keep, to_theirs=_keep)


def linear(theirs: str, ours: str, *, out_dim: int, in_dim: int) -> list[Rule]:
    """Keep a linear layer's weight and bias."""
    return [
        rename(f"{theirs}.weight", f"{ours}.weight", out_dim, in_dim),
        rename(f"{theirs}.bias", f"{ours}.bias", out_dim),
    ]


def layer_norm(theirs: str, ours: str, width: int) -> list[Rule]:
    """Keep a norm's weight and bias."""
    return [rename(f"{theirs}.{part}", f"{ours}.{part}", width) for part in ("weight", "bias")]


def join(theirs: Iterable[str], ours: str, *shape: int) -> Rule:
    """Stack tensors of one shape along their first axis."""
    return Rule(
        theirs=dict.fromkeys(theirs, shape),
        ours=(ours,),
        to_ours=lambda parts: [torch.cat(list(parts))],
        to_theirs=lambda joined: joined[0].split(shape[0]),
    )


def split(theirs: str, ours: Mapping[str, int], *rest: int) -> Rule:
    """Cut a tensor along its first axis into parts of the given lengths."""
    lengths = list(ours.values())
    return Rule(
        theirs={theirs: (sum(lengths), *rest)},
        ours=tuple(ours),
        to_ours=lambda whole: whole[0].split(lengths),
        to_theirs=lambda parts: [torch.cat(list(parts))],
    )


def to_our_names(
    rules: Sequence[Rule], state: Mapping[str, Tensor], *, where: str
) -> dict[str, Tensor]:
    """Turn the tensors of a foreign file into ours.

    Args:
        rules: The whole inventory of the file.
        state: Its tensors.
        where: What to call the file in an error.

    Raises:
        ValueError: If tensors are missing, unknown or of another shape; the message names them.
    """
    _check(rules, state, where=where)
    return {
        name: tensor
        for rule in rules
        for name, tensor in zip(
            rule.ours, rule.to_ours([state[name] for name in rule.theirs]), strict=True
        )
    }


def to_their_names(
    rules: Sequence[Rule], state: Mapping[str, Tensor], *, where: str
) -> dict[str, Tensor]:
    """Turn our tensors into those of a foreign file, the inverse of `to_our_names`.

    Raises:
        ValueError: If the policy's tensors are not those of the rules.
    """
    ours = {name for rule in rules for name in rule.ours}
    if ours != state.keys():
        raise ValueError(
            f"{where} cannot be written: {_list_names(ours - state.keys())} missing, "
            f"{_list_names(state.keys() - ours)} without a place in the layout"
        )
    theirs = {
        name: tensor
        for rule in rules
        for name, tensor in zip(
            rule.theirs, rule.to_theirs([state[name] for name in rule.ours]), strict=True
        )
    }
    _check(rules, theirs, where=where)
    return theirs


def refuse_non_finite(state: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        ValueError: If there are any; the message names their tensors.
    """
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise ValueError(
            f"{where} holds NaN or infinite weights in {_list_names(bad)}: "
            "take a checkpoint from before the training diverged"
        )


def _keep(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    return tensors


def _check(rules: Sequence[Rule], state: Mapping[str, Tensor], *, where: str) -> None:
    expected = {name: shape for rule in rules for name, shape in rule.theirs.items()}
    problems: list[str] = []
    if missing := [name for name in expected if name not in state]:
        problems.append(f"missing {_list_names(missing)}")
    if unknown := [name for name in state if name not in expected]:
        problems.append(f"unknown {_list_names(unknown)}")
    wrong = [
        f"{name} of the shape {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if wrong:
        problems.append(_list_names(wrong))
    if problems:
        raise ValueError(
            f"the tensors of {where} are not those that its sizes call for: {'; '.join(problems)}"
        )


def _list_names(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_MAX_NAMES]) or "none"
    rest = len(names) - _MAX_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
