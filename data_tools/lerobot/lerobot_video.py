"""Cut a LeRobotDataset's video files into clips, and join clips into its video files.

    video file of many episodes ─► frames by their times, rows by their features ─► clips
    clips ─► compressed pictures, copied ─► numbered mp4s of bounded size

A clip begins with a key frame and refers to nothing before it, so it follows any other that was
encoded with the same parameters. A clip with other parameters begins a file of its own.
"""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream
from jaxtyping import Int64

from data_tools.lerobot.episode_readers import EpisodeReader, ShownEpisode
from data_tools.lerobot.layout import (
    VIDEO_PATH,
    FileLimits,
    FilePlace,
    fill_template,
    read_episode_rows,
)
from data_tools.lerobot.read_lerobot import EpisodeRow, LeRobotFolder
from data_tools.shards.drop_report import Dropped
from data_tools.shards.shard_plan import PlannedClip, PlannedUnit
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import to_vectors, to_whole_numbers
from nitrogen_train.runtime.atomic_files import describe_error, hash_file, sync

_TOLERANCE = 0.25
"""Share of a frame by which a row's time may differ from its frame's."""
_ROW_COLUMNS = ("timestamp", "frame_index")


@dataclass(frozen=True, kw_only=True)
class VideoPlace:
    """The place of an episode's pictures."""

    file: FilePlace
    from_s: float
    """Time at which its first frame is shown."""
    to_s: float
    """Time at which its last frame ends."""


class UnevenVideoError(ShardError):
    """A video is not of evenly spaced frames, and was not copied."""


class VideoFiles:
    """Writes the videos of one camera."""

    def __init__(self, root: Path, *, camera: str, rate: Fraction, limits: FileLimits) -> None:
        """Remember where; nothing is written before the first clip.

        Args:
            root: The data set's folder.
            camera: The pictures' feature.
            rate: Frames per second of every clip.
            limits: When a file is full.
        """
        self._root, self._camera, self._rate, self._limits = root, camera, rate, limits
        self._open = contextlib.ExitStack()
        self._number = -1
        self._parameters: object = None
        self._num_bytes = self._num_frames = 0
        self.codec = self.pixels = ""

    def append(self, video: bytes, *, num_frames: int, what: str) -> VideoPlace:
        """Copy a clip behind the others.

        Args:
            video: Its mp4.
            num_frames: In it.
            what: Its name, for messages.

        Raises:
            ShardError: If it is damaged, or its frames are not evenly spaced at the rate.
        """
        try:
            with av.open(io.BytesIO(video), "r", format="mp4") as source:
                stream = source.streams.video[0]
                packets = [packet for packet in source.demux(stream) if packet.size]
                ticks_per_frame = self._check(stream, packets, num_frames, what)
                self._choose_file(stream, num_bytes=len(video))
                first, start = packets[0].pts or 0, self._num_frames
                for packet in packets:
                    shift = start * ticks_per_frame - first
                    packet.pts = (packet.pts or 0) + shift
                    packet.dts = (packet.dts or 0) + shift
                    packet.duration = ticks_per_frame
                    packet.stream = self._stream
                    self._container.mux(packet)
        except (FFmpegError, IndexError) as error:
            raise ShardError(f"clip {what!r}: its video cannot be copied: {error}") from error
        self._num_frames += num_frames
        self._num_bytes += len(video)
        return VideoPlace(
            file=self._limits.place(self._number),
            from_s=float(start / self._rate),
            to_s=float(self._num_frames / self._rate),
        )

    def _check(self, stream: VideoStream, packets: list[Packet], num_frames: int, what: str) -> int:
        """Find the ticks from frame to frame.

        Raises:
            UnevenVideoError: If they differ.
        """
        ticks_per_frame = 1 / (self._rate * (stream.time_base or Fraction(1)))
        ticks = np.sort([packet.pts or 0 for packet in packets])
        expected = np.arange(num_frames) * int(ticks_per_frame)
        if ticks_per_frame.denominator != 1 or len(ticks) != num_frames:
            is_even = False
        else:
            is_even = bool((ticks - ticks[0] == expected).all()) and packets[0].is_keyframe
        if not is_even or any(packet.is_discard for packet in packets):
            raise UnevenVideoError(
                f"clip {what!r}: expected a video of {num_frames} frames at {self._rate} per "
                "second that begins with a key frame; `nitrogen-data verify` checks a data set"
            )
        return int(ticks_per_frame)

    def _choose_file(self, stream: VideoStream, *, num_bytes: int) -> None:
        context = stream.codec_context
        parameters = (
            context.name,
            context.extradata,
            context.width,
            context.height,
            context.pix_fmt,
            stream.time_base,
        )
        is_full = self._num_bytes + num_bytes > self._limits.video_bytes
        if parameters == self._parameters and not is_full:
            return
        self._open.close()
        self._number += 1
        self._parameters, self._num_bytes, self._num_frames = parameters, 0, 0
        place = self._limits.place(self._number)
        path = self._root / fill_template(VIDEO_PATH, place, video_key=self._camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open.callback(sync, path)
        self._container = self._open.enter_context(
            av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        )
        self._stream = self._container.add_stream_from_template(stream)
        self._stream.time_base = stream.time_base
        self.codec, self.pixels = context.codec.canonical_name, context.pix_fmt or ""

    def close(self) -> None:
        """Close the last file."""
        self._open.close()


@dataclass(frozen=True, kw_only=True)
class VideoUnit:
    """A video file and the episodes that it shows."""

    folder: LeRobotFolder
    camera: str
    place: FilePlace
    episodes: tuple[EpisodeRow, ...]

    @property
    def video_path(self) -> Path:
        """Return the file."""
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
        digest.update(hash_file(path))
    return digest.hexdigest()
