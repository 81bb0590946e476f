"""Build a data set of recordings, in one process or in parts.

A recording is cut evenly into clips: its video at a constant rate, its inputs as rows.

    video:     0     1  2  3        4     5      (when each frame is shown)
    grid:      |     |     |     |     |     |   (times of the constant rate)
    shown:     0     1     3     3     4     5   (2 is left out, 3 comes twice)

A frame goes to the nearest time of the grid, as by FFmpeg's `fps` filter; of several the last is
shown, and where there is none the former one stays. For a video that keeps to its rate but for lost
frames and pauses (`video_rate.py`), the grid is laid through its frames: none is left out, and only
lost ones are replaced. A row lasts from its frame to the next, so that nothing that was pressed
once the next frame was shown enters it.

Each stretch of play is cut into clips of equal length.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from data_tools.names import plain_name, safe_key
from data_tools.recordings.input_log import InputLog, overlapping, read_input_log
from data_tools.recordings.recording import Recording, RecordingFacts, search_recordings
from data_tools.shards.drop_report import Dropped, DropReport
from data_tools.shards.shard_plan import (
    ALL,
    Part,
    PlannedClip,
    PlannedUnit,
    ShardSettings,
    choose_heldout,
    list_loss,
    make_plan,
)
from data_tools.shards.shard_writer import refuse_other_settings, write_dataset
from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.shards.video_rate import find_places, round_to_steps
from nitrogen_train.data.clip_record import ClipActions, idle_rows
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.manifest import MANIFEST_NAME
from nitrogen_train.data.schema import (
    Box,
    ClipMetadata,
    Labels,
    Provenance,
    ShardError,
    get_space,
    refuse_respelt,
)
from nitrogen_train.runtime.atomic_files import check_folder, describe_error, hash_file

_MAX_GROWTH = 10


@dataclass(frozen=True, kw_only=True)
class ConstantRateVideo:
    """A video's frames at a constant rate."""

    video: SourceVideo
    """One frame per time of the grid; one that stays is listed again."""
    frames: Int64[np.ndarray, " times"]
    """Places of these frames in the video that it was made of; they never decrease."""

    def edges_ns(self, start_ns: int) -> Int64[np.ndarray, " edges"]:
        """Find when each row begins, and when the last one ends; strictly increasing.

        A row begins when its frame is shown; the rows of a frame that stays share its time evenly.

        Args:
            start_ns: When the first frame is shown, on the clock that is asked for.
        """
        new = np.append(np.flatnonzero(np.diff(self.frames, prepend=-1)), len(self.frames))
        edges = np.interp(np.arange(len(self.frames) + 1), new, self.video.edges_ns(0)[new])
        return start_ns + np.round(edges).astype(np.int64)


def to_constant_rate(video: SourceVideo, fps: float) -> ConstantRateVideo:
    """Choose the frame for each time of a constant rate, from the first frame on.

    Args:
        video: Of any frame rate; what is made of it is encoded as if it were constant.
        fps: The rate that is wanted.

    Raises:
        ShardError: If the rate is not above 0, or the video has long gaps without any frame, so
            that most frames would be repetitions.
    """
    if not 0 < fps <= 1000:
        raise ShardError(f"{video.path}: a frame rate lies above 0 and up to 1000, got {fps}")
    nearest = _find_times(video, frame_rate(fps))
    num_times = int(nearest[-1]) + 1
    if num_times > _MAX_GROWTH * len(video) + _MAX_GROWTH:
        raise ShardError(
            f"{video.path} shows {len(video)} frames in the time of {num_times} at {fps:g} fps; "
            "it has long gaps"
        )
    # The last frame that goes to each time or to one before; the video begins with its first.
    frames = np.searchsorted(nearest, np.arange(num_times), side="right") - 1
    frames[0] = 0
    return ConstantRateVideo(
        video=replace(video, fps=fps, ticks=video.ticks[frames]),
        frames=frames.astype(np.int64),
    )


def find_shown(
    video: SourceVideo, *, first_s: float, fps: float, count: int
) -> Int64[np.ndarray, " times"]:
    """Find the frame that is shown at each time of an even grid, by the rule of `to_constant_rate`.

    Args:
        video: Of any frame rate.
        first_s: Time from the video's first frame to the first of the grid.
        fps: Times per second.
        count: How many times.
    """
    seconds = (video.ticks - video.ticks[0]) * float(video.time_base)
    frames = np.searchsorted(seconds, first_s + (np.arange(count) + 0.5) / fps, side="left") - 1
    return frames.clip(min=0).astype(np.int64)


