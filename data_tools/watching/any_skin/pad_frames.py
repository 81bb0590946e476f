"""Decode the frames of a video where its controller is, resampled to the size of a crop.

    video ─► frames ─► planes around the controller ─► PadCrop.resample ─► chunks of frames
      ─► moments: frames from all over a stretch

Frames of a short video are kept, so that it is decoded once.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Int64

from data_tools.shards.source_video import SourceVideo
from data_tools.watching.video_moments import cut_planes, iter_moments, iter_rows
from nitrogen_train.overlay_reader.pad_crops import PadCrop

_MOMENTS = 96
"""Frames of a stretch that rest is told from."""
_CHUNK = 32
_MOST_KEPT = 1500
"""Frames of a video that are kept as they are decoded: 90 MB."""
Chunk = tuple[Int64[np.ndarray, " f"], np.ndarray, np.ndarray]
"""Rows, and the luma and the chroma of their crops."""


def keep_frames(video: SourceVideo, part: SourceVideo, crop: PadCrop) -> tuple[Chunk, ...]:
    """Decode a stretch whose video is short enough to keep its frames; of others, none."""
    if len(video) > _MOST_KEPT:
        return ()
    return tuple(
        (found, np.rint(luma).astype(np.uint8), np.rint(chroma).astype(np.uint8))
        for found, luma, chroma in iter_chunks(part, crop)
    )


def iter_chunks(video: SourceVideo, crop: PadCrop) -> Iterator[Chunk]:
    """Decode a video and resample the controller, some frames together, with their rows.

    Rows that cannot be decoded do not come.
    """
    rows: list[int] = []
    planes: list[list[np.ndarray]] = []
    for row, frame in iter_rows(video):
        rows.append(row)
        planes.append(_cut(frame, crop))
        if len(rows) == _CHUNK:
            yield np.array(rows), *_resample(planes, crop)
            rows, planes = [], []
    if rows:
        yield np.array(rows), *_resample(planes, crop)


def pick_moments(decoded: Sequence[Chunk]) -> tuple[np.ndarray, np.ndarray]:
    """Pick moments from all over a stretch that is decoded."""
    luma, chroma = (np.concatenate([chunk[part] for chunk in decoded]) for part in (1, 2))
    rows = np.linspace(0, len(luma) - 1, min(_MOMENTS, len(luma))).astype(int)
    return luma[rows].astype(np.float32), chroma[rows].astype(np.float32)


def decode_moments(part: SourceVideo, crop: PadCrop) -> tuple[np.ndarray, np.ndarray] | None:
    """Decode moments from all over a long stretch; None where nothing can be decoded."""
    moments = [
        _cut(frame, crop)
        for _, frame in iter_moments(part, _MOMENTS)
        if (frame.width, frame.height) == (part.width, part.height)
    ]
    return _resample(moments, crop) if moments else None


def _cut(frame: VideoFrame, crop: PadCrop) -> list[np.ndarray]:
    return [plane.copy() for plane in cut_planes(frame, crop.outer)]


def _resample(planes: list[list[np.ndarray]], crop: PadCrop) -> tuple[np.ndarray, np.ndarray]:
    return crop.resample(*(np.stack(plane) for plane in zip(*planes, strict=True)))
