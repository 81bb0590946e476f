"""Build a data set of tarballs of labels and a folder of videos.

tarballs ─► index ─► pieces that are wanted and whose video is at hand
  ─► each tarball once more: rows and frames to clips ─► shards
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_tools.ingest.nitrogen.label_index import (
    TarballIndex,
    build_index,
    find_tarballs,
    select_pieces,
)
from data_tools.ingest.nitrogen.piece_clips import TarballUnit, plan_tarball
from data_tools.names import is_hidden
from data_tools.recordings.recording import VIDEO_SUFFIXES
from data_tools.shards.drop_report import Dropped, DropReport
from data_tools.shards.shard_plan import ALL, Part, ShardSettings, choose_heldout, make_plan
from data_tools.shards.shard_writer import write_dataset
from data_tools.shards.video_container import is_cut_off, open_container
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import check_folder

INDEX_NAME = ".labels"
_COLUMNS = ("video_id", "chunk", "game", "rows", "fps")
_MISSING_S = 2.0
_MISSING_SHARE = 0.002
"""Share of a video's length that may miss, beside `_MISSING_S`: 29.97 fps may be labelled as 30."""

Sessions = set[tuple[str, str]]
"""(game, video id) pairs."""


@dataclass(frozen=True, kw_only=True)
class LabelledVideos:
    """Public labels, and where their videos lie."""

    tarballs: Sequence[Path]
    """Tarballs of labels, or folders of them."""
    videos_dir: Path
    """Holds `VIDEO_ID.mp4`, `.mkv` or `.webm`."""
    index_dir: Path | None = None
    """Index of the labels; what it lacks is added. By default it is in the data set."""
    where: str | None = None
    """Pieces to take, as a `Selection` of the index; all of them by default."""
    crops_to_game: bool = False
    """True to keep just the game's area, where the labels name one."""


def ingest_nitrogen(
    inputs: LabelledVideos,
    *,
    out_dir: Path,
    settings: ShardSettings,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Make a data set of public labels and the videos that are at hand, or finish one.

    Args:
        inputs: What it is made of.
        out_dir: The data set's folder.
        settings: How to cut and store.
        part: Which of the tarballs are this process's; all of them.
        workers: Processes.

    Raises:
        FileNotFoundError: If a tarball or the folder of videos is missing.
        ShardError: If `out_dir` holds another data set, or no clip is left.
        ValueError: If `where` makes no sense, or two tarballs have one name.
    """
    check_folder(out_dir)
    tarballs = find_tarballs(inputs.tarballs)
    videos = find_videos(inputs.videos_dir)
    index_dir = inputs.index_dir or out_dir / INDEX_NAME
    indexes = build_index(tarballs, index_dir=index_dir, workers=workers)
    units, sessions = choose_pieces(indexes, videos, where=inputs.where)
    plan = make_plan(
        units,
        partial(plan_tarball, settings=settings, crops_to_game=inputs.crops_to_game),
        heldout=choose_heldout(sessions, share=settings.heldout_share),
        settings=settings,
        part=part,
        workers=workers,
    )
    return write_dataset(plan, out_dir=out_dir, workers=workers)


def find_videos(folder: Path) -> dict[str, Path]:
    """Find the videos of a folder by their ids; of two files of one id the first suffix counts.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is no folder of videos; nitrogen-data videos fetch LIST --out {folder} "
            "fills one"
        )
    suffixes = VIDEO_SUFFIXES[::-1]
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not is_hidden(path) and path.is_file()
    ]
    paths.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path.name))
    return {path.stem: path for path in paths}


def find_sections(indexes: Sequence[TarballIndex], videos: dict[str, Path]) -> dict[str, str]:
    """Find files that are shorter than what their labels are of.

    Such a file may hold a section from anywhere in the video, whose pictures belong to other rows.
    One that was cut off does not: the pieces of its good part are kept.

    Args:
        indexes: Of all tarballs.
        videos: Files by the id of their video.

    Returns:
        What is wrong with them, by the id of the video.
    """
    ends_s: dict[str, float] = {}
    for index in indexes:
        table = index.read_table(("video_id", "end_s", "end_frame", "fps"))
        by_frame_s = np.asarray(table["end_frame"]) / np.asarray(table["fps"])
        # A stranger's numbers: only what both say.
        last_s = np.minimum(np.asarray(table["end_s"]), by_frame_s)
        for video_id, end_s in zip(table["video_id"].to_pylist(), last_s.tolist(), strict=True):
            ends_s[video_id] = max(end_s, ends_s.get(video_id, 0.0))
    sections: dict[str, str] = {}
    for video_id in sorted(ends_s.keys() & videos.keys()):
        length_s, end_s = _measure_length(videos[video_id]), ends_s[video_id]
        if length_s is not None and length_s + _MISSING_S + end_s * _MISSING_SHARE < end_s:
            sections[video_id] = (
                f"{videos[video_id].name} is {length_s:.1f} s long, its labels reach to "
                f"{end_s:.1f} s; get all of the video"
            )
    return sections