def _find_times(video: SourceVideo, rate: Fraction) -> Int64[np.ndarray, " frames"]:
    """Find the time of the grid that each frame goes to."""
    if rate == frame_rate(video.fps):
        if video.find_unsteady() is None:
            return np.arange(len(video))
        places = find_places(video.ticks, video.time_base, rate)
        if places is not None:
            return places
    return round_to_steps(video.ticks - video.ticks[0], 1 / (rate * video.time_base))


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive frames of one video, each with its row."""

    name: str
    """Name from which its clips get theirs, unique in the data set."""
    original_id: str
    """The recording's name, or the id of a published video."""
    source: str
    """The collection."""
    game: str
    session_id: str
    video: SourceVideo
    """Just the stretch's frames, at a constant rate."""
    frames: Int64[np.ndarray, " rows"]
    """Places of these frames in the whole video."""
    actions: ClipActions
    action_space: str = "gamepad"
    labels: Labels = "raw"
    licence: str = "unknown"
    url: str = ""
    masked_boxes: tuple[Box, ...] = ()
    """Hidden, inside the picture."""
    area: Box | None = None
    """Area of the picture that is kept; all of it if `None`."""
    timed_boxes: tuple[tuple[int, int, Box], ...] = ()
    """More of these, each from a row up to another (excluded)."""


def cut_stretch(stretch: Stretch, settings: ShardSettings) -> list[PlannedClip]:
    """Cut a stretch evenly into clips of up to `clip_seconds`, and a frame more.

    That frame keeps a piece of the public labels whole: 1200 frames at 59.94 fps are 20.02 s.
    """
    num_rows, fps = len(stretch.video), stretch.video.fps
    longest = math.ceil(settings.clip_seconds * fps)
    num_clips = max(1, math.ceil((num_rows - 1) / longest))
    cuts = np.linspace(0, num_rows, num_clips + 1).round().astype(int)
    key = safe_key(stretch.name)
    return [
        _cut_clip(stretch, f"{key}-{index:04d}", start, stop, settings)
        for index, (start, stop) in enumerate(pairwise(cuts.tolist()))
    ]


def _cut_clip(
    stretch: Stretch, name: str, start: int, stop: int, settings: ShardSettings
) -> PlannedClip:
    actions, video = stretch.actions.cut(start, stop), stretch.video
    return PlannedClip.pack(
        metadata=ClipMetadata(
            clip_id=name,
            source=stretch.source,
            game=stretch.game,
            session_id=stretch.session_id,
            fps=video.fps,
            num_frames=stop - start,
            width=settings.size,
            height=settings.size,
            action_space=stretch.action_space,
            idle_share=float(idle_rows(actions.rows).mean()),
            licence=stretch.licence,
            masked_boxes=_list_masked(stretch, start, stop),
            area=stretch.area,
            provenance=Provenance(
                original_id=stretch.original_id,
                url=stretch.url,
                start_frame=int(stretch.frames[start]),
                end_frame=int(stretch.frames[stop - 1]) + 1,
                width=video.width,
                height=video.height,
                labels=stretch.labels,
            ),
        ),
        actions=actions,
        video=video.cut(start, stop),
        filling=settings.filling,
    )


def _list_masked(stretch: Stretch, start: int, stop: int) -> tuple[Box, ...]:
    """List the boxes that are hidden at any moment of a clip: they are for all of it."""
    timed = [box for first, end, box in stretch.timed_boxes if first < stop and end > start]
    return tuple(dict.fromkeys((*stretch.masked_boxes, *timed)))


def plan_recording(recording: Recording, *, settings: ShardSettings) -> PlannedUnit:
    """Read a recording's files, and cut it into clips of equal length.

    Raises:
        ShardError: If a file breaks the contract, or video and log do not span the same time.
        OSError: If a file cannot be read.
    """
    facts = recording.read_facts()
    space = get_space(facts.action_space)
    video, frames, edges_ns = _lay_out(recording.video_path, facts.video_start_ns)
    log = read_input_log(recording.log_path, space, stick_y_axis=facts.stick_y_axis)
    _check_span(recording, log, edges_ns, is_cut_off=video.is_cut_off)
    if motions := sorted(space.motions.keys() & log.tracks.keys()):
        raise ShardError(
            f"{recording.log_path} logs {motions[0]}, a motion: a row holds all of it, and such a "
            "log gives states; leave it out, or write an adapter as in data_tools/ingest"
        )
    actions = log.rows(edges_ns, space)
    actions = replace(actions, valid=~overlapping(edges_ns, facts.disturbed_ns))
    stretch = Stretch(
        name=recording.name,
        original_id=recording.name,
        source=facts.source,
        game=facts.game,
        session_id=facts.session_id,
        video=video,
        frames=frames,
        actions=actions,
        action_space=facts.action_space,
        labels=facts.labels,
        licence=facts.licence,
        url=facts.url,
        timed_boxes=_place_masks(recording, facts, video, edges_ns),
    )
    return PlannedUnit(
        digest=_hash_files(recording),
        clips=cut_stretch(stretch, settings),
        notes={"logs whose last row was cut, left out": int(bool(log.lost))},
        dropped=list_loss(video, name=recording.name, game=facts.game),
    )


