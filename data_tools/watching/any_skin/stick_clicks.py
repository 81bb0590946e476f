"""Tell whether a stick is clicked by its cap, wherever that is.

moments, where the cap is ─► pictures of the cap ─► the usual one, and what parts both looks
  ─► each frame: the cap's picture, as far as it differs from the usual one ─► clicked or not
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from data_tools.watching.any_skin.press_splits import PressSplit, find_split
from nitrogen_train.overlay_reader.pad_crops import BUTTON_SIDE, CROP_HEIGHT, CROP_WIDTH

_LEVELS = np.array([64.0, 32.0, 32.0], np.float32)[:, None, None]
_HALF = BUTTON_SIDE // 2


@dataclass(frozen=True, eq=False)
class ClickLook:
    """What a click looks like on the cap of a stick."""

    place: tuple[float, float]
    """Of the cap at rest, in pixels of the crop."""
    usual: Float32[np.ndarray, "3 32 32"]
    split: PressSplit

    @classmethod
    def find(
        cls,
        luma: Float32[np.ndarray, "m 160 256"],
        chroma: Float32[np.ndarray, "m 2 80 128"],
        place: tuple[float, float],
        size: tuple[float, float],
        caps: Float32[np.ndarray, "m 4"],
    ) -> "ClickLook | None":
        """Find it; None where nothing surely is a click.

        Args:
            luma: Of moments of the video.
            chroma: Of the same moments.
            place: The middle of the cap at rest, in pixels of the crop.
            size: Width and height of the cap.
            caps: Where it is at each moment from there, how sure that is, and how likely a click.
        """
        shown = _cut_caps(luma, chroma, place, caps)
        usual = np.median(shown, axis=0)
        split = find_split(shown - usual, caps[:, 3], size)
        return None if split is None else cls(place, usual, split)

    def read(
        self,
        luma: Float32[np.ndarray, "f 160 256"],
        chroma: Float32[np.ndarray, "f 2 80 128"],
        caps: Float32[np.ndarray, "f 4"],
    ) -> Float32[np.ndarray, " f"]:
        """Tell how far the stick is clicked in some frames, in [0, 1]."""
        return self.split.measure(_cut_caps(luma, chroma, self.place, caps) - self.usual).clip(0, 1)


def _cut_caps(
    luma: Float32[np.ndarray, "f 160 256"],
    chroma: Float32[np.ndarray, "f 2 80 128"],
    place: tuple[float, float],
    caps: Float32[np.ndarray, "f 4"],
) -> Float32[np.ndarray, "f 3 32 32"]:
    """Cut the pictures of a cap out of frames, in the units of patches."""
    shown = np.empty((len(luma), 3, BUTTON_SIDE, BUTTON_SIDE), np.float32)
    for patch, bright, colours, offset in zip(shown, luma, chroma, caps[:, :2], strict=True):
        left, top = (round(float(at + by)) - _HALF for at, by in zip(place, offset, strict=True))
        rows = np.clip(np.arange(top, top + BUTTON_SIDE), 0, CROP_HEIGHT - 1)
        columns = np.clip(np.arange(left, left + BUTTON_SIDE), 0, CROP_WIDTH - 1)
        patch[0] = bright[rows[:, None], columns]
        patch[1:] = colours[:, rows[:, None] // 2, columns // 2]
    return shown / _LEVELS
