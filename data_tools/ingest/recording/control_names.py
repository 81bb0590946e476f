"""What other programs call the controls of a gamepad."""

import re
from collections.abc import Iterable

from data_tools.ingest.recording.conventions import TimeUnit
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError

_SIDES = {"LEFT": "L", "RIGHT": "R"}
_BUTTONS = {
    "SOUTH": ("A", "CROSS"),
    "EAST": ("B", "CIRCLE"),
    "WEST": ("X", "SQUARE"),
    "NORTH": ("Y", "TRIANGLE"),
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


def _collect_names() -> dict[str, str]:
    names = {name: control for control, others in _BUTTONS.items() for name in (control, *others)}
    for direction in ("UP", "DOWN", "LEFT", "RIGHT"):
        for prefix in ("DPAD", "DP", "HAT", ""):
            names[prefix + direction] = f"DPAD_{direction}"
    for side, letter in _SIDES.items():
        others = {
            "SHOULDER": (f"{letter}B", f"{letter}1", f"{side}SHOULDER", f"{side}BUMPER"),
            "TRIGGER": (f"{letter}T", f"{letter}2", f"{side}TRIGGER", f"B{side}TRIGGER"),
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


def recognize_control(column: str) -> str | None:
    """Find the control that a column is named after: those of Xbox, PlayStation, XInput and SDL.

    Example:
        >>> [recognize_control(name) for name in ("A", "lx", "SDL_GAMEPAD_BUTTON_DPAD_UP", "R2")]
        ['SOUTH', 'LEFT_STICK_X', 'DPAD_UP', 'RIGHT_TRIGGER']
        >>> recognize_control("MISC1") is None
        True
    """
    name = re.sub(r"[^A-Z0-9]", "", column.upper())
    if name in _NAMES:
        return _NAMES[name]
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name.removeprefix(prefix) in _NAMES:
            return _NAMES[name.removeprefix(prefix)]
    return None


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
    columns: Iterable[str], chosen: dict[str, str], space: ActionSpace, what: str
) -> dict[str, str]:
    """Find the control of each column, or take the user's word for it.

    Args:
        columns: Of the log, without its time.
        chosen: Controls by column; if there are any, no other column is used.
        space: Whose controls they are.
        what: The log's name, for messages.

    Returns:
        Columns by control.

    Raises:
        ShardError: If a chosen column is missing, a control unknown or meant twice, or none found.
    """
    columns = list(columns)
    if missing := sorted(set(chosen) - set(columns)):
        raise ShardError(f"{what} has no column {missing[0]!r}; it has {', '.join(columns)[:300]}")
    found = chosen or {c: control for c in columns if (control := recognize_control(c))}
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
