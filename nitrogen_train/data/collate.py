"""Windows of decoded clips to `PolicyBatch`."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from nitrogen_train.actions import ActionSpace
from nitrogen_train.batch import PolicyBatch, WindowId
from nitrogen_train.data.clips import DecodedClip
from nitrogen_train.data.mixture import Source


class Window(NamedTuple):
    """One sample before it is cut."""

    source: Source
    clip: DecodedClip
    frame: int
    """The last observed frame."""
    planned: WindowId
    """What the plan has here; another window where that one cannot be read."""
    occurrence: int
    """Tells the times apart that the same window is delivered."""

    @property
    def id(self) -> WindowId:
        """Name what is delivered."""
        return WindowId(self.source.name, self.clip.clip_id, self.frame)


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

    def collate(self, windows: Sequence[Window], *, num_valid_in_step: int) -> PolicyBatch:
        """Build a batch.

        Args:
            windows: One per sample.
            num_valid_in_step: See `PolicyBatch`.
        """
        num, shape = len(windows), windows[0].source.window
        # As decoded, colours last: each frame is copied once, and nothing is transposed.
        side = windows[0].clip.frames.shape[1]
        frames = np.empty((num, shape.num_frames, side, side, 3), np.uint8)
        frame_mask = np.empty((num, shape.num_frames), bool)
        actions = np.tile(self._neutral, (num, shape.action_horizon, 1))
        row_mask = np.empty((num, shape.action_horizon), bool)
        for index, window in enumerate(windows):
            frame_mask[index] = self._cut_frames(window, frames[index])
            row_mask[index] = self._cut_rows(window, actions[index])
        seeds = [_sample_seed(self._seed, window.id, window.occurrence) for window in windows]
        return PolicyBatch(
            frames=torch.from_numpy(frames.transpose(0, 1, 4, 2, 3)),
            frame_mask=torch.from_numpy(frame_mask),
            actions=torch.from_numpy(actions),
            action_mask=torch.from_numpy(row_mask[:, :, None] & self._space.label_mask),
            game_id=torch.tensor([self._game_ids.get(w.clip.game, 0) for w in windows]),
            sample_seed=torch.tensor(seeds),
            num_valid_in_step=torch.tensor(num_valid_in_step),
            window_ids=tuple(window.id for window in windows),
            planned_window_ids=tuple(window.planned for window in windows),
        )

    def _cut_frames(
        self, window: Window, frames: UInt8[np.ndarray, "f h w 3"]
    ) -> Bool[np.ndarray, " f"]:
        """Fill in a window's frames, and say which of them exist."""
        indices = window.source.window.frame_indices(window.frame)
        window.clip.copy_frames(np.maximum(indices, 0), frames)
        return indices >= 0

    def _cut_rows(
        self, window: Window, values: Float32[np.ndarray, "t a"]
    ) -> Bool[np.ndarray, " t"]:
        """Fill in a window's supervised rows, and say which these are."""
        shape, clip = window.source.window, window.clip
        rows = shape.row_mask(clip.valid, window.frame)
        first, num_rows = window.frame + shape.action_offset, int(rows.sum())
        values[:num_rows] = clip.values[first : first + num_rows]
        return rows


def _sample_seed(seed: int, window_id: WindowId, occurrence: int) -> int:
    name = f"{seed}/{window_id.source}/{window_id.clip_id}/{window_id.frame}/{occurrence}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
