"""A planned clip to its record."""

from data_tools.shards.clip_video import encode_stretch
from data_tools.shards.planned import Dropped, PlannedClip
from nitrogen_train.data.manifest_row import ManifestRow, describe_record
from nitrogen_train.data.records import Record, encode_record
from nitrogen_train.data.schema import ShardError

EncodedClip = tuple[bytes, ManifestRow]
"""A record and its row, whose place in a shard is still open."""


def encode_clip(clip: PlannedClip) -> EncodedClip | Dropped:
    """Decode a clip's stretch of its video, and store it as a record; drop it if it is damaged."""
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
    data = encode_record(record)
    return data, describe_record(record, data, shard="", offset=0, split=clip.split)
