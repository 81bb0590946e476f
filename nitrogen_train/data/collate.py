"""Windows of decoded clips to `PolicyBatch`."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.clips import DecodedClip, Source


class Window(NamedTuple):
    """One sample before it is cut."""

    source: Source
    clip: DecodedClip
    frame: int
    """The last observed frame."""
    visit: int
    """Completed passes over the source."""


class WindowCollator:
    """Cuts windows and stacks them into a `PolicyBatch`."""

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
        self.labelled_controls = int(space.label_mask.sum())
        # A masked value must be one that the network may see as an input: centred and released.
        self._neutral = np.array([0.0] * len(space.buttons) + [0.5] * len(space.sticks), np.float32)

    def collate(
        self,
        windows: Sequence[Window],
        *,
        num_valid_in_step: int,
        supervised: int | None = None,
    ) -> PolicyBatch:
        """Build a batch.

        Args:
            windows: One per sample.
            num_valid_in_step: See `PolicyBatch`.
            supervised: How many of the windows count; the rest have an all-False mask. None: all.
        """
        cut = [self._cut(window) for window in windows]
        action_mask = np.stack([mask for _, _, _, mask in cut])
        action_mask[len(windows) if supervised is None else supervised :] = False
        ids = [WindowId(w.source.name, w.clip.clip_id, w.frame) for w in windows]
        seeds = [
            _sample_seed(self._seed, window_id, window.visit)
            for window_id, window in zip(ids, windows, strict=True)
        ]
        return PolicyBatch(
            frames=torch.from_numpy(np.stack([frames for frames, _, _, _ in cut])),
            frame_mask=torch.from_numpy(np.stack([mask for _, mask, _, _ in cut])),
            actions=torch.from_numpy(np.stack([values for _, _, values, _ in cut])),
            action_mask=torch.from_numpy(action_mask),
            game_id=torch.tensor([self._game_ids.get(w.clip.game, 0) for w in windows]),
            sample_seed=torch.tensor(seeds),
            num_valid_in_step=torch.tensor(num_valid_in_step),
            window_ids=tuple(ids),
        )

    def _cut(
        self, window: Window
    ) -> tuple[
        UInt8[np.ndarray, "f 3 h w"],
        Bool[np.ndarray, " f"],
        Float32[np.ndarray, "t a"],
        Bool[np.ndarray, "t a"],
    ]:
        shape, clip = window.source.window, window.clip
        indices = shape.frame_indices(window.frame)
        frames = clip.frames[np.maximum(indices, 0)].transpose(0, 3, 1, 2)
        rows = shape.row_mask(clip.valid, window.frame)
        values = np.tile(self._neutral, (shape.action_horizon, 1))
        first = window.frame + shape.action_offset
        num_rows = int(rows.sum())
        values[:num_rows] = clip.values[first : first + num_rows]
        return frames, indices >= 0, values, rows[:, None] & self._space.label_mask


def _sample_seed(seed: int, window_id: WindowId, visit: int) -> int:
    name = f"{seed}/{window_id.source}/{window_id.clip_id}/{window_id.frame}/{visit}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
