"""Cut windows from decoded clips, and stack them into a `PolicyBatch`.

    decoded clip, last frames ─► windows, all of a stretch at once ─► copied into a batch's arrays

A copy per frame, and one of the rows, are all that a window costs on its own.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import WindowId
from nitrogen_train.data.batch_memory import BatchArrays
from nitrogen_train.data.clip_reader import DecodedClip
from nitrogen_train.data.windows import WindowShape


class Window(NamedTuple):
    """One sample before it is copied into a batch."""

    id: WindowId
    """Window that is delivered."""
    planned: WindowId
    """Window that the plan has here; another stands in where it cannot be read."""
    game: str
    pictures: UInt8[np.ndarray, "kept h w 3"]
    """Frames of the clip, of which it sees some."""
    places: list[int]
    """Places in `pictures` of the frames that it observes, oldest first."""
    num_missing: int
    """Of these, the oldest, which lie before the clip's start."""
    values: Float32[np.ndarray, "supervised a"]
    """Its supervised rows in model space, at most as many as the horizon."""


def cut_windows(
    clip: DecodedClip,
    frames: Int64[np.ndarray, " n"],
    *,
    shape: WindowShape,
    source: str,
    planned: Sequence[WindowId] | None = None,
) -> list[Window]:
    """Cut some windows of a clip.

    Args:
        clip: Decoded as far as they need it.
        frames: Their last observed frames.
        shape: How windows are cut.
        source: Name of the data set.
        planned: Windows that they stand in for; None: for nothing but themselves.
    """
    indices = shape.frame_indices(frames)
    places = clip.find_frames(np.maximum(indices, 0))
    starts = frames + shape.action_offset
    stops = starts + shape.count_rows(clip.valid, frames)
    ids = [WindowId(source, clip.clip_id, frame) for frame in frames.tolist()]
    values = [
        clip.values[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    num_missing = (indices < 0).sum(axis=1)
    columns = ids if planned is None else planned, places.tolist(), num_missing.tolist(), values
    return [
        Window(name, instead_of, clip.game, clip.frames, seen, missing, rows)
        for name, instead_of, seen, missing, rows in zip(ids, *columns, strict=True)
    ]


class WindowCollator:
    """Copies windows into the arrays of a batch."""

    def __init__(self, *, space: ActionSpace, games: Sequence[str], seed: int) -> None:
        """Fix what all windows share.

        Args:
            space: The layout of the actions.
            games: Names in the order of their ids, from 1; other games are 0, unconditional.
            seed: The run's, from which each sample's is derived.
        """
        self._space = space
        self._game_ids = {name: index for index, name in enumerate(games, start=1)}
        self._seed = seed
        self.action_dim = space.action_dim
        self.labelled_controls = int(space.label_mask.sum())
        # A masked value must be one that the network may see as an input: centred and released.
        self._neutral = np.array([0.0] * len(space.buttons) + [0.5] * len(space.sticks), np.float32)

    def collate(
        self, windows: Sequence[Window], *, occurrences: Sequence[int], out: BatchArrays
    ) -> None:
        """Fill in some samples of a batch.

        Args:
            windows: One per sample.
            occurrences: Tell the times apart that the same window is delivered.
            out: Of as many samples.
        """
        num_frames, horizon = out.frame_mask.shape[1], out.actions.shape[1]
        out.actions[:] = self._neutral
        for index, window in enumerate(windows):
            frames, pictures = out.frames[index], window.pictures
            for place, picture in enumerate(window.places):
                frames[place] = pictures[picture]
            out.actions[index, : len(window.values)] = window.values
        num_missing = np.array([window.num_missing for window in windows])
        out.frame_mask[:] = np.arange(num_frames) >= num_missing[:, None]
        num_rows = np.array([len(window.values) for window in windows])
        is_row = np.arange(horizon) < num_rows[:, None]
        np.logical_and(is_row[:, :, None], self._space.label_mask, out=out.action_mask)
        out.game_id[:] = [self._game_ids.get(window.game, 0) for window in windows]
        out.sample_seed[:] = [
            _sample_seed(self._seed, window.id, occurrence)
            for window, occurrence in zip(windows, occurrences, strict=True)
        ]


def _sample_seed(seed: int, window_id: WindowId, occurrence: int) -> int:
    name = f"{seed}/{window_id.source}/{window_id.clip_id}/{window_id.frame}/{occurrence}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
