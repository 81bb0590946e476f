"""Read controls only where their picture has changed since they were read.

    frames ─► measure_change ─► ControlChanges: what has changed is read, the rest is as it was

Changes add up from frame to frame, so that what creeps is read as well.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from nitrogen_train.overlay_reader.pad_crops import CROP_HEIGHT, CROP_WIDTH

_UNCHANGED = 2.5
"""Levels by which the picture of a control may differ from the one that was read."""


class ControlChanges:
    """Reads controls only where their picture has changed since they were read.

    Args:
        regions: The cells of each control.
        num_values: What is read of one.
    """

    def __init__(self, regions: Sequence[tuple[slice, slice]], num_values: int) -> None:
        self._regions = regions
        self._values = np.zeros((len(regions), num_values), np.float32)
        # What its picture may have changed by since then; nothing has been read yet.
        self._passed = np.full(len(regions), np.inf)

    def fill(
        self,
        change: Float32[np.ndarray, "f 40 64"],
        read: Callable[[np.ndarray, np.ndarray], Float32[np.ndarray, "n v"]],
    ) -> Float32[np.ndarray, "f c v"]:
        """Return what controls show in some frames.

        Args:
            change: Of `measure_change`.
            read: Reads controls, by the numbers of frames and of controls.
        """
        filled = np.zeros((len(change), *self._values.shape), np.float32)
        if not self._regions:
            return filled
        steps = np.stack([change[:, *cells].max(axis=(1, 2)) for cells in self._regions], axis=1)
        is_read = np.zeros(steps.shape, bool)
        for step, marks in zip(steps, is_read, strict=True):
            self._passed += step
            marks[:] = self._passed > _UNCHANGED
            self._passed[marks] = 0
        frames, columns = np.nonzero(is_read)
        if len(frames):
            filled[frames, columns] = read(frames, columns)
        for values, marks in zip(filled, is_read, strict=True):
            values[~marks] = self._values[~marks]
            self._values = values
        return filled


def measure_change(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    before: tuple[np.ndarray, np.ndarray] | None,
) -> Float32[np.ndarray, "f 40 64"]:
    """Measure how far each cell is from the frame before: mean distance, the most of all planes."""
    most = np.zeros((len(luma), CROP_HEIGHT // 4, CROP_WIDTH // 4), np.float32)
    first = before or (luma[0], chroma[0])
    for plane, former, cell in (
        (luma, first[0], 4),
        (chroma[:, 0], first[1][0], 2),
        (chroma[:, 1], first[1][1], 2),
    ):
        steps = np.abs(np.diff(plane, axis=0, prepend=former[None]))
        cells = steps.reshape(len(plane), most.shape[1], cell, most.shape[2], cell)
        np.maximum(most, cells.mean(axis=(2, 4)), out=most)
    return most
