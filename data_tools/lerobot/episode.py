"""A clip of ours as an episode of LeRobot's: its rows as columns, its statistics, its facts."""

from dataclasses import dataclass

import numpy as np

from data_tools.lerobot.clip_facts import ClipFacts, list_analogue_triggers
from data_tools.lerobot.rows import lay_out_rows
from data_tools.lerobot.statistics import (
    Statistics,
    choose_frames,
    describe_pictures,
    describe_rows,
)
from nitrogen_train.data.decode import choose_decoder
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.records import Record
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip

CAMERA = "observation.images.screen"
"""The feature that holds the pictures."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A clip, all but its place in the exported data set."""

    facts: ClipFacts
    features: dict[str, np.ndarray]
    """One entry per row: `action`, `valid`, and the pull of each trigger."""
    statistics: dict[str, Statistics]
    """Of the features and of the pictures."""
    video: bytes


def read_episode(row: ManifestRow, *, dataset: str) -> Episode:
    """Read a clip and describe it.

    Args:
        row: Of the manifest.
        dataset: Folder or URL of the data set.

    Raises:
        ShardError: If the record is damaged, or is not one of ours.
    """
    clip = read_clip(Storage(dataset), row)
    if not isinstance(clip, Record):
        raise ShardError(
            f"clip {row.clip_id!r} is a foreign record that was only indexed; export takes data "
            "sets that `nitrogen-data shard` or `ingest` made"
        )
    features = lay_out_rows(clip.actions, get_space(row.action_space))
    frames = choose_decoder().decode(clip.video, indices=choose_frames(row.num_frames))
    statistics = {
        name: describe_rows(values.reshape(len(values), -1).astype(np.float64))
        for name, values in features.items()
    }
    return Episode(
        facts=ClipFacts(
            metadata=clip.metadata,
            split=row.split,
            analogue_triggers=list_analogue_triggers(clip.actions),
        ),
        features=features,
        statistics={**statistics, CAMERA: describe_pictures(frames)},
        video=clip.video,
    )
