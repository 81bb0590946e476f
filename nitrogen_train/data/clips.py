"""Clips of a data set, decoded: read by one ranged read each, kept while they are in use."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.decode import VideoDecoder
from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.records import read_record
from nitrogen_train.data.squash import squash
from nitrogen_train.data.windows import WindowShape


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set of a mixture."""

    name: str
    """Identity in window ids and logs."""
    folder: Path
    """Where its shards and its manifest lie."""
    manifest: Manifest
    """The clips that may be drawn, one split of the data set."""
    weight: float
    """Share of the samples, relative to the other sources'."""
    window: WindowShape
    """How windows are cut; only `action_offset` may differ between sources."""

    def describe(self) -> str:
        """Name what the order of this source depends on."""
        return f"{self.name}:{self.weight}:{self.window}:{self.manifest.hash}"


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """A clip as it is kept in memory."""

    clip_id: str
    game: str
    frames: UInt8[np.ndarray, "rows h w 3"]
    values: Float32[np.ndarray, "rows a"]
    """Actions in model space."""
    valid: Bool[np.ndarray, " rows"]


class ClipReader:
    """Reads windows; keeps the clips that it decoded last, up to a limit."""

    def __init__(
        self,
        *,
        space: ActionSpace,
        decoder: VideoDecoder,
        image_size: int,
        max_kept_bytes: int,
    ) -> None:
        """Set the limit on decoded clips; none is read yet.

        Args:
            space: The layout of the actions.
            decoder: Opened per clip, in the process that reads.
            image_size: Frames are squashed to this many pixels a side where they differ.
            max_kept_bytes: Decoded frames to keep.
        """
        self._space = space
        self._decoder = decoder
        self._image_size = image_size
        self._max_kept_bytes = max_kept_bytes
        self._kept: OrderedDict[tuple[str, int], DecodedClip] = OrderedDict()

    def read(self, source: Source, clip: int) -> DecodedClip:
        """Decode a clip whole, or take it from the clips kept."""
        key = (source.name, clip)
        if key not in self._kept:
            self._kept[key] = self._decode(source, clip)
            while (
                len(self._kept) > 1
                and sum(kept.frames.nbytes for kept in self._kept.values()) > self._max_kept_bytes
            ):
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _decode(self, source: Source, clip: int) -> DecodedClip:
        row = source.manifest.row(clip)
        record = read_record(
            source.folder, row.shard, offset=row.offset, size=row.size, sha256=row.sha256
        )
        frames = self._decoder.decode(record.video)
        if frames.shape[1:3] != (self._image_size, self._image_size):
            frames = np.stack([squash(frame, self._image_size) for frame in frames])
        return DecodedClip(
            clip_id=row.clip_id,
            game=row.game,
            frames=frames,
            values=self._space.encode(record.actions.rows),
            valid=record.actions.valid,
        )
