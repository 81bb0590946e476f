"""What other programs call the controls of a gamepad."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from data_tools.ingest.recording.conventions import TimeUnit
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError

ButtonLabels = Literal["xbox", "nintendo", "playstation"]
"""Whose names the buttons of the right thumb have."""

_FACES: dict[ButtonLabels, dict[str, str]] = {
    "xbox": {"A": "SOUTH", "B": "EAST", "X": "WEST", "Y": "NORTH"},
    "nintendo": {"A": "EAST", "B": "SOUTH", "X": "NORTH", "Y": "WEST"},
    "playstation": {"X": "SOUTH", "O": "EAST"},
}
"""What one letter means by whose names; on a PlayStation's pad X is the cross."""
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
        close = difflib.get_close_matches(missing[0], columns, n=1)
        hint = f", did you mean {close[0]}?" if close else ";"
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
