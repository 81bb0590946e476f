"""In what units a log tells time, sticks and triggers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

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


_SLOWEST_STEP_S = 1.0
"""Between two rows of a log, in the middle."""


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


def check_conventions(
    columns: Mapping[str, Values],
    conventions: Conventions,
    space: ActionSpace,
    what: str,
    *,
    times: tuple[str, np.ndarray] | None = None,
) -> None:
    """Ask for everything that is not said and matters, in one go, with what the values suggest.

    Args:
        columns: Values by control; NaN where a row does not say.
        conventions: What is said.
        space: Says which controls are sticks.
        what: The log's name, for messages.
        times: The time column's name and values, if nothing says its unit.

    Raises:
        ShardError: If something is not said.
    """
    sticks = [values for control, values in columns.items() if control in space.sticks]
    triggers = [
        values
        for control, values in columns.items()
        if control in _TRIGGER_NAMES and not _is_binary(values)
    ]
    options: list[str] = []
    seen: list[str] = []
    if times is not None:
        options.append(f"--time-unit {_guess_unit(times[1])}")
        seen.append(
            f"{times[0]!r} runs from {_plain(float(times[1][0]))} to {_plain(float(times[1][-1]))}"
        )
    if sticks and conventions.stick_range is None:
        low, high = _extent(sticks)
        options.append(f"--stick-range {_suggest(_bounds(_STICKS), low, high)}")
        seen.append(f"sticks from {low:g} to {high:g}")
    if any(name in space.sticks and name.endswith("_Y") for name in columns) and (
        conventions.stick_y_axis is None
    ):
        options.append("--stick-y up (XInput) or --stick-y down (SDL, evdev, browsers)")
    if triggers and conventions.trigger_range is None:
        low, high = _extent(triggers)
        options.append(f"--trigger-range {_suggest(_TRIGGERS, low, high)}")
        seen.append(f"triggers from {low:g} to {high:g}")
    if options:
        by = f", as its values look ({', '.join(seen)})" if seen else ""
        raise ShardError(
            f"{what} does not say how its numbers are meant; give {' '.join(options)}{by}"
        )


def _guess_unit(times: np.ndarray) -> str:
    """Guess the unit of a log's times by their distances: a pad is written down 1 to 1000 Hz."""
    steps = np.diff(times.astype(np.float64))
    steps = steps[steps > 0]
    step = float(np.median(steps)) if len(steps) else 0.0
    fitting = [
        unit for unit, scale in NS_PER_UNIT.items() if 1e-3 <= step * scale / 1e9 < _SLOWEST_STEP_S
    ]
    return fitting[0] if fitting else "s, ms, us or ns"


def _extent(columns: Sequence[Values]) -> tuple[float, float]:
    present = np.concatenate([values[~np.isnan(values)] for values in columns])
    return (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)


def _is_binary(values: Values) -> bool:
    return bool(np.isin(values[~np.isnan(values)], (0, 1)).all())


def _plain(number: float) -> str:
    return f"{number:.12g}"


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
    check_conventions({control: values}, conventions, space, what)
    low, high = _extent([values])
    if not np.isfinite([low, high]).all():
        raise ShardError(f"{what} holds values that are not finite")
    if control in space.sticks:
        converted = _to_stick(values, cast("StickRange", conventions.stick_range), low, high, what)
        is_up = control.endswith("_Y") and conventions.stick_y_axis == "up"
        return -converted if is_up else converted
    if control in _TRIGGER_NAMES and conventions.trigger_range is not None:
        return _to_trigger(values, conventions.trigger_range, low, high, what)
    if not _is_binary(values):
        raise ShardError(
            f"{what} is a button, expected 0 and 1, got values from {low:g} to {high:g}"
        )
    return values


def _to_stick(values: Values, unit: StickRange, low: float, high: float, what: str) -> Values:
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


def _to_trigger(values: Values, unit: TriggerRange, low: float, high: float, what: str) -> Values:
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
    return fitting[0] if fitting else "that fits (none does: correct the column)"


def _bounds(sticks: dict[str, tuple[float, float, float]]) -> dict[str, tuple[float, float]]:
    return {name: (low, high) for name, (low, _, high) in sticks.items()}