def _measure_length(path: Path) -> float | None:
    """Read how long a whole file says it is, in seconds.

    None if it does not say it, is no video, or was cut off: then it begins at the beginning.
    """
    try:
        with open_container(path) as video:
            kind, duration = video.container.format.name, video.container.duration
            if is_cut_off(path, container=kind, stream_id=video.stream.id):
                return None
            return None if duration is None else duration / av.time_base
    # Reported when its pieces are planned.
    except (ShardError, OSError):
        return None


def choose_pieces(
    indexes: Sequence[TarballIndex], videos: dict[str, Path], *, where: str | None
) -> tuple[list[TarballUnit], Sessions]:
    """Choose what to take of each tarball, and say what is left.

    Args:
        indexes: Of all tarballs.
        videos: Files by the id of their video.
        where: A `Selection` of the pieces, or all of them.

    Returns:
        A unit per tarball, and the sessions of all of them.

    Raises:
        ValueError: If `where` makes no sense.
    """
    taken: dict[str, set[int]] = defaultdict(set)
    sessions: Sessions = set()
    units: list[TarballUnit] = []
    sections = find_sections(indexes, videos)
    videos = {video_id: path for video_id, path in videos.items() if video_id not in sections}
    for index in indexes:
        table = index.read_table()
        is_wanted = select_pieces(table, where)
        table = table.select(_COLUMNS)
        has_video = np.asarray(
            pc.call_function(
                "is_in",
                [table["video_id"]],
                pc.SetLookupOptions(value_set=pa.array(list(videos), pa.string())),
            )
        )
        dropped = [*index.faults]
        dropped += _sum_up(table, ~is_wanted, "not selected", f"left out by {where!r}")
        ids = np.asarray(table["video_id"])
        is_section = np.isin(ids, list(sections))
        for video_id in np.unique(ids[is_section & is_wanted]):
            is_lost = is_wanted & (ids == video_id)
            section = _sum_up(table, is_lost, "a section of the video", sections[video_id])
            dropped += [replace(item, is_fault=True) for item in section]
        dropped += _sum_up(
            table, is_wanted & ~has_video & ~is_section, "no video", "the folder of videos lacks it"
        )
        wanted: dict[str, list[int]] = defaultdict(list)
        first_seen: set[str] = set()
        for row in table.filter(pa.array(is_wanted & has_video)).to_pylist():
            video_id, chunk = row["video_id"], row["chunk"]
            if chunk in taken[video_id]:
                dropped.append(
                    Dropped(
                        name=f"{video_id}_chunk_{chunk:04d}",
                        game=row["game"],
                        seconds=row["rows"] / row["fps"],
                        reason="it comes twice",
                        detail=f"an earlier tarball than {index.path.name} holds it too",
                        is_fault=False,
                    )
                )
                continue
            if not taken[video_id]:
                first_seen.add(video_id)
            taken[video_id].add(chunk)
            sessions.add((row["game"], video_id))
            wanted[video_id].append(chunk)
        units.append(
            TarballUnit(
                path=index.path,
                fingerprint=index.fingerprint,
                wanted=dict(wanted),
                videos={video_id: videos[video_id] for video_id in wanted},
                first_seen=frozenset(first_seen),
                dropped=dropped,
            )
        )
    return units, sessions


def _sum_up(table: pa.Table, mask: np.ndarray, reason: str, detail: str) -> list[Dropped]:
    """Make one entry per video and game: a report lists millions of pieces no one by one."""
    seconds = pc.call_function("divide", [table["rows"].cast(pa.float64()), table["fps"]])
    lost = table.append_column("seconds", seconds).filter(pa.array(mask))
    totals = lost.group_by(["video_id", "game"], use_threads=False).aggregate(
        [("seconds", "sum"), ("chunk", "count")]
    )
    return [
        Dropped(
            name=row["video_id"],
            game=row["game"],
            seconds=row["seconds_sum"],
            reason=reason,
            detail=f"{row['chunk_count']} pieces: {detail}",
            is_fault=False,
        )
        for row in totals.to_pylist()
    ]
