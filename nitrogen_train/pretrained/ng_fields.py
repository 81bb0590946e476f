"""Fields of an ng.pt's `ckpt_config`, found by dotted names and checked one by one."""

import math
from collections.abc import Mapping
from typing import Any


def look_up(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - a plain value
    """Find a field.

    Raises:
        ValueError: If there is none.
    """
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise ValueError(f"ckpt_config lacks {key}: is this a checkpoint of NitroGen's layout?")
        node = node[part]
    return node


def require(config: Mapping[str, Any], key: str, value: object, why: str) -> None:
    """Check that a field has a value.

    Raises:
        ValueError: If it has another; the message says `why` it matters.
    """
    got = look_up(config, key)
    if got != value:
        raise ValueError(f"ckpt_config says {key}={got!r}, expected {value!r}: {why}")


def read_integer(
    config: Mapping[str, Any], key: str, *, at_least: int = 1, at_most: int | None = None
) -> int:
    """Read a whole number.

    Raises:
        ValueError: If the field is not one within the limits.
    """
    got = look_up(config, key)
    if not isinstance(got, int) or got < at_least or (at_most is not None and got > at_most):
        limits = f"from {at_least}" + ("" if at_most is None else f" to {at_most}")
        raise ValueError(f"ckpt_config says {key}={got!r}, expected a whole number {limits}")
    return got


def read_number(config: Mapping[str, Any], key: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: If the field is not one.
    """
    got = look_up(config, key)
    if not isinstance(got, int | float) or not math.isfinite(got):
        raise ValueError(f"ckpt_config says {key}={got!r}, expected a finite number")
    return float(got)


def read_truth(config: Mapping[str, Any], key: str) -> bool:
    """Read true or false.

    Raises:
        ValueError: If the field is neither.
    """
    got = look_up(config, key)
    if not isinstance(got, bool):
        raise ValueError(f"ckpt_config says {key}={got!r}, expected true or false")
    return got
