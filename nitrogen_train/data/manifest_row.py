"""What a manifest says of one clip."""

import hashlib
from dataclasses import dataclass

from nitrogen_train.data.action_file import valid_runs
from nitrogen_train.data.records import Record
from nitrogen_train.data.schema import Labels, Split


@dataclass(frozen=True, kw_only=True)
class ManifestRow:
    """One clip."""

    shard: str
    """File name of the tar, in the data set's folder."""
    offset: int
    """Of the clip's record in the tar, in bytes."""
    size: int
    """Of the record with its headers: one ranged read gets all of it."""
    clip_id: str
    num_frames: int
    num_valid_rows: int
    valid_runs: list[int]
    """Runs of valid rows as flattened [start, stop) pairs: windows are counted from these alone."""
    fps: float
    game: str
    source: str
    session_id: str
    action_space: str
    labels: Labels
    width: int
    height: int
    source_width: int
    """Of the original picture, before it was squashed."""
    source_height: int
    idle_share: float
    licence: str
    split: Split
    sha256: str
    """Of the record's bytes, in hexadecimal."""


def describe_record(
    record: Record, data: bytes, *, shard: str, offset: int, split: Split
) -> ManifestRow:
    """Say of a clip what the manifest keeps.

    Args:
        record: The clip.
        data: The bytes it is stored as.
        shard: File name of the tar it is in.
        offset: Where in it, in bytes.
        split: What the clip is for.
    """
    metadata, provenance, actions = record.metadata, record.metadata.provenance, record.actions
    return ManifestRow(
        shard=shard,
        offset=offset,
        size=len(data),
        clip_id=metadata.clip_id,
        num_frames=metadata.num_frames,
        num_valid_rows=int(actions.valid.sum()),
        valid_runs=valid_runs(actions.valid),
        fps=metadata.fps,
        game=metadata.game,
        source=metadata.source,
        session_id=metadata.session_id,
        action_space=metadata.action_space,
        labels=provenance.labels,
        width=metadata.width,
        height=metadata.height,
        source_width=provenance.width,
        source_height=provenance.height,
        idle_share=metadata.idle_share,
        licence=metadata.licence,
        split=split,
        sha256=hashlib.sha256(data).hexdigest(),
    )
