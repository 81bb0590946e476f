"""The episodes of one video file to clips: frames by their times, rows by their features."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from data_tools.lerobot.dataset import EpisodeRow, LeRobotFolder
from data_tools.lerobot.layout import FilePlace
from data_tools.lerobot.readers import EpisodeReader, ShownEpisode
from data_tools.lerobot.tables import read_episode_rows
from data_tools.shards.planned import Dropped, PlannedClip, PlannedUnit
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.files import describe_error
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_vectors, to_whole_numbers

_TOLERANCE = 0.25
"""Of a frame: how far a row's time may lie from its frame's."""
_ROW_COLUMNS = ("timestamp", "frame_index")


@dataclass(frozen=True, kw_only=True)
class VideoUnit:
    """A video file and the episodes that it shows."""

    folder: LeRobotFolder
    camera: str
    place: FilePlace
    episodes: tuple[EpisodeRow, ...]

    @property
    def video_path(self) -> Path:
        """The file."""
        return self.folder.locate_video(self.place, camera=self.camera)


def plan_video(unit: VideoUnit, *, reader: EpisodeReader) -> PlannedUnit:
    """Read a video's table and its episodes' rows; an episode with a fault is dropped.

    Args:
        unit: The video.
        reader: What makes clips of its episodes.
    """
    clips: list[PlannedClip] = []
    dropped: list[Dropped] = []
    video = _attempt_video(unit.video_path)
    tables = {
        place: _attempt_table(unit, place, [*reader.features, *_ROW_COLUMNS])
        for place in sorted({episode.data for episode in unit.episodes})
    }
    for episode in unit.episodes:
        try:
            shown = _show(unit, episode, video, tables[episode.data])
            clips += reader.make_clips(shown)
        except ShardError as error:
            dropped.append(
                Dropped(
                    name=reader.name(episode),
                    game=reader.game(episode),
                    seconds=episode.num_rows / unit.folder.fps,
                    reason=error.cause if " " in error.cause else "it breaks the contract of clips",
                    detail=str(error),
                )
            )
    return PlannedUnit(
        digest=_hash_plan(unit.video_path, clips, dropped), clips=clips, dropped=dropped
    )


def _attempt_video(path: Path) -> SourceVideo | ShardError:
    if not path.is_file():
        return ShardError(f"{path} does not exist", cause="the video is missing")
    try:
        with path.open("rb") as file:
            # FFmpeg also takes lists of files for videos, and would open what a stranger names.
            if file.read(8)[4:] != b"ftyp":
                return ShardError(f"{path} is no mp4", cause="the video cannot be read")
        return read_video_table(path)
    except (ShardError, OSError) as error:
        return ShardError(describe_error(error), cause="the video cannot be read")


def _attempt_table(
    unit: VideoUnit, place: FilePlace, columns: Sequence[str]
) -> dict[int, pa.Table] | ShardError:
    path = unit.folder.locate_data(place)
    if not path.is_file():
        return ShardError(f"{path} does not exist", cause="the table of its rows is missing")
    wanted = {episode.index for episode in unit.episodes if episode.data == place}
    try:
        return read_episode_rows(path, columns, wanted)
    except ShardError as error:
        return error
    except OSError as error:
        return ShardError(describe_error(error), cause="a table cannot be read")


def _show(
    unit: VideoUnit,
    episode: EpisodeRow,
    video: SourceVideo | ShardError,
    tables: dict[int, pa.Table] | ShardError,
) -> ShownEpisode:
    if isinstance(video, ShardError):
        raise video
    if isinstance(tables, ShardError):
        raise tables
    what = f"episode {episode.index}"
    table = tables.get(episode.index)
    num_rows = 0 if table is None else table.num_rows
    if table is None or num_rows != episode.num_rows:
        raise ShardError(
            f"{what} has {episode.num_rows} rows by the table of episodes, {num_rows} in "
            f"{unit.folder.locate_data(episode.data)}",
            cause="rows are missing",
        )
    fps = unit.folder.fps
    frames = _find_frames(video, episode, table, fps, what)
    return ShownEpisode(
        row=episode,
        table=table,
        video=replace(video, fps=fps, ticks=video.ticks[frames]),
        frames=frames,
        origin=unit.video_path.relative_to(unit.folder.root).as_posix(),
    )


def _find_frames(
    video: SourceVideo, episode: EpisodeRow, table: pa.Table, fps: float, what: str
) -> Int64[np.ndarray, " rows"]:
    """Find the frame that is shown at the time of each row.

    Raises:
        ShardError: If a row has no time of its own, or no frame then.
    """
    index = to_whole_numbers(table["frame_index"], what=f"{what}, frame_index")
    if (index != np.arange(len(index))).any():
        raise ShardError(
            f"{what}: frame_index must count from 0 to {len(index) - 1}", cause="rows are missing"
        )
    times = to_vectors(table["timestamp"], what=f"{what}, timestamp")[:, 0]
    late = ~(np.abs(times * fps - index) < _TOLERANCE)
    if late.any():
        row = int(np.argmax(late))
        raise ShardError(
            f"{what}: row {row} has timestamp {times[row]:.4f}, expected {row / fps:.4f} at "
            f"{fps:g} fps",
            cause="rows are not evenly spaced",
        )
    wanted = episode.from_s + times
    shown = video.ticks * float(video.time_base)
    after = np.searchsorted(shown, wanted).clip(1, max(1, len(shown) - 1))
    before = (after - 1).clip(0)
    after = after.clip(0, len(shown) - 1)
    frames = np.where(wanted - shown[before] <= shown[after] - wanted, before, after)
    off = np.abs(shown[frames] - wanted) * fps
    if (off > _TOLERANCE).any():
        row = int(np.argmax(off > _TOLERANCE))
        is_short = wanted[row] > shown[-1]
        raise ShardError(
            f"{what}: row {row} is at {wanted[row]:.4f} s of {video.path}, where no frame is "
            f"shown: the nearest is at {shown[frames[row]]:.4f} s"
            + (f"; {video.loss.words}" if video.loss else ""),
            cause="the video is too short" if is_short else "rows have no frame",
        )
    return frames


def _hash_plan(path: Path, clips: Sequence[PlannedClip], dropped: Sequence[Dropped]) -> str:
    digest = hashlib.sha256(repr(dropped).encode())
    for clip in clips:
        digest.update(clip.metadata.to_json())
        digest.update(clip.video.ticks.tobytes())
        rows = clip.actions.rows
        for values in (rows.buttons, rows.sticks, clip.actions.valid):
            digest.update(np.ascontiguousarray(values).tobytes())
        for pull in (clip.actions.left_trigger_value, clip.actions.right_trigger_value):
            digest.update(b"-" if pull is None else pull.tobytes())
    if clips:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
