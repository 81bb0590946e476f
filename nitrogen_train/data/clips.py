"""Clips: fetched by one ranged read, decoded as far as windows need them."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import valid_runs
from nitrogen_train.data.decode import VideoDecoder
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.report import LoadReport
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip
from nitrogen_train.picture import squash


@dataclass(frozen=True, kw_only=True)
class EncodedClip:
    """A clip as it was fetched, its video still encoded: about 3 MB for 20 s."""

    clip_id: str
    game: str
    video: bytes
    values: Float32[np.ndarray, "rows a"]
    """Actions in model space."""
    valid: Bool[np.ndarray, " rows"]
    frame_step: int
    """Frames of the video per frame of the clip."""


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """Some of a clip's frames, or all, and all of its actions."""

    clip_id: str
    game: str
    index: Int64[np.ndarray, " kept"]
    """Which frames of the clip are kept, increasing."""
    frames: UInt8[np.ndarray, "kept h w 3"]
    values: Float32[np.ndarray, "rows a"]
    """Actions in model space."""
    valid: Bool[np.ndarray, " rows"]

    def copy_frames(
        self, indices: Int64[np.ndarray, " f"], frames: UInt8[np.ndarray, "f h w 3"]
    ) -> None:
        """Copy frames of the clip by their indices, which must be among those kept."""
        places = np.searchsorted(self.index, indices)
        # Any other mode would copy twice.
        np.take(self.frames, places, axis=0, out=frames, mode="clip")


class ClipReader:
    """Fetches and decodes; holds nothing but what it counts."""

    def __init__(self, *, space: ActionSpace, decoder: VideoDecoder, image_size: int) -> None:
        """Fix what all clips share.

        Args:
            space: The layout of the actions.
            decoder: Opened per call, in the process that reads.
            image_size: Frames are squashed to this many pixels a side where they differ.
        """
        self._space = space
        self._decoder = decoder
        self._image_size = image_size
        self.report = LoadReport()
        self.frame_bytes = 3 * image_size**2
        """Of a decoded frame."""

    def fetch(self, storage: Storage, row: ManifestRow, *, rows_per_action: int = 1) -> EncodedClip:
        """Read a clip with one ranged read, and check all of it but the video.

        Args:
            storage: Where its data set lies.
            row: Its own of the manifest.
            rows_per_action: Reduce its rate by this factor.

        Raises:
            ShardError: If it cannot be had, however often one tries, or has not the valid rows
                that the manifest lists.
            OSError: If it could not be had now.
        """
        started = time.perf_counter()
        record = read_clip(storage, row)
        self.report.read_s += time.perf_counter() - started
        self.report.bytes_read += row.size
        # Windows are counted by the manifest alone.
        valid = record.actions.valid
        if len(valid) != row.num_frames or valid_runs(valid) != row.valid_runs:
            raise ShardError(
                f"{row.shard}, byte {row.offset}: the valid rows of clip {row.clip_id!r} are "
                "not those that the manifest lists: shard again"
            )
        actions = record.actions.join(rows_per_action, self._space)
        return EncodedClip(
            clip_id=row.clip_id,
            game=row.game,
            video=record.video,
            values=self._space.encode(actions.rows),
            valid=actions.valid,
            frame_step=rows_per_action,
        )

    def decode(
        self, clip: EncodedClip, indices: Int64[np.ndarray, " kept"] | None = None
    ) -> DecodedClip:
        """Decode some frames of a clip, in increasing order, or all of them.

        Raises:
            DecodeError: If a frame cannot be had.
        """
        started = time.perf_counter()
        if indices is None and clip.frame_step > 1:
            indices = np.arange(len(clip.valid))
        frames = self._decoder.decode(
            clip.video, indices=None if indices is None else (indices * clip.frame_step).tolist()
        )
        if frames.shape[1:3] != (self._image_size, self._image_size):
            frames = np.stack([squash(frame, self._image_size) for frame in frames])
        self.report.decode_s += time.perf_counter() - started
        self.report.frames_decoded += len(frames)
        return DecodedClip(
            clip_id=clip.clip_id,
            game=clip.game,
            index=np.arange(len(frames)) if indices is None else indices,
            frames=frames,
            values=clip.values,
            valid=clip.valid,
        )

    def blank(self) -> DecodedClip:
        """Make a clip of one black frame, none of whose rows is valid."""
        side = self._image_size
        return DecodedClip(
            clip_id="",
            game="",
            index=np.zeros(1, np.int64),
            frames=np.zeros((1, side, side, 3), np.uint8),
            values=np.zeros((1, self._space.action_dim), np.float32),
            valid=np.zeros(1, bool),
        )
