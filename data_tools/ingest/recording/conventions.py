"""In what units a log tells time, sticks and triggers."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError

TimeUnit = Literal["s", "ms", "us", "ns"]
StickRange = Literal["unit", "byte", "short"]
TriggerRange = Literal["unit", "byte", "ten-bit", "short", "centred"]
Values = Float64[np.ndarray, " rows"]

NS_PER_UNIT: dict[str, int] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_STICKS: dict[str, tuple[float, float, float]] = {
    "unit": (-1.0, 0.0, 1.0),
    "byte": (0.0, 128.0, 255.0),
    "short": (-32768.0, 0.0, 32767.0),
}
"""Lowest value, rest and highest."""
_TRIGGERS: dict[str, tuple[float, float]] = {
    "unit": (0.0, 1.0),
    "byte": (0.0, 255.0),
    "ten-bit": (0.0, 1023.0),
    "short": (0.0, 32767.0),
    "centred": (-1.0, 1.0),
}
"""Released and pressed."""
_TRIGGER_NAMES = ("LEFT_TRIGGER", "RIGHT_TRIGGER")
_BYTE_TRAVEL = 100
"""A stick that moves as far as this within 0 to 255 is told in bytes."""


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """How a log's numbers are meant; `None` is refused where it matters."""

    time_unit: TimeUnit | None = None
    stick_range: StickRange | None = None
    """-1 to 1, 0 to 255 with rest at 128, or -32768 to 32767."""
    stick_y_axis: Literal["up", "down"] | None = None
    """Where positive y points: up in XInput; down in SDL, evdev and browsers."""
    trigger_range: TriggerRange | None = None
    """0 to 1, 255, 1023 or 32767, or -1 to 1 as raw axes have it."""


def to_nanoseconds(values: np.ndarray, unit: TimeUnit, what: str) -> Int64[np.ndarray, " rows"]:
    """Read a column of times.

    Raises:
        ShardError: If a time is missing, out of range or before its predecessor.
    """
    scale = NS_PER_UNIT[unit]
    is_whole = values.dtype.kind in "iu"
    bound = 2**62 // scale
    bad = ~(np.abs(values.astype(np.float64)) < bound)
    if bad.any():
        row = int(np.argmax(bad))
        raise ShardError(
            f"{what}, row {row + 1}: {values[row]} is no time in {unit}; check --time-unit"
        )
    # Floats hold nanoseconds of this century to a microsecond; whole numbers are kept exact.
    times = values.astype(np.int64) * scale if is_whole else np.round(values * scale)
    times = times.astype(np.int64)
    backwards = np.diff(times) < 0
    if backwards.any():
        row = int(np.argmax(backwards)) + 1
        raise ShardError(
            f"{what}, row {row + 1}: time runs backwards, from {values[row - 1]} to {values[row]} "
            f"{unit}; sort the log, or cut it where its clock was set"
        )
    return times


def to_control(
    control: str, values: Values, conventions: Conventions, space: ActionSpace, what: str
) -> Values:
    """Bring a column to [-1, 1] for axes, y down, and to [0, 1] for buttons and triggers.

    Args:
        control: What it is.
        values: NaN where a row does not say.
        conventions: How the numbers are meant.
        space: Says which controls are axes.
        what: Log and column, for messages.

    Raises:
        ShardError: If a convention is not given, or the values do not fit it.
    """
    present = values[~np.isnan(values)]
    low, high = (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        raise ShardError(f"{what} holds values that are not finite")
    if control in space.sticks:
        converted = _to_stick(values, conventions.stick_range, low, high, what)
        if not control.endswith("_Y"):
            return converted
        if conventions.stick_y_axis is None:
            raise ShardError(
                f"{what} is a stick's y axis, and nothing says where it points; give --stick-y up "
                "(XInput) or --stick-y down (SDL, evdev, browsers)"
            )
        return -converted if conventions.stick_y_axis == "up" else converted
    is_binary = bool(np.isin(present, (0, 1)).all())
    if control in _TRIGGER_NAMES and not (is_binary and conventions.trigger_range is None):
        return _to_trigger(values, conventions.trigger_range, low, high, what)
    if not is_binary:
        raise ShardError(
            f"{what} is a button, expected 0 and 1, got values from {low:g} to {high:g}"
        )
    return values


def _to_stick(
    values: Values, unit: StickRange | None, low: float, high: float, what: str
) -> Values:
    if unit is None:
        raise ShardError(
            f"{what} is a stick from {low:g} to {high:g}, and nothing says in which range; give "
            f"--stick-range {_suggest(_bounds(_STICKS), low, high)}"
        )
    bottom, rest, top = _STICKS[unit]
    _check_range("stick", unit, _bounds(_STICKS), low, high, what)
    _check_whole("stick", top, values, low, high, what)
    # A share of its own on either side: both ends are reached, and rest is 0 exactly.
    converted = (values - rest) / np.where(values < rest, rest - bottom, top - rest)
    present = np.abs(converted[~np.isnan(converted)])
    if unit == "short" and low >= 0 and high <= 255 and high - low > _BYTE_TRAVEL:
        raise ShardError(f"{what} runs from {low:g} to {high:g}; use --stick-range byte")
    if len(present) > 1 and present.min() > 0.5:
        raise ShardError(
            f"{what} runs from {low:g} to {high:g} and never comes near its rest at {rest:g}; "
            "check --stick-range and the column"
        )
    return converted


def _to_trigger(
    values: Values, unit: TriggerRange | None, low: float, high: float, what: str
) -> Values:
    if unit is None:
        raise ShardError(
            f"{what} is a trigger from {low:g} to {high:g}, and nothing says in which range; give "
            f"--trigger-range {_suggest(_TRIGGERS, low, high)}"
        )
    released, pressed = _TRIGGERS[unit]
    _check_range("trigger", unit, _TRIGGERS, low, high, what)
    _check_whole("trigger", pressed, values, low, high, what)
    return (values - released) / (pressed - released)


def _check_range(
    kind: str, unit: str, ranges: dict[str, tuple[float, float]], low: float, high: float, what: str
) -> None:
    bottom, top = ranges[unit]
    room = 1e-4 * (top - bottom)
    if low < bottom - room or high > top + room:
        raise ShardError(
            f"{what} runs from {low:g} to {high:g}, but --{kind}-range {unit} is {bottom:g} to "
            f"{top:g}; use --{kind}-range {_suggest(ranges, low, high)}"
        )


def _check_whole(kind: str, top: float, values: Values, low: float, high: float, what: str) -> None:
    present = values[~np.isnan(values)]
    if top > 1 and (present != np.round(present)).any():
        raise ShardError(
            f"{what} has fractions between {low:g} and {high:g}, expected whole numbers; use "
            f"--{kind}-range unit"
        )


def _suggest(ranges: dict[str, tuple[float, float]], low: float, high: float) -> str:
    fitting = [name for name, (bottom, top) in ranges.items() if bottom <= low and high <= top]
    return fitting[0] if fitting else "that fits, or correct the column"


def _bounds(sticks: dict[str, tuple[float, float, float]]) -> dict[str, tuple[float, float]]:
    return {name: (low, high) for name, (low, _, high) in sticks.items()}