def _place_masks(
    recording: Recording,
    facts: RecordingFacts,
    video: SourceVideo,
    edges_ns: Int64[np.ndarray, " edges"],
) -> tuple[tuple[int, int, Box], ...]:
    """Find the rows in which each box is blacked out: all that share time with it.

    Raises:
        ShardError: If a box is not inside the picture.
    """
    placed: list[tuple[int, int, Box]] = []
    for mask in facts.masked_boxes:
        left, top, width, height = mask.box
        if left + width > video.width or top + height > video.height:
            raise ShardError(
                f"{recording.facts_path}: the masked box {list(mask.box)} is not inside the "
                f"picture of {video.width}x{video.height}"
            )
        rows = np.flatnonzero(overlapping(edges_ns, ((mask.start_ns, mask.stop_ns),)))
        if len(rows):
            placed.append((int(rows[0]), int(rows[-1]) + 1, mask.box))
    return tuple(placed)


def _lay_out(
    path: Path, start_ns: int
) -> tuple[SourceVideo, Int64[np.ndarray, " rows"], Int64[np.ndarray, " edges"]]:
    """Read a video, at a constant rate, with its frames' places and its rows' edges."""
    video = read_video_table(path)
    steady = to_constant_rate(video, video.fps)
    return steady.video, steady.frames, steady.edges_ns(start_ns)


def _check_span(
    recording: Recording, log: InputLog, edges_ns: Int64[np.ndarray, " edges"], *, is_cut_off: bool
) -> None:
    row_ns = int(edges_ns[-1] - edges_ns[-2])
    start, last_frame, end = int(edges_ns[0]), int(edges_ns[-2]), int(edges_ns[-1])
    begins_late = log.first_ns > start + row_ns
    ends_early = log.last_ns < last_frame - row_ns
    # What was recorded once the file ended has inputs and no picture.
    ends_late = log.last_ns > end + row_ns and not is_cut_off
    if begins_late or ends_early or ends_late:
        raise ShardError(
            f"{recording.video_path} and {recording.log_path.name} differ in length: the video "
            f"lasts from {start / 1e9:.3f} to {end / 1e9:.3f} s, the log from "
            f"{log.first_ns / 1e9:.3f} to {log.last_ns / 1e9:.3f} s, expected the same within a "
            "row; check video_start_ns, cut the longer one, and end a log of changes with an "
            "empty row at the last frame"
        )


def _hash_files(recording: Recording) -> str:
    digest = hashlib.sha256()
    for path in (recording.video_path, recording.log_path, recording.facts_path):
        digest.update(hash_file(path))
    return digest.hexdigest()


def shard_recordings(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Make a data set of recordings, or finish one, or a part of one.

    Args:
        folders: Where the recordings lie.
        out_dir: The data set's folder.
        settings: How to cut and store.
        part: Which of the recordings are this process's; all of them.
        workers: Processes.

    Returns:
        What became of the part's recordings.

    Raises:
        ShardError: If no recording can be used, `out_dir` holds another data set or the
            recordings, or they name a game in two ways.
    """
    check_folder(out_dir)
    for folder in folders:
        if (folder / MANIFEST_NAME).is_file():
            raise ShardError(f"{folder} is a data set already; shard takes recordings")
    if out_dir.resolve() in {folder.resolve() for folder in folders}:
        raise ShardError(f"{out_dir} holds the recordings: choose another folder with --out")
    refuse_other_settings(out_dir, settings.describe())
    recordings, faults = search_recordings(folders)
    sessions = list(_iter_sessions(recordings))
    refuse_respelt((game for game, _ in sessions), what="the recordings")
    plan = make_plan(
        recordings,
        partial(_try_recording, settings=settings),
        heldout=choose_heldout(sessions, share=settings.heldout_share),
        settings=settings,
        part=part,
        workers=workers,
        dropped=[
            _drop(plain_name(path.stem), error, reason="files are missing")
            for path, error in faults.items()
        ],
    )
    return write_dataset(plan, out_dir=out_dir, workers=workers)


def _iter_sessions(recordings: Sequence[Recording]) -> Iterator[tuple[str, str]]:
    for recording in recordings:
        # Those that cannot be read are dropped where they are planned.
        with contextlib.suppress(ShardError, OSError):
            facts = recording.read_facts()
            yield facts.game, facts.session_id


def _try_recording(recording: Recording, *, settings: ShardSettings) -> PlannedUnit:
    """Plan a recording, or say why it is left out."""
    try:
        return plan_recording(recording, settings=settings)
    except (ShardError, OSError) as error:
        return PlannedUnit.unusable(
            _drop(recording.name, error, reason="it breaks the rules of recordings"),
            error,
            video_path=recording.video_path,
            small_paths=[recording.log_path, recording.facts_path],
        )


def _drop(name: str, error: Exception, *, reason: str) -> Dropped:
    return Dropped(name=name, reason=reason, detail=describe_error(error))
