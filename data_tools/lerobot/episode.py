"""A clip of ours as an episode of LeRobot's: its rows as columns, its statistics, its facts."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_tools.lerobot.clip_facts import TRIGGER_CONTROLS, ClipFacts, list_analogue_triggers
from data_tools.lerobot.statistics import (
    Statistics,
    choose_frames,
    describe_pictures,
    describe_rows,
)
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions
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


def lay_out_rows(actions: ClipActions, space: ActionSpace) -> dict[str, np.ndarray]:
    """Lay rows out as features; `read_rows` is the inverse.

    Returns:
        `action` in physical units, in the order of the layout; `valid`; and of each trigger that
        the layout has its pull, or 0 and 1 where it was recorded as a button.
    """
    buttons = actions.rows.buttons.astype(np.float32)
    features: dict[str, np.ndarray] = {
        "action": np.concatenate([buttons, actions.rows.sticks], axis=1),
        "valid": actions.valid,
    }
    for name, control in TRIGGER_CONTROLS.items():
        if control in space.buttons:
            pull = getattr(actions, name)
            features[name] = buttons[:, space.index(control)] if pull is None else pull
    return features


def describe_features(space: ActionSpace) -> dict[str, dict[str, object]]:
    """Describe the features of the rows, as `info.json` does."""
    triggers = [name for name, control in TRIGGER_CONTROLS.items() if control in space.buttons]
    return {
        "action": {
            "dtype": "float32",
            "shape": [space.action_dim],
            "names": list(space.controls),
        },
        "valid": {"dtype": "bool", "shape": [1], "names": None},
        **{name: {"dtype": "float32", "shape": [1], "names": None} for name in triggers},
    }


def to_columns(features: dict[str, np.ndarray]) -> dict[str, pa.Array]:
    """Turn features into columns, vectors into lists of fixed size."""
    columns: dict[str, pa.Array] = {}
    for name, values in features.items():
        flat = pa.array(values.ravel())
        columns[name] = (
            pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim > 1 else flat
        )
    return columns
