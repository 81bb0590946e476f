"""Frames by the times at which they are shown: exactly these, whole, or none.

    seek ─► first key frame ─► is it shown after the first frame wanted? further back, and again
      ─► decode ─► is a frame damaged, or does it lack what it refers to? further back, and again

A file is sought by the time of decoding (mp4), of showing (mkv) or by guess (ts), so where a seek
lands is looked at, not trusted. From a key frame on, all that is shown after it decodes; what is
stored after it and shown before (an open group's leading pictures) may not, and is passed over.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from data_tools.shards.video_container import VideoContainer, open_container
from nitrogen_train.data.schema import ShardError

_RETREATS_S = (0, 1, 10, 60, None)
"""How far before the first frame a try begins; None is the start of the file."""
_ENOUGH_S = 10
"""Damage that is met again from so much further back is damage, and no want of references."""


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
        """When the first frame is shown that cannot be decoded; None if all can."""
        return None if self._num_good is None else self._fed[self._num_good]

    def frames(self) -> Iterator[VideoFrame]:
        """Decode up to the last frame that is wanted, or to the first fault.

        A fault may turn up after a frame that refers to the damaged one: `good_ticks` tells.
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
