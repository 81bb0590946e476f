"""Build a data set of recordings of Open Pixel2Play.

    recording: video, annotation.proto ─► protobuf ─► a message per frame ─► rows ─► clips

`annotation.proto` says what is known of a recording, and has a message per frame. Names and numbers
of the fields are those that the project's generated code states for `video_annotation.proto` and
`shared.proto`. Only the fields that are read are declared; protobuf skips all others, also those
that a newer version adds.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from data_tools.ingest.video_input_pairs import (
    KeyboardMouseRows,
    Pair,
    UnusableError,
    ingest_pairs,
    search_files,
)
from data_tools.names import plain_name
from data_tools.shards.drop_report import Dropped, DropReport
from data_tools.shards.shard_plan import ALL, Part, ShardSettings
from data_tools.shards.shard_recordings import Stretch
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions.space import KEYBOARD_MOUSE

_ANNOTATION_NAME = "annotation.proto"
_MAX_FILE_BYTES = 2**31 - 1
"""Protocol buffers end here; a larger file is not even opened."""

_PAD_BUTTONS = (
    "south", "north", "east", "west", "dpad_up", "dpad_down", "dpad_left", "dpad_right", "start",
    "select", "left_bumper", "right_bumper",
)  # fmt: skip
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Vec2Int": {"x": (1, "int32"), "y": (2, "int32")},
    "MouseAction": {
        "mouse_delta_px": (3, "Vec2Int"),
        "scroll_delta_px": (4, "Vec2Int"),
        "buttons_down": (9, "string*"),
    },
    "KeyboardAction": {"keys": (1, "string*")},
    "GamePadButtons": {name: (number, "bool") for number, name in enumerate(_PAD_BUTTONS, 1)},
    "Stick": {"x": (1, "float"), "y": (2, "float"), "pressed": (3, "bool")},
    "GamePadAction": {
        "buttons": (1, "GamePadButtons"),
        "left_stick": (2, "Stick"),
        "right_stick": (3, "Stick"),
        "left_trigger": (4, "float"),
        "right_trigger": (5, "float"),
    },
    "LowLevelAction": {
        "keyboard": (2, "KeyboardAction"),
        "is_known": (3, "bool"),
        "mouse": (4, "MouseAction"),
        "game_pad": (5, "GamePadAction"),
    },
    "FrameAnnotation": {
        "user_action": (1, "LowLevelAction"),
        "system_action": (6, "LowLevelAction"),
    },
    "VideoAnnotationEnv": {"env": (1, "string"), "env_subtype": (2, "string")},
    "VideoAnnotationMetadata": {
        "frames_per_second": (5, "float"),
        "env": (6, "VideoAnnotationEnv"),
    },
    "VideoAnnotation": {
        "metadata": (2, "VideoAnnotationMetadata"),
        "frame_annotations": (3, "FrameAnnotation*"),
    },
    # The same file without its frames, which protobuf then need not take apart.
    "VideoFacts": {"metadata": (2, "VideoAnnotationMetadata")},
}
"""Number and kind of each field by message and name; a star marks a field that is repeated."""

_PAD_DEAD_ZONE = 0.1
_MAX_NAMES = 200
_UNKNOWN_GAME = "unknown"


def _build_classes() -> dict[str, type[Message]]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="annotation.proto", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            if kind in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    # A pool of its own: other libraries may bring messages of these names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for name in _MESSAGES
    }


_CLASSES = _build_classes()


def read_game(path: Path) -> str:
    """Read the game of an annotation, in small letters, words joined by dashes.

    Returns:
        The game; `unknown` if the file does not say.

    Raises:
        UnusableError: If the file is no annotation.
    """
    env = read_annotation(path, kind="VideoFacts").metadata.env
    # Spelt by hand: "Roblox", "rivals "; kept short, for file names and tables.
    words = re.findall(r"[a-z0-9]+", f"{env.env} {env.env_subtype}".lower())
    return "-".join(words)[:80].strip("-") or _UNKNOWN_GAME


def read_annotation(path: Path, *, kind: str = "VideoAnnotation") -> Any:  # noqa: ANN401 - made
    """Read an annotation.

    Args:
        path: The file.
        kind: The message that it is read as; "VideoFacts" leaves its frames out.

    Returns:
        A message of this kind, with the fields that are declared above.

    Raises:
        UnusableError: If the file is no annotation.
    """
    reason = "the annotation is not readable"
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise UnusableError(reason, f"{path}: it has more than 2 GiB")
    message = _CLASSES[kind]()
    try:
        message.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UnusableError(reason, f"{path}: {error}") from error
    return message


def ingest_open_p2p(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    video_name: str,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Make a data set of recordings, or finish one, or a part of one.

    Args:
        folders: Where the recordings' folders lie, at any depth.
        out_dir: The data set's folder.
        settings: How to cut and store.
        video_name: Which of a recording's videos to take: `192x192.mp4`, which the data set's own
            policies are trained on, or `video.mp4`, the larger original.
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


def find_recordings(folders: list[Path], *, video_name: str) -> tuple[list[Pair], list[Dropped]]:
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
            game=_find_game(folder / _ANNOTATION_NAME),
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
    annotation = read_annotation(pair.inputs_path)
    fps, frames = annotation.metadata.frames_per_second, annotation.frame_annotations
    if fps and abs(fps - video.fps) > 0.01 * video.fps:
        raise UnusableError(
            "annotation and video differ in their frame rate",
            f"{pair.inputs_path} says {fps:g} fps, {pair.video_path.name} has {video.fps:g}",
        )
    is_longer = len(frames) > len(video) and not video.is_cut_off
    if len(frames) < max(2, len(video)) or is_longer:
        raise UnusableError(
            "annotation and video differ in their number of frames",
            f"{pair.inputs_path} has {len(frames)} frames, {pair.video_path.name} {len(video)}; "
            "expected the same number, at least 2",
        )
    rows = KeyboardMouseRows(len(video) - 1)
    for row, frame in enumerate(frames[1 : len(video)]):
        _read_row(rows, row, frame)
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


def _read_row(rows: KeyboardMouseRows, row: int, frame: Any) -> None:  # noqa: ANN401 - made above
    user, system = frame.user_action, frame.system_action
    action = system if system.is_known else user
    keys, buttons = action.keyboard.keys, action.mouse.buttons_down
    if max(len(keys), len(buttons)) > _MAX_NAMES:
        raise UnusableError(
            "the annotation is not readable",
            f"frame {row + 1} holds {len(keys)} keys and {len(buttons)} buttons, "
            f"expected up to {_MAX_NAMES}",
        )
    for name in sorted(set(keys)):
        rows.press_key(row, name)
    for name in sorted(set(buttons)):
        rows.press_mouse(row, int(name) if name.isdecimal() and len(name) < 4 else -1)
    motion = action.mouse.mouse_delta_px
    rows.motions[row] = (motion.x, motion.y, action.mouse.scroll_delta_px.y)
    has_gamepad = user.HasField("game_pad") and _is_used(user.game_pad)
    rows.valid[row] = user.is_known and not system.is_known and not has_gamepad
    rows.notes["rows that a model played, not valid"] += system.is_known
    rows.notes["rows of unknown actions, not valid"] += not (user.is_known or system.is_known)
    rows.notes["rows with a gamepad in use, not valid"] += has_gamepad


def _is_used(pad: Any) -> bool:  # noqa: ANN401 - made above
    """Tell whether a button is held, or a stick or a trigger outside its dead zone."""
    sticks = (pad.left_stick, pad.right_stick)
    ways = [pad.left_trigger, pad.right_trigger]
    ways += [way for stick in sticks for way in (stick.x, stick.y)]
    is_pressed = pad.buttons.ListFields() or any(stick.pressed for stick in sticks)
    return bool(is_pressed) or any(abs(way) > _PAD_DEAD_ZONE for way in ways)


def _find_game(path: Path) -> str:
    try:
        return read_game(path)
    except (UnusableError, OSError):
        # Reported when the recording is planned.
        return _UNKNOWN_GAME
