"""Take from a video what reading an overlay needs: a few whole frames, and a box of all frames.

Nothing of a frame is turned into RGB: the planes as they were decoded are cut.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from jaxtyping import Int64, UInt8

from data_tools.shards.shown_picture import show_pictures
from data_tools.shards.source_video import SourceVideo
from data_tools.shards.video_container import VideoContainer, open_container
from data_tools.watching.reading import Box
from data_tools.watching.video_colours import VideoMoment
from nitrogen_train.data.schema import ShardError

_NUM_MOMENTS = 16
_ENOUGH_MOMENTS = 8
_SHORT_S = 15.0
_SHARE, _SHARE_OF_SHORT = 0.3, 0.7
"""Of a video that is decoded for the sake of moments; what happens in a second is much alike."""
_LARGEST_MOMENTS = 40_000_000
"""Pixels of all moments together, so that large pictures need no more memory than small ones."""
_MOST_DAMAGES = 64
"""Places at which decoding begins anew in one video."""
_DIRECT_FORMATS = frozenset({"yuv420p", "yuvj420p"})
_FULL_RANGE = 2
"""FFmpeg's number; HDR has it once it is shown, whatever the video says of itself."""


def read_moments(video: SourceVideo) -> list[VideoMoment]:
    """Decode a few frames from all over a video, most of them at key frames, which cost least."""
    number = max(6, min(_NUM_MOMENTS, _LARGEST_MOMENTS // max(1, video.width * video.height)))
    with open_container(video.path) as opened:
        frames = list(iter_key_frames(opened, video, number))
        if len(frames) < min(_ENOUGH_MOMENTS, len(video)):
            keys = [frame.pts for frame in frames if frame.pts is not None]
            frames = list(iter_spread_frames(opened, video, keys))
    return [
        _cut_moment(frame)
        for frame in show_pictures(iter(frames), path=video.path)
        if (frame.width, frame.height) == (video.width, video.height)
    ]


def iter_key_frames(
    opened: VideoContainer, video: SourceVideo, number: int
) -> Iterator[VideoFrame]:
    """Decode the key frames before places that are spread over a video, each once.

    Args:
        opened: The video, open.
        video: What of it is wanted.
        number: Places.
    """
    seen: set[int] = set()
    for place in np.linspace(0, len(video) - 1, number).astype(int):
        try:
            opened.container.seek(int(video.ticks[place]), stream=opened.stream)
            frame = next(opened.container.decode(opened.stream), None)
        except FFmpegError:
            continue
        if frame is None or frame.pts is None or frame.is_corrupt or frame.pts in seen:
            continue
        if video.ticks[0] <= frame.pts <= video.ticks[-1]:
            seen.add(frame.pts)
            yield frame


def iter_spread_frames(
    opened: VideoContainer,
    video: SourceVideo,
    keys: Sequence[int],
    *,
    share: float = 1 / 8,
    number: int = _NUM_MOMENTS,
) -> Iterator[VideoFrame]:
    """Decode on after key frames, a little of the video in all, where there are few of them.

    Args:
        opened: The video, open.
        video: What of it is wanted.
        keys: Ticks of its key frames.
        share: Of the video that is decoded at most.
        number: Frames that come about.
    """
    starts = list(keys) or [int(video.ticks[0])]
    each = max(2, int(len(video) * share) // len(starts))
    step = max(1, each * len(starts) // number)
    for start in starts:
        try:
            opened.container.seek(int(start), stream=opened.stream)
            count = 0
            for frame in opened.container.decode(opened.stream):
                # The key frame of a part may lie long before it, where the pad is elsewhere.
                if frame.pts is None or frame.pts < video.ticks[0]:
                    continue
                if frame.pts > video.ticks[-1] or count == each:
                    break
                if count % step == 0 and not frame.is_corrupt:
                    yield frame
                count += 1
        except FFmpegError:
            continue


def iter_moments(video: SourceVideo, number: int) -> Iterator[tuple[int, VideoFrame]]:
    """Decode frames from all over a video with their rows, in no order, each once.

    Key frames cost least. Where there are few of them, some of what follows each is decoded, a
    third of the video in all.

    Args:
        video: The video, or a part of it.
        number: Frames that are wanted.
    """
    with open_container(video.path) as opened:
        keys: list[int] = []
        for frame in show_pictures(iter_key_frames(opened, video, number), path=video.path):
            keys.append(int(frame.pts or 0))
            yield _find_row(video, frame), frame
        if len(keys) >= number // 2:
            return
        share = _SHARE if len(video) / video.fps >= _SHORT_S else _SHARE_OF_SHORT
        spread = iter_spread_frames(opened, video, sorted(keys), share=share, number=number)
        for frame in show_pictures(spread, path=video.path):
            if frame.pts not in keys:
                yield _find_row(video, frame), frame


def _find_row(video: SourceVideo, frame: VideoFrame) -> int:
    return int(np.searchsorted(video.ticks, frame.pts or 0))


def iter_rows(video: SourceVideo) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the frames of a video with their rows, past those that are damaged.

    After a damaged frame decoding goes on at the next key frame; the rows between them do not come,
    nor do frames of another size than the video's.
    """
    row, keys = 0, None
    for _ in range(_MOST_DAMAGES):
        try:
            for frame in video.cut(row, len(video)).read():
                if frame.pts != video.ticks[row]:
                    return
                if (frame.width, frame.height) == (video.width, video.height):
                    yield row, frame
                row += 1
            return
        except ShardError:
            keys = _list_keys(video) if keys is None else keys
            later = keys[keys > video.ticks[row]]
            if len(later) == 0:
                return
            row = int(np.searchsorted(video.ticks, later[0]))


def _list_keys(video: SourceVideo) -> Int64[np.ndarray, " keys"]:
    """List the ticks of a video's key frames, in order."""
    with open_container(video.path) as opened:
        keys = {p.pts for p in opened.iter_packets() if p.is_keyframe and p.pts is not None}
    return np.array(sorted(keys & set(video.ticks.tolist())), np.int64)


def _cut_moment(frame: VideoFrame) -> VideoMoment:
    height, width = frame.height // 2 * 2, frame.width // 2 * 2
    luma, u, v = cut_planes(frame, (0, 0, width, height))
    is_full_range = int(frame.color_range or 0) == _FULL_RANGE
    return VideoMoment(luma.copy(), u.copy(), v.copy(), is_full_range)


def cut_planes(frame: VideoFrame, box: Box) -> list[UInt8[np.ndarray, "h w"]]:
    """Cut a box on even pixels from the planes of a frame, as views."""
    if frame.format.name not in _DIRECT_FORMATS:
        frame = frame.reformat(format="yuv420p")
    planes = []
    for plane, step in zip(frame.planes, (1, 2, 2), strict=True):
        left, top, right, bottom = (edge // step for edge in box)
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        planes.append(rows[top:bottom, left:right])
    return planes


def shrink_plane(plane: UInt8[np.ndarray, "h w"], factor: int) -> UInt8[np.ndarray, "k l"]:
    """Take means of two by two pixels, as often as `factor`, a power of two, says."""
    while factor > 1:
        total = plane[::2, ::2].astype(np.uint16)
        total += plane[1::2, ::2]
        total += plane[::2, 1::2]
        total += plane[1::2, 1::2]
        plane = ((total + 2) >> 2).astype(np.uint8)
        factor //= 2
    return plane
