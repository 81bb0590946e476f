"""Translate other programs' names and units of controls into ours.

Names of buttons and axes go in, and controls of the gamepad come out; times, sticks and triggers in
a log's unit go in, and nanoseconds, [-1, 1] and [0, 1] come out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Float64, Int64

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import did_you_mean

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

ButtonLabels = Literal["xbox", "nintendo", "playstation"]
"""Whose names the buttons of the right thumb have."""

_FACES: dict[ButtonLabels, dict[str, str]] = {
    "xbox": {"A": "SOUTH", "B": "EAST", "X": "WEST", "Y": "NORTH"},
    "nintendo": {"A": "EAST", "B": "SOUTH", "X": "NORTH", "Y": "WEST"},
    "playstation": {"X": "SOUTH", "O": "EAST"},
}
"""Meanings of one letter by maker; on a PlayStation's pad X is the cross."""
_TELLS: dict[ButtonLabels, set[str]] = {
    "xbox": {"LB", "RB", "LT", "RT", "LBUMPER", "RBUMPER", "LEFTBUMPER", "RIGHTBUMPER"}
    | {"VIEW", "MENU", "XBOX", "BLEFTTRIGGER", "BRIGHTTRIGGER", "STHUMBLX", "STHUMBLY"},
    "nintendo": {"ZL", "ZR", "SL", "SR", "PLUS", "MINUS", "CAPTURE"},
    "playstation": {"CROSS", "CIRCLE", "SQUARE", "TRIANGLE", "O"},
}
"""Names that a table has of one maker's pad alone; BACK, GUIDE, START and HOME are anybody's."""
_SIDES = {"LEFT": "L", "RIGHT": "R"}
_BUTTONS = {
    "SOUTH": ("CROSS",),
    "EAST": ("CIRCLE",),
    "WEST": ("SQUARE",),
    "NORTH": ("TRIANGLE",),
    "BACK": ("SELECT", "VIEW", "SHARE", "CREATE", "MINUS"),
    "START": ("MENU", "OPTIONS", "PLUS"),
    "GUIDE": ("HOME", "PS", "XBOX", "MODE", "LOGO"),
}
_PREFIXES = ("SDLGAMEPADBUTTON", "SDLGAMEPADAXIS", "SDLCONTROLLERBUTTON", "SDLCONTROLLERAXIS")
_PREFIXES += ("XINPUTGAMEPAD", "GAMEPAD", "BUTTON", "BTN", "AXIS")
_TIME_UNITS: dict[str, TimeUnit] = {
    "NS": "ns",
    "US": "us",
    "MS": "ms",
    "S": "s",
    "SEC": "s",
    "SECONDS": "s",
}
_TIME_NAMES = ("TIME", "TIMESTAMP", "T")


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The meaning of a log's numbers; `None` is refused where it matters."""

    time_unit: TimeUnit | None = None
    stick_range: StickRange | None = None
    """-1 to 1, 0 to 255 with rest at 128, or -32768 to 32767."""
    stick_y_axis: Literal["up", "down"] | None = None
    """Direction of positive y: up in XInput; down in SDL, evdev and browsers."""
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


def _collect_names() -> dict[str, str]:
    names = {name: control for control, others in _BUTTONS.items() for name in (control, *others)}
    for direction in ("UP", "DOWN", "LEFT", "RIGHT"):
        for prefix in ("DPAD", "DP", "HAT", ""):
            names[prefix + direction] = f"DPAD_{direction}"
    for side, letter in _SIDES.items():
        others = {
            "SHOULDER": (letter, f"{letter}B", f"{letter}1", f"{side}SHOULDER", f"{side}BUMPER"),
            "TRIGGER": (
                f"Z{letter}",
                f"{letter}T",
                f"{letter}2",
                f"{side}TRIGGER",
                f"B{side}TRIGGER",
            ),
            "THUMB": (f"{letter}3", f"{letter}S", f"{side}STICK", f"{side}THUMB", f"THUMB{letter}"),
        }
        for control, spellings in others.items():
            names |= dict.fromkeys(spellings, f"{side}_{control}")
        for axis in ("X", "Y"):
            ends = (
                f"{letter}{axis}",
                f"{side}{axis}",
                f"{side}STICK{axis}",
                f"STHUMB{letter}{axis}",
            )
            names |= dict.fromkeys((*ends, f"THUMB{letter}{axis}"), f"{side}_STICK_{axis}")
    return names


_NAMES = _collect_names()


