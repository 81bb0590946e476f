"""Build a data set of recordings of Open Pixel2Play.

    recording: video, annotation.proto ─► wire format ─► a message per frame ─► rows ─► clips

`annotation.proto` says what is known of a recording, and has a message per frame. Field numbers are
those of `elefant.training_data.video_annotation.VideoAnnotation`, as its generated code states
them; all other fields are skipped. The wire format is that of protocol buffers,
https://protobuf.dev/programming-guides/encoding. The reader copies only the fields it is asked for,
so a long file takes no more memory than a short one.
"""

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_tools.ingest.video_input_pairs import (
    KeyboardMouseRows,
    Pair,
    UnusableError,
    ingest_pairs,
    search_files,
)
from data_tools.names import plain_name
from data_tools.shards.drop_report import DropReport
from data_tools.shards.planned_clips import Dropped
from data_tools.shards.shard_plan import ALL, Part, ShardSettings
from data_tools.shards.shard_recordings import Stretch
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions.space import KEYBOARD_MOUSE

Field = tuple[int, int | memoryview]
"""A field's number, and its whole number or its bytes."""

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """Bytes that are no message."""


def iter_fields(data: memoryview) -> Iterator[Field]:
    """Read a message's fields in the order they were written.

    Args:
        data: The message.

    Raises:
        WireError: If it ends early, or is not a message.
    """
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise WireError(f"no field has the number {number}, at byte {position}")
        if kind == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _read_varint(data, position)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise WireError(f"field {number} has the unknown wire type {kind}, at byte {position}")
        if length > len(data) - position:
            raise WireError(
                f"field {number} should have {length} bytes at byte {position}, "
                f"{len(data) - position} are left; the file is cut off or damaged"
            )
        yield number, data[position : position + length]
        position += length


def to_message(value: int | memoryview) -> memoryview:
    """Take a field's bytes.

    Raises:
        WireError: If it is a number.
    """
    if isinstance(value, int):
        raise WireError(f"expected a message or text, got the number {value}")
    return value


def to_text(value: int | memoryview) -> str:
    """Take a field as text.

    Raises:
        WireError: If it is a number, or not UTF-8.
    """
    try:
        return str(to_message(value), "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"a text is not UTF-8: {error.reason}") from error


def to_int32(value: int | memoryview) -> int:
    """Take a field as a signed whole number of 32 bits.

    Raises:
        WireError: If it is not a number.
    """
    if not isinstance(value, int):
        raise WireError(f"expected a whole number, got {len(value)} bytes")
    low = value & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low


def to_float(value: int | memoryview) -> float:
    """Take a field as a floating-point number of 32 bits.

    Raises:
        WireError: If it has not 4 bytes.
    """
    if isinstance(value, int) or len(value) != _FIXED_BYTES[_FIXED_32]:
        raise WireError("expected a number of 4 bytes")
    return float(struct.unpack("<f", value)[0])


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(data):
            raise WireError(f"the message ends within a number, at byte {position}")
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2**64 - 1), position + index + 1
    raise WireError(f"a number is longer than {_MAX_VARINT_BYTES} bytes, at byte {position}")


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
class PixelPlayRecording:
    """The facts of a recording."""

    game: str
    """Game in small letters, words joined by dashes; `unknown` if the file does not say."""
    fps: float
    """0 if the file does not say."""


@dataclass(kw_only=True)
class Action:
    """Keyboard and mouse at a frame; motions are since the frame before."""

    is_known: bool = False
    has_gamepad: bool = False
    """True if something is held on a gamepad."""
    keys: list[str] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)
    """Numbers as text: left, right, middle from 0."""
    motion: tuple[int, int] = (0, 0)
    """Counts to the right, and down."""
    scroll: tuple[int, int] = (0, 0)
    """Notches to the right, and away from the user."""


def read_facts(path: Path) -> PixelPlayRecording:
    """Read what is known of a recording, without its frames.

    Raises:
        UnusableError: If the file is no annotation.
    """
    with _refuse_damage(path):
        for number, value in iter_fields(_open(path)):
            if number == _METADATA:
                return _read_metadata(to_message(value))
    return PixelPlayRecording(game=_UNKNOWN_GAME, fps=0.0)


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


def _read_metadata(metadata: memoryview) -> PixelPlayRecording:
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
    return PixelPlayRecording(game="-".join(words)[:80].strip("-") or _UNKNOWN_GAME, fps=fps)


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


