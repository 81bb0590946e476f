"""Read a recorded video: when each frame was shown, and the frames of a stretch.

Times go in, and exactly the frames that are shown then come out, whole; otherwise the read fails:

    seek ─► first key frame ─► is it shown after the first frame wanted? further back, and again
      ─► decode ─► is a frame damaged, or does it lack what it refers to? further back, and again

A file is sought by the time of decoding (mp4), of showing (mkv) or by guess (ts), so the code looks
at where a seek lands and does not trust it. From a key frame on, all that is shown after it
decodes; what is stored after it and shown before (an open group's leading pictures) may not, and is
passed over.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from jaxtyping import Float64, Int64

from data_tools.shards.shown_picture import list_corrections, show_pictures
from data_tools.shards.video_container import (
    VideoContainer,
    is_cut_off,
    is_unfinished,
    open_container,
)
from data_tools.shards.video_rate import find_video_rate
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import ShardError

_RETREATS_S = (0, 1, 10, 60, None)
"""Time before the first frame at which a try begins; None is the start of the file."""
_ENOUGH_S = 10
"""Damage that is met again from so much further back is damage, and no want of references."""

_LONGEST_REORDER = 33
"""Frames: so many that are shown after a frame may be stored before it."""


class Decoding:
    """One way through a file: from a key frame to the last frame that is wanted."""

    def __init__(
        self, *, video: VideoContainer, packets: Iterable[Packet], wanted: Iterable[int]
    ) -> None:
        """Take the way.

        Args:
            video: The open file.
            packets: Of its video, from a key frame on.
            wanted: When the frames are shown, in ticks.
        """
        self._video, self._packets, self._unfed = video, packets, set(wanted)
        self._first = min(self._unfed)
        self._key = self._first
        # When what has been fed since the last key frame before all that is wanted is shown.
        self._fed: list[int] = []
        self._num_good: int | None = None

    @property
    def fault(self) -> int | None:
        """Return when the first frame is shown that cannot be decoded; None if all can."""
        return None if self._num_good is None else self._fed[self._num_good]

    def frames(self) -> Iterator[VideoFrame]:
        """Decode up to the last frame that is wanted, or to the first fault.

        A fault may turn up after a frame that refers to the damaged one: `is_good` tells.
        """
        for packet in self._packets:
            if packet.pts is None:
                yield from self._decode(packet)
                continue
            if packet.is_keyframe and (packet.pts <= self._first or not self._fed):
                self._key, self._num_good = packet.pts, None
                self._fed.clear()
            self._fed.append(packet.pts)
            if packet.is_corrupt:
                self._distrust(packet.pts)
            else:
                yield from self._decode(packet)
                self._unfed.discard(packet.pts)
            if self._num_good is not None or not self._unfed:
                break
        yield from self._decode(None)

    def is_good(self, tick: int) -> bool:
        """Tell whether a frame, which has been decoded, came before all faults."""
        return self._num_good is None or tick in self._fed[: self._num_good]

    def _decode(self, packet: Packet | None) -> Iterator[VideoFrame]:
        try:
            frames = self._video.stream.decode(packet)
        except FFmpegError:
            # Leading pictures may lack what they refer to.
            if packet is not None and packet.pts is not None and packet.pts >= self._key:
                self._distrust(packet.pts)
            return
        for frame in frames:
            if frame.pts is None or frame.pts < self._key:
                continue
            # Of those that come last PyAV does not know it.
            frame.time_base = self._video.stream.time_base
            if frame.is_corrupt:
                self._distrust(frame.pts)
            elif self.is_good(frame.pts):
                yield frame

    def _distrust(self, tick: int) -> None:
        place = self._fed.index(tick) if tick in self._fed else 0
        self._num_good = place if self._num_good is None else min(place, self._num_good)


def iter_frames_at(
    path: Path, ticks: Sequence[int], *, time_base: Fraction
) -> Iterator[VideoFrame]:
    """Decode the frames that are shown at these ticks.

    Args:
        path: The video.
        ticks: Increasing.
        time_base: Seconds per tick.

    Raises:
        ShardError: If one is damaged or missing, also when others have come before it.
    """
    wanted = deque(ticks)
    fault: int | None = None
    for back_s, decoding in _iter_tries(path, ticks, time_base):
        for frame in decoding.frames():
            if wanted and frame.pts == wanted[0]:
                yield frame
                wanted.popleft()
        if not wanted and decoding.fault is None:
            return
        former, fault = fault, decoding.fault
        is_certain = fault is not None and fault == former and back_s >= _ENOUGH_S
        if is_certain or len(wanted) < len(ticks):
            break
    what = "is missing" if fault is None else "is damaged"
    tick = fault if fault is not None else wanted[0]
    raise ShardError(
        f"{path} cannot be decoded: its frame at {float(tick * time_base):.2f} s {what}",
        cause="video",
    )


def count_whole(path: Path, ticks: Sequence[int], *, time_base: Fraction) -> int:
    """Count the frames at these increasing ticks that decode, up to the first that does not."""
    for _, decoding in _iter_tries(path, ticks, time_base):
        shown = {frame.pts for frame in decoding.frames()}
        good = [tick in shown and decoding.is_good(tick) for tick in ticks]
        if good[0]:
            return [*good, False].index(False)
    return 0


def read_first_frame(path: Path) -> VideoFrame:
    """Decode the first frame that is whole.

    Raises:
        ShardError: If there is none.
    """
    with open_container(path) as video:
        for packet in chain(video.iter_packets(), [None]):
            try:
                frames = video.stream.decode(packet)
            except FFmpegError:
                continue
            for frame in frames:
                if not frame.is_corrupt:
                    return frame
    raise ShardError(f"{path}: not one frame of it can be decoded", cause="video")


def _iter_tries(
    path: Path, ticks: Sequence[int], time_base: Fraction
) -> Iterator[tuple[float, Decoding]]:
    """Find ways to the same frames, each from further back, with how far that is in seconds."""
    landed: int | None = None
    for back_s in _RETREATS_S:
        seek_to = None if back_s is None else ticks[0] - round(back_s / time_base)
        with open_container(path) as video:
            packets = _land(video, seek_to, latest=ticks[0])
            first = next(packets, None)
            # From where it has been tried already nothing else would come.
            if first is not None and (landed is None or first.pts != landed):
                landed = first.pts
                yield (
                    back_s or 0.0,
                    Decoding(video=video, packets=chain([first], packets), wanted=ticks),
                )


def _land(video: VideoContainer, seek_to: int | None, *, latest: int) -> Iterator[Packet]:
    """Seek, and list the packets from the first key frame on.

    None come if the seek fails, or lands on a key frame that is shown after `latest`.
    """
    if seek_to is None:
        yield from video.iter_packets()
        return
    try:
        video.container.seek(seek_to, stream=video.stream)
    except FFmpegError:
        return
    packets = video.iter_packets()
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None:
            if packet.pts <= latest:
                yield packet
                yield from packets
            return


@dataclass(frozen=True, kw_only=True)
class VideoLoss:
    """The loss at the end of a file."""

    is_cut_off: bool
    """True if the file ends early, so that the recording may have gone on for any time."""
    seconds: float
    """Seconds that are lost, as far as they are known."""
    words: str
    """Words for a report, in one line."""


@dataclass(frozen=True, kw_only=True)
class SourceVideo:
    """A video's table of frames; the picture is as a screen shows it, turned upright."""

    path: Path
    width: int
    height: int
    fps: float
    """The rate that most frames follow (`video_rate.py`), not the container's average."""
    time_base: Fraction
    """Seconds per tick."""
    ticks: Int64[np.ndarray, " frames"]
    """Times at which the frames are shown, in order."""
    loss: VideoLoss | None = None

    @property
    def is_cut_off(self) -> bool:
        """Tell whether the file ends before the recording did."""
        return self.loss is not None and self.loss.is_cut_off

    def __len__(self) -> int:
        return len(self.ticks)

    def edges_ns(self, start_ns: int) -> Int64[np.ndarray, " edges"]:
        """Find when each frame is shown, and when the last one's row ends.

        Args:
            start_ns: When the first frame is shown, on the clock that is asked for.
        """
        seconds = [int(tick) * self.time_base for tick in self.ticks - self.ticks[0]]
        seconds.append(seconds[-1] + 1 / frame_rate(self.fps))
        return np.array([start_ns + round(time * 10**9) for time in seconds], dtype=np.int64)

    def find_unsteady(self) -> int | None:
        """Find the first frame that is half a frame or more off a constant rate.

        Half a frame of room: Matroska rounds times to milliseconds.
        """
        unsteady = np.abs(self._drift()) > 0.5
        return int(np.argmax(unsteady)) if unsteady.any() else None

    def check_constant_rate(self) -> None:
        """Refuse a video whose frames are not shown at a constant rate.

        Raises:
            ShardError: If a frame is half a frame or more off.
        """
        frame = self.find_unsteady()
        if frame is not None:
            raise ShardError(
                f"{self.path} has no constant frame rate: frame {frame} is "
                f"{self._drift()[frame]:+.1f} frames off at {self.fps:.3f} fps; "
                "re-encode it with ffmpeg -fps_mode cfr"
            )

    def _drift(self) -> Float64[np.ndarray, " frames"]:
        ticks_per_frame = float(1 / (frame_rate(self.fps) * self.time_base))
        return (self.ticks - self.ticks[0]) / ticks_per_frame - np.arange(len(self))

    def cut(self, start: int, stop: int) -> "SourceVideo":
        """Keep the frames from `start` up to `stop` (excluded)."""
        return replace(self, ticks=self.ticks[start:stop])

    def read(self) -> Iterator[av.VideoFrame]:
        """Decode the frames as a screen shows them; one whose tick is listed twice comes twice.

        Raises:
            ShardError: If the video is damaged there.
        """
        ticks, repeats = np.unique(self.ticks, return_counts=True)
        frames = iter_frames_at(self.path, ticks.tolist(), time_base=self.time_base)
        shown = show_pictures(frames, path=self.path)
        for frame, number in zip(shown, repeats.tolist(), strict=True):
            yield from [frame] * number