def recognize_control(column: str, labels: ButtonLabels = "xbox") -> str | None:
    """Find the control that a column is named after: by Xbox, PlayStation, Nintendo, XInput or SDL.

    Args:
        column: Its name.
        labels: Whose A, B, X and Y they are.

    Example:
        >>> recognize_control("A"), recognize_control("A", "nintendo")
        ('SOUTH', 'EAST')
        >>> [recognize_control(name) for name in ("A", "lx", "SDL_GAMEPAD_BUTTON_DPAD_UP", "R2")]
        ['SOUTH', 'LEFT_STICK_X', 'DPAD_UP', 'RIGHT_TRIGGER']
        >>> recognize_control("MISC1") is None
        True
    """
    names = _NAMES | _FACES[labels]
    return next((names[name] for name in _spellings(column) if name in names), None)


def choose_labels(
    columns: Sequence[str], given: ButtonLabels | None, what: str
) -> tuple[ButtonLabels, str]:
    """Find out whose names a table's buttons have, by the columns that only one maker's pads have.

    Args:
        columns: Of the log, without its time.
        given: The person's word for it.
        what: The log's name, for messages.

    Returns:
        Whose names, and what was assumed, if nothing told.

    Raises:
        ShardError: If the columns are of several makers' pads, or could be.
    """
    spelled = {name for column in columns for name in _spellings(column)}
    told = [labels for labels in get_args(ButtonLabels) if spelled & _TELLS[labels]]
    if given is not None:
        if told and given not in told:
            others = ", ".join(sorted(spelled & set[str]().union(*(_TELLS[each] for each in told))))
            raise ShardError(
                f"{what} has {others}, which {told[0].capitalize()}'s pads have and not "
                f"{given.capitalize()}'s; leave out --button-labels {given}, or say with --columns "
                "which column is which control"
            )
        return given, ""
    letters = sorted(spelled & {"A", "B", "X", "Y"})
    if not letters or len(told) == 1:
        return told[0] if told else "xbox", ""
    if found := sorted(spelled & {"L", "R"}.union(*_TELLS.values())):
        raise ShardError(
            f"{what}: {', '.join(letters)} may be an Xbox pad's, where A is below, or Nintendo's, "
            f"where A is on the right; beside {', '.join(found)} nothing tells: give "
            "--button-labels xbox or --button-labels nintendo"
        )
    return "xbox", (
        f"{', '.join(letters)} read as an Xbox pad's, where A is below: no column tells; if A is "
        "on the right use --button-labels nintendo"
    )


def _spellings(column: str) -> list[str]:
    name = re.sub(r"[^A-Z0-9]", "", column.upper())
    rests = [(each, name.removeprefix(each)) for each in _PREFIXES if name.startswith(each)]
    # AXIS X is no button of that name.
    return [name, *(rest for prefix, rest in rests if prefix != "AXIS" or len(rest) > 1)]


def recognize_time(column: str) -> tuple[bool, TimeUnit | None]:
    """Say whether a column is named after time, and in which unit if it says so.

    Example:
        >>> recognize_time("timestamp_ms"), recognize_time("Time"), recognize_time("A")
        ((True, 'ms'), (True, None), (False, None))
    """
    words = re.sub(r"[^A-Z]+", "_", column.upper()).strip("_").split("_")
    if words[0] in _TIME_NAMES and len(words) == 1:
        return True, None
    if words[0] in _TIME_NAMES and len(words) == 2 and words[1] in _TIME_UNITS:
        return True, _TIME_UNITS[words[1]]
    return words == ["SECONDS"], "s" if words == ["SECONDS"] else None


def map_columns(
    columns: Iterable[str],
    chosen: dict[str, str],
    space: ActionSpace,
    what: str,
    *,
    labels: ButtonLabels = "xbox",
) -> dict[str, str]:
    """Find the control of each column, or take the user's word for it.

    Args:
        columns: Of the log, without its time.
        chosen: Controls by column; if there are any, no other column is used.
        space: Whose controls they are.
        what: The log's name, for messages.
        labels: Whose A, B, X and Y they are.

    Returns:
        Columns by control.

    Raises:
        ShardError: If a chosen column is missing, a control unknown or meant twice, or none found.
    """
    columns = list(columns)
    if missing := sorted(set(chosen) - set(columns)):
        hint = did_you_mean(missing[0], columns, lead=", ", otherwise=";")
        raise ShardError(
            f"{what} has no column {missing[0]!r}{hint} it has {', '.join(columns)[:300]}"
        )
    found = chosen or {c: control for c in columns if (control := recognize_control(c, labels))}
    by_control: dict[str, str] = {}
    for column, control in found.items():
        try:
            space.index(control)
        except ValueError as error:
            raise ShardError(f"column {column!r}: {error}") from error
        if control in by_control:
            raise ShardError(
                f"{what}: the columns {by_control[control]!r} and {column!r} both mean {control}; "
                "choose with --columns"
            )
        by_control[control] = column
    if not by_control:
        raise ShardError(
            f"{what} has no column that names a control; name them with --columns COLUMN=CONTROL, "
            f"it has {', '.join(columns)[:300]}"
        )
    return by_control