VIDEO_NAME = "192x192.mp4"
"""Video that the data set's own policies are trained on; `video.mp4` is the larger original."""
_ANNOTATION_NAME = "annotation.proto"


def ingest_open_p2p(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    video_name: str = VIDEO_NAME,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Make a data set of recordings, or finish one, or a part of one.

    Args:
        folders: Where the recordings' folders lie, at any depth.
        out_dir: The data set's folder.
        settings: How to cut and store.
        video_name: Which of a recording's videos to take.
        part: Which of the recordings are this process's; all of them.
        workers: Processes.

    Returns:
        What became of the part's recordings.

    Raises:
        FileNotFoundError: If no folder holds a recording.
        ShardError: If nothing can be used, or `out_dir` holds another data set.
    """
    recordings, dropped = find_recordings(folders, video_name=video_name)
    return ingest_pairs(
        recordings,
        read_recording,
        out_dir=out_dir,
        settings=settings,
        part=part,
        workers=workers,
        dropped=dropped,
    )


def find_recordings(
    folders: list[Path], *, video_name: str = VIDEO_NAME
) -> tuple[list[Pair], list[Dropped]]:
    """Find all recordings, also those of which a file is missing, and folders without one.

    Raises:
        FileNotFoundError: If no folder holds one.
    """
    found, dropped = search_files(
        folders,
        lambda path: path.name in (_ANNOTATION_NAME, video_name),
        what=f"{_ANNOTATION_NAME} or {video_name}",
    )
    return [
        Pair(
            name=plain_name(folder.name),
            game=_read_game(folder / _ANNOTATION_NAME),
            # Who played is not published.
            session_id=plain_name(folder.name),
            video_path=folder / video_name,
            inputs_path=folder / _ANNOTATION_NAME,
        )
        for folder in found
    ], dropped


def read_recording(pair: Pair, video: SourceVideo) -> tuple[Stretch, Mapping[str, int]]:
    """Read a recording's rows.

    What stands at frame t + 1 happened since frame t, and becomes row t; the last frame has no row.

    Raises:
        UnusableError: If they do not match the video.
    """
    fps = read_facts(pair.inputs_path).fps
    if fps and abs(fps - video.fps) > 0.01 * video.fps:
        raise UnusableError(
            "annotation and video differ in their frame rate",
            f"{pair.inputs_path} says {fps:g} fps, {pair.video_path.name} has {video.fps:g}",
        )
    rows = KeyboardMouseRows(len(video) - 1)
    num_frames = 0
    for num_frames, (user, system) in enumerate(iter_frames(pair.inputs_path), start=1):
        row = num_frames - 2
        if 0 <= row < len(rows.valid):
            _read_row(rows, row, user, system)
    is_longer = num_frames > len(video) and not video.is_cut_off
    if num_frames < max(2, len(video)) or is_longer:
        raise UnusableError(
            "annotation and video differ in their number of frames",
            f"{pair.inputs_path} has {num_frames} frames, {pair.video_path.name} {len(video)}; "
            "expected the same number, at least 2",
        )
    stretch = Stretch(
        name=pair.name,
        original_id=pair.name,
        source="open-p2p",
        game=pair.game,
        session_id=pair.session_id,
        video=video.cut(0, len(video) - 1),
        frames=np.arange(len(video) - 1),
        actions=rows.to_actions(),
        action_space=KEYBOARD_MOUSE.name,
        licence="MIT",
    )
    return stretch, rows.notes


def _read_row(rows: KeyboardMouseRows, row: int, user: Action, system: Action) -> None:
    action = system if system.is_known else user
    for name in sorted(set(action.keys)):
        rows.press_key(row, name)
    for name in sorted(set(action.buttons)):
        rows.press_mouse(row, int(name) if name.isdecimal() and len(name) < 4 else -1)
    rows.motions[row] = (*action.motion, action.scroll[1])
    rows.valid[row] = user.is_known and not system.is_known and not user.has_gamepad
    rows.notes["rows that a model played, not valid"] += system.is_known
    rows.notes["rows of unknown actions, not valid"] += not (user.is_known or system.is_known)
    rows.notes["rows with a gamepad in use, not valid"] += user.has_gamepad


def _read_game(path: Path) -> str:
    try:
        return read_facts(path).game
    except (UnusableError, OSError):
        # Reported when the recording is planned.
        return "unknown"
