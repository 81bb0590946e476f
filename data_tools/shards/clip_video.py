"""Make the square video of a clip from a stretch of a recorded video.

    planned clip ─► frames ─► boxes blacked out, the game cut out ─► scaled ─► encoded ─► record

FFmpeg does all of it in the colours that the video is stored in: it blacks boxes out and cuts the
area of the game out at the original size, then scales the picture. It averages as `squash` does,
which makes the frames that a policy sees at play.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from data_tools.shards.planned_clips import Dropped, PlannedClip
from data_tools.shards.shown_picture import PictureFilter, filter_pictures
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.clip_record import Record, encode_record
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.manifest import ManifestRow, describe_record
from nitrogen_train.data.schema import Box, ShardError, Split

# What a reader takes an H.264 video without tags for; most that are 720 lines high say BT.709.
_MATRIX = "bt601"


def encode_stretch(
    video: SourceVideo, *, fps: float, size: int, masked_boxes: Sequence[Box], area: Box | None
) -> bytes:
    """Decode a video's frames, squash them and encode them to an mp4.

    Args:
        video: Just the frames that are wanted; a frame that it lists twice is stored twice.
        fps: Of the mp4.
        size: Side of its square picture, in pixels.
        masked_boxes: Blacked out, in pixels of the original.
        area: What is kept of the original; all of it if `None`.

    Raises:
        ShardError: If the video is damaged there, or its picture changes size.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, fps=fps, width=size, height=size) as writer:
            filters = _describe_filters(size, masked_boxes, area)
            for picture in filter_pictures(video.read(), filters, path=video.path):
                writer.write_picture(picture)
        return path.read_bytes()


def _describe_filters(
    size: int, masked_boxes: Sequence[Box], area: Box | None
) -> list[PictureFilter]:
    filters: list[PictureFilter] = [
        ("drawbox", f"x={x}:y={y}:w={width}:h={height}:color=black:t=fill")
        for x, y, width, height in masked_boxes
    ]
    if area is not None:
        x, y, width, height = area
        # To the pixel, also where colours are stored for pairs of pixels.
        filters.append(("crop", f"{width}:{height}:{x}:{y}:exact=1"))
    return [
        *filters,
        ("scale", f"{size}:{size}:flags=area:out_color_matrix={_MATRIX}:out_range=tv:threads=1"),
        ("format", "yuv420p"),
    ]


StoredClip = tuple[bytes, ManifestRow]
"""A record's bytes and its row, whose place in a shard is still open."""


@dataclass(frozen=True, kw_only=True)
class ClipToStore:
    """A clip whose video is encoded, before it is laid out as a record."""

    record: Record
    split: Split

    def store(self) -> StoredClip:
        """Lay the clip out as a record, and describe it."""
        data = encode_record(self.record)
        return data, describe_record(self.record, data, shard="", offset=0, split=self.split)


ReadyClip = ClipToStore | StoredClip
"""A clip that the writer of shards takes: one that it stores, or one that is a record already."""


def encode_clip(clip: PlannedClip) -> ClipToStore | Dropped:
    """Decode a clip's stretch of its video and encode it; drop the clip if it is damaged."""
    metadata = clip.metadata
    try:
        video = encode_stretch(
            clip.video,
            fps=metadata.fps,
            size=metadata.width,
            masked_boxes=() if clip.is_squashed else metadata.masked_boxes,
            area=None if clip.is_squashed else metadata.area,
        )
    except ShardError as error:
        return Dropped(
            name=metadata.clip_id,
            game=metadata.game,
            seconds=metadata.num_frames / metadata.fps,
            reason="the video is damaged",
            detail=str(error),
        )
    record = Record(metadata=metadata, actions=clip.actions, video=video)
    return ClipToStore(record=record, split=clip.split)
