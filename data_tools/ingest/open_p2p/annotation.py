"""`annotation.proto`: what is known of a recording, and a message per frame.

The numbers are those of `elefant.training_data.video_annotation.VideoAnnotation`, as its generated
code states them; fields that are not named here are skipped.
"""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from data_tools.ingest.open_p2p.wire import (
    WireError,
    iter_fields,
    to_float,
    to_int32,
    to_message,
    to_text,
)
from data_tools.ingest.pairs import UnusableError

# VideoAnnotation, its metadata, and their env.
_METADATA, _FRAMES = 2, 3
_FPS, _ENV = 5, 6
_GAME, _SUBTYPE = 1, 2
# FrameAnnotation.
_USER_ACTION, _SYSTEM_ACTION = 1, 6
# LowLevelAction; its first field is a mouse in a layout that recorders no longer write.
_KEYBOARD, _IS_KNOWN, _MOUSE, _GAMEPAD = 2, 3, 4, 5
_KEYS = 1
# MouseAction; Vec2Int.
_MOTION, _SCROLL, _BUTTONS = 3, 4, 9
_X, _Y = 1, 2
# GamePadAction; its triggers are numbers of their own.
_PAD_BUTTONS, _PAD_STICKS = 1, (2, 3)

_PAD_DEAD_ZONE = 0.1
_MAX_NAMES = 200
_UNKNOWN_GAME = "unknown"


@dataclass(frozen=True, kw_only=True)
class RecordingFacts:
    """What is known of a recording."""

    game: str
    """In small letters, words joined by dashes; `unknown` if the file does not say."""
    fps: float
    """0 if the file does not say."""


@dataclass(kw_only=True)
class Action:
    """Keyboard and mouse at a frame; motions are since the frame before."""

    is_known: bool = False
    has_gamepad: bool = False
    """Whether something is held on a gamepad."""
    keys: list[str] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    """Numbers as text: left, right, middle from 0."""
    motion: tuple[int, int] = (0, 0)
    """Counts to the right, and down."""
    scroll: tuple[int, int] = (0, 0)
    """Notches to the right, and away from the user."""


def read_facts(path: Path) -> RecordingFacts:
    """Read what is known of a recording, without its frames.

    Raises:
        UnusableError: If the file is no annotation.
    """
    with _refuse_damage(path):
        for number, value in iter_fields(_open(path)):
            if number == _METADATA:
                return _read_metadata(to_message(value))
    return RecordingFacts(game=_UNKNOWN_GAME, fps=0.0)


def iter_frames(path: Path) -> Iterator[tuple[Action, Action]]:
    """Read what the player did at each frame, and what a model did in his place.

    Raises:
        UnusableError: If the file is no annotation.
    """
    with _refuse_damage(path):
        for number, value in iter_fields(_open(path)):
            if number == _FRAMES:
                actions = {_USER_ACTION: Action(), _SYSTEM_ACTION: Action()}
                for part, content in iter_fields(to_message(value)):
                    if part in actions:
                        _read_action(actions[part], to_message(content))
                yield actions[_USER_ACTION], actions[_SYSTEM_ACTION]


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except WireError as error:
        raise UnusableError("the annotation is not readable", f"{path}: {error}") from error


def _open(path: Path) -> memoryview:
    with path.open("rb") as file:
        # An empty file cannot be mapped.
        if not file.seek(0, 2):
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _read_metadata(metadata: memoryview) -> RecordingFacts:
    names, fps = {_GAME: "", _SUBTYPE: ""}, 0.0
    for number, value in iter_fields(metadata):
        if number == _FPS:
            fps = to_float(value)
        elif number == _ENV:
            for part, content in iter_fields(to_message(value)):
                if part in names:
                    names[part] = to_text(content)
    # Spelt by hand: "Roblox", "rivals "; kept short, for file names and tables.
    words = re.findall(r"[a-z0-9]+", " ".join(names.values()).lower())
    return RecordingFacts(game="-".join(words)[:80].strip("-") or _UNKNOWN_GAME, fps=fps)


def _read_action(action: Action, content: memoryview) -> None:
    for number, value in iter_fields(content):
        if number == _IS_KNOWN:
            action.is_known = to_int32(value) != 0
        elif number == _KEYBOARD:
            action.keys += _read_names(to_message(value), _KEYS)
        elif number == _MOUSE:
            _read_mouse(action, to_message(value))
        elif number == _GAMEPAD:
            action.has_gamepad = _is_used(to_message(value))


def _read_mouse(action: Action, content: memoryview) -> None:
    for number, value in iter_fields(content):
        if number == _MOTION:
            action.motion = _read_vector(to_message(value))
        elif number == _SCROLL:
            action.scroll = _read_vector(to_message(value))
    action.buttons += _read_names(content, _BUTTONS)


def _read_names(content: memoryview, wanted: int) -> list[str]:
    names = [to_text(value) for number, value in iter_fields(content) if number == wanted]
    if len(names) > _MAX_NAMES:
        raise WireError(f"a frame holds {len(names)} keys, expected up to {_MAX_NAMES}")
    return names


def _read_vector(content: memoryview) -> tuple[int, int]:
    values = {_X: 0, _Y: 0}
    for number, value in iter_fields(content):
        if number in values:
            values[number] = to_int32(value)
    return values[_X], values[_Y]


def _is_used(gamepad: memoryview) -> bool:
    """Tell whether a button is held, or a stick or a trigger outside its dead zone."""
    for number, value in iter_fields(gamepad):
        is_group = number == _PAD_BUTTONS or number in _PAD_STICKS
        for _, part in iter_fields(to_message(value)) if is_group else [(number, value)]:
            if part != 0 if isinstance(part, int) else abs(to_float(part)) > _PAD_DEAD_ZONE:
                return True
    return False
