"""Which window is sample i of a run: a pure function, not a state.

    sample i ─► mixture: source, position in the source ─► pass, block ─► clip, window

Sample i of the endless sequence depends on the manifests, the weights and the seed alone. Global
batch s is samples s*B to (s+1)*B, so the state to resume from is one integer, at any number of
ranks and workers. Within a pass every window of a source comes once: clips are permuted, dealt into
blocks that fit in memory decoded, and the windows of a block are permuted together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

_CYCLE = 1024
"""Samples after which the mixture's pattern repeats: weights are met to 1 part in 1024."""


class WindowIndex(NamedTuple):
    """A window of one source, and how often the source has been passed through before."""

    clip: int
    """Row of the source's manifest."""
    window: int
    """Index among the clip's windows."""
    visit: int
    """Completed passes over the source."""


class SourceOrder:
    """The endless sequence of one source's windows."""

    def __init__(
        self,
        num_windows: Int64[np.ndarray, " clips"],
        *,
        clips_per_block: int,
        seed: tuple[int, ...],
    ) -> None:
        """Count the source's windows.

        Args:
            num_windows: Windows of each clip.
            clips_per_block: Clips whose windows are permuted together, and are held decoded
                together.
            seed: Distinguishes runs, and the sources of a run.

        Raises:
            ValueError: If the source has no window.
        """
        self.windows_per_pass = int(num_windows.sum())
        if not self.windows_per_pass:
            raise ValueError("no window to train on: no row is valid in any clip")
        self._num_windows = num_windows
        self._clips_per_block = clips_per_block
        self._seed = seed
        # A reader moves forward, so one pass and one block at a time are worth keeping.
        self._kept_pass = -1, np.empty(0, np.int64), np.empty(0, np.int64)
        self._kept_block = (-1, -1), np.empty((0, 2), np.int64)

    def window_at(self, position: int) -> WindowIndex:
        """Find the window at a position of the sequence; positions start at 0 and do not end."""
        visit, in_pass = divmod(position, self.windows_per_pass)
        clips, block_starts = self._pass(visit)
        block = int(np.searchsorted(block_starts, in_pass, side="right")) - 1
        first = block * self._clips_per_block
        windows = self._block(visit, block, clips[first : first + self._clips_per_block])
        slot, window = windows[in_pass - int(block_starts[block])]
        return WindowIndex(int(clips[first + slot]), int(window), visit)

    def _pass(self, visit: int) -> tuple[Int64[np.ndarray, " clips"], Int64[np.ndarray, " blocks"]]:
        """Permute the clips of a pass, and find the position at which each block starts."""
        if self._kept_pass[0] != visit:
            clips = _generator(*self._seed, visit).permutation(len(self._num_windows))
            ends = np.cumsum(self._num_windows[clips])
            starts = np.concatenate([[0], ends[:-1]])[:: self._clips_per_block]
            self._kept_pass = visit, clips, starts
        return self._kept_pass[1:]

    def _block(
        self, visit: int, block: int, clips: Int64[np.ndarray, " clips"]
    ) -> Int64[np.ndarray, "windows 2"]:
        """Permute the windows of a block: (place of the clip in the block, window of the clip)."""
        if self._kept_block[0] != (visit, block):
            pairs = [
                np.stack([np.full(count, slot), np.arange(count)], axis=1)
                for slot, count in enumerate(self._num_windows[clips])
            ]
            windows = _generator(*self._seed, visit, block).permutation(np.concatenate(pairs))
            self._kept_block = (visit, block), windows
        return self._kept_block[1]


def _generator(*seed: int) -> np.random.Generator:
    # Named, not default_rng: a newer NumPy may change its default, and with it the order.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


class Mixture:
    """Deals samples to sources in proportion to their weights, evenly along the sequence."""

    def __init__(self, weights: Sequence[float]) -> None:
        """Lay out one cycle of samples.

        Args:
            weights: One per source, positive; only their ratios matter.

        Raises:
            ValueError: If a weight is not positive, or too small for one sample in a cycle.
        """
        shares = np.asarray(weights, dtype=np.float64)
        if not (shares > 0).all():
            raise ValueError(f"mixture weights must be positive, got {list(weights)}")
        shares = shares / shares.sum()
        # The source that is furthest behind its share is next: no source waits long for its turn.
        counts = np.zeros(len(shares))
        slots = np.empty(_CYCLE, dtype=np.int64)
        for slot in range(_CYCLE):
            slots[slot] = np.argmax(shares * (slot + 1) - counts)
            counts[slots[slot]] += 1
        if not counts.all():
            raise ValueError(
                f"mixture weight {min(weights)} is too small beside the others: "
                f"the least share is 1/{_CYCLE}; drop the source or raise its weight"
            )
        self._slots = slots
        self._counts = counts.astype(np.int64)
        self._before = np.stack(
            [np.cumsum(slots == source) - (slots == source) for source in range(len(shares))]
        )

    def locate(self, sample: int) -> tuple[int, int]:
        """Find a sample's source, and its position in that source's own sequence."""
        cycle, slot = divmod(sample, _CYCLE)
        source = int(self._slots[slot])
        return source, cycle * int(self._counts[source]) + int(self._before[source, slot])
