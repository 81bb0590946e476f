"""Stretches of play to clips of equal length."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from data_tools.names import safe_key
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import PlannedClip
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.data.action_file import ClipActions, idle_rows
from nitrogen_train.data.schema import Box, ClipMetadata, Labels, Provenance


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive frames of one video, each with its row."""

    name: str
    """What its clips are named after, unique in the data set."""
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
    """Blacked out, inside the picture."""
    area: Box | None = None
    """What is kept of the picture; all of it if `None`."""


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
        _cut_clip(stretch, f"{key}-{index:04d}", start, stop, settings.size)
        for index, (start, stop) in enumerate(pairwise(cuts.tolist()))
    ]


def _cut_clip(stretch: Stretch, name: str, start: int, stop: int, size: int) -> PlannedClip:
    actions, video = stretch.actions.cut(start, stop), stretch.video
    return PlannedClip.pack(
        metadata=ClipMetadata(
            clip_id=name,
            source=stretch.source,
            game=stretch.game,
            session_id=stretch.session_id,
            fps=video.fps,
            num_frames=stop - start,
            width=size,
            height=size,
            action_space=stretch.action_space,
            idle_share=float(idle_rows(actions.rows).mean()),
            licence=stretch.licence,
            masked_boxes=stretch.masked_boxes,
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
    )
