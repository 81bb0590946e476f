"""Segments of contractors' play to a data set."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from data_tools.ingest.pairs import Pair, ingest_pairs, search_files
from data_tools.ingest.vpt.action_log import read_action_log
from data_tools.names import FileNames, has_suffix, plain_name
from data_tools.shards.cutting import Stretch
from data_tools.shards.part import ALL, Part
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import Dropped
from data_tools.shards.report import DatasetReport
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE

_VIDEO, _LOG = ".mp4", ".jsonl"
# Contractor and session, then date and time of the segment.
_NAME = re.compile(r"(.+)-\d{8}-\d{6}")


def ingest_vpt(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    max_difference: int = 1,
    keep_menus: bool = False,
    part: Part = ALL,
    workers: int,
) -> DatasetReport:
    """Make a data set of segments, or finish one, or a part of one.

    Args:
        folders: Where `NAME.mp4` and `NAME.jsonl` lie, at any depth.
        out_dir: The data set's folder.
        settings: How to cut and store.
        max_difference: How many lines a segment may have more or less than frames.
        keep_menus: Whether rows with a menu open are valid.
        part: Which of the segments are this process's; all of them.
        workers: Processes.

    Returns:
        What became of the part's segments.

    Raises:
        ValueError: If `max_difference` is negative.
        FileNotFoundError: If no folder holds a segment.
        ShardError: If nothing can be used, or `out_dir` holds another data set.
    """
    if max_difference < 0:
        raise ValueError(f"max-difference must be at least 0, got {max_difference}")
    segments, dropped = find_segments(folders)
    return ingest_pairs(
        segments,
        partial(read_segment, max_difference=max_difference, keep_menus=keep_menus),
        out_dir=out_dir,
        settings=settings,
        part=part,
        workers=workers,
        dropped=dropped,
    )


def find_segments(folders: list[Path]) -> tuple[list[Pair], list[Dropped]]:
    """Find all segments, also those of which a file is missing, and folders without one.

    Raises:
        FileNotFoundError: If no folder holds one.
    """
    found, dropped = search_files(
        folders,
        lambda path: has_suffix(path, (_VIDEO, _LOG)),
        what="NAME.mp4 or NAME.jsonl",
    )
    return [
        Pair(
            name=name,
            game="minecraft",
            session_id=_session(name),
            video_path=next(iter(names.find(name, [_VIDEO])), folder / f"{name}{_VIDEO}"),
            inputs_path=next(iter(names.find(name, [_LOG])), folder / f"{name}{_LOG}"),
        )
        for folder, paths in found.items()
        for names in [FileNames(paths)]
        for name in sorted({plain_name(path.stem) for path in paths})
    ], dropped


def read_segment(
    pair: Pair, video: SourceVideo, *, max_difference: int, keep_menus: bool
) -> tuple[Stretch, Mapping[str, int]]:
    """Read a segment's rows.

    Raises:
        UnusableError: If they do not match the video.
    """
    rows = read_action_log(
        pair.inputs_path,
        num_frames=len(video),
        max_difference=max_difference,
        keep_menus=keep_menus,
        is_video_cut_off=video.is_cut_off,
    )
    actions = rows.to_actions()
    stretch = Stretch(
        name=pair.name,
        original_id=pair.name,
        source="vpt",
        game=pair.game,
        session_id=pair.session_id,
        video=video.cut(0, len(actions)),
        frames=np.arange(len(actions)),
        actions=actions,
        action_space=KEYBOARD_MOUSE.name,
        # Stuck buttons are released, and slots of the hotbar explained.
        labels="processed",
        licence="MIT",
    )
    return stretch, rows.notes


def _session(name: str) -> str:
    match = _NAME.fullmatch(name)
    return match[1] if match else name