def read_video_table(path: Path) -> SourceVideo:
    """Read a video's table, decoding its first frame and, if it is cut off, its end.

    Frames that the file lists and does not hold whole are left out at its end, and are `loss`; in
    its middle they are found when they are read. Those that an edit list hides are no part of it.

    Raises:
        ShardError: If it is not a video, no frame of it can be shown, or its times jump back.
    """
    with open_container(path) as video:
        stream = video.stream
        rows = [
            _Row(tick=packet.pts, is_key=packet.is_keyframe, is_whole=not packet.is_corrupt)
            for packet in video.iter_packets()
            if packet.pts is not None and not packet.is_discard
        ]
        stated, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
        kind, stream_id = video.container.format.name, stream.id
        # The stream's own count has the frames that an edit list hides; only an mp4 lists all.
        listed = [entry for entry in stream.index_entries if entry.size and not entry.is_discard]
        num_listed = max(len(rows), len(listed) if "mp4" in kind else 0)
    if not rows or time_base is None:
        raise ShardError(f"{path} holds no frame", cause="video")
    _check_times(path, rows, time_base)
    is_cut = is_cut_off(path, container=kind, stream_id=stream_id)
    whole, is_open = rows, is_unfinished(path)
    if is_cut or is_open or not rows[-1].is_whole:
        # Of a transport stream's last frame nothing but its end says that it is whole.
        candidates = rows[:-1] if "mpegts" in kind else rows
        whole = _drop_bad_end(path, [row for row in candidates if row.is_whole], time_base)
    is_cut |= is_open and len(whole) < len(rows)
    ticks = np.array(sorted(row.tick for row in whole), dtype=np.int64)
    rate = find_video_rate(ticks, time_base, stated=stated)
    if rate is None:
        raise ShardError(f"{path} holds too few frames to tell their rate", cause="video")
    width, height = _measure_shown(path)
    return SourceVideo(
        path=path,
        width=width,
        height=height,
        fps=float(rate),
        time_base=time_base,
        ticks=ticks,
        loss=_describe_loss(path, len(whole), num_listed, float(rate), is_cut=is_cut),
    )


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A frame as it is stored."""

    tick: int
    is_key: bool
    is_whole: bool


def _measure_shown(path: Path) -> tuple[int, int]:
    frame = read_first_frame(path)
    turns = [name for name, _ in list_corrections(frame, path=path)]
    if "transpose" in turns:
        return frame.height, frame.width
    return frame.width, frame.height


def _check_times(path: Path, rows: Sequence[_Row], time_base: Fraction) -> None:
    """Check that key frames follow each other in time, as they are stored.

    Raises:
        ShardError: If two recordings stand one behind the other, each on a clock of its own.
    """
    keys = [row.tick for row in rows if row.is_key]
    for earlier, later in pairwise(keys):
        if later <= earlier:
            raise ShardError(
                f"{path}: its times jump back from {float(earlier * time_base):.2f} to "
                f"{float(later * time_base):.2f} s; write it anew: "
                f"ffmpeg -i {path.name} -c copy {path.stem}.mkv",
                cause="video",
            )


def _drop_bad_end(path: Path, rows: list[_Row], time_base: Fraction) -> list[_Row]:
    """Keep the frames up to the first one of the end that does not decode, or is not there.

    Raises:
        ShardError: If there is none.
    """
    stop = len(rows)
    for first in reversed([place for place, row in enumerate(rows) if row.is_key]):
        key = rows[first].tick
        group = sorted(row.tick for row in rows[first:stop] if row.tick >= key)
        if number := count_whole(path, group, time_base=time_base):
            last = _find_hole([row.tick for row in rows[:stop] if row.tick <= group[number - 1]])
            return [row for row in rows[:stop] if row.tick <= last]
        stop = first
    raise ShardError(f"{path}: not one frame of it can be decoded", cause="video")


def _find_hole(ticks: Sequence[int]) -> int:
    """Find the last frame before a hole that the end of the file left, or the last of all.

    A frame that is stored behind others that are shown after it is lost before them. Where the
    hole has more frames behind it than are ever stored ahead, nothing is lost: the rate varies.

    Args:
        ticks: In the order in which they are stored.
    """
    stored = np.array(ticks, dtype=np.int64)
    num_ahead = _count_ahead(stored)
    shown = np.sort(stored)
    steps = np.diff(shown[-_LONGEST_REORDER:])
    last_steps = np.diff(shown[-num_ahead - 1 :])
    holes = np.flatnonzero(last_steps > 1.5 * np.median(steps)) if len(last_steps) else last_steps
    return int(shown[-num_ahead - 1 :][holes[0]] if len(holes) else shown[-1])


def _count_ahead(stored: Int64[np.ndarray, " frames"]) -> int:
    """Count the frames that are stored before a frame and shown after it, at most."""
    num_ahead = np.zeros(len(stored), dtype=np.int64)
    for distance in range(1, min(_LONGEST_REORDER, len(stored))):
        num_ahead[distance:] += stored[:-distance] > stored[distance:]
    return int(num_ahead.max())


def _describe_loss(
    path: Path, number: int, listed: int, fps: float, *, is_cut: bool
) -> VideoLoss | None:
    if number == listed and not is_cut:
        return None
    kept = f"its first {number} frames ({number / fps:.2f} s) are whole"
    lost = [f"{listed - number} frames after them are damaged or missing"] * (listed > number)
    later = ["what came later is not in the file"] * is_cut
    return VideoLoss(
        is_cut_off=is_cut,
        seconds=(listed - number) / fps,
        words=f"{path} is {'cut off' if is_cut else 'damaged at its end'}: {kept}; "
        + ", and ".join([*lost, *later]),
    )
