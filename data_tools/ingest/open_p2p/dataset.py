"""Recordings of Open Pixel2Play to a data set."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_tools.ingest.keyboard_mouse_rows import KeyboardMouseRows
from data_tools.ingest.open_p2p.annotation import Action, iter_frames, read_facts
from data_tools.ingest.pairs import Pair, UnusableError, ingest_pairs, search_files
from data_tools.names import plain_name
from data_tools.shards.cutting import Stretch
from data_tools.shards.part import ALL, Part
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import Dropped
from data_tools.shards.report import DatasetReport
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE

VIDEO_NAME = "192x192.mp4"
"""What the data set's own policies are trained on; `video.mp4` is the larger original."""
_ANNOTATION_NAME = "annotation.proto"


def ingest_open_p2p(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    video_name: str = VIDEO_NAME,
    part: Part = ALL,
    workers: int,
) -> DatasetReport:
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
