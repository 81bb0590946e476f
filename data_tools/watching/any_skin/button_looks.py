"""Tell what each button of a controller looks like when it is pressed, from moments of its video.

    moments, rest, layout ─► each moment alone: how likely is a press ─► the look of the likeliest
      ─► each moment beside it: pressed or not ─► what parts both looks of the button in this video

A press may be so faint that one frame does not tell it from noise; but presses of one button are
alike, and what is alike is no noise. Where a split of the moments agrees with the network, the
split reads the button; elsewhere, as of one that is hardly used, the network does.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
from data_tools.watching.any_skin.press_splits import PressSplit, find_inner, find_press_split
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    NUM_LOOKS,
    NUM_SHARES,
    PadAtRest,
    cut_patches,
    find_press,
    stack_channels,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS

Patches = Float32[np.ndarray, "n 9 32 32"]


@dataclass(frozen=True, eq=False)
class ButtonLooks:
    """What the buttons of a layout look like in a video, in its order."""

    kinds: Int64[np.ndarray, " c"]
    """Places in `BUTTONS`."""
    presses: Float32[np.ndarray, "c 3 32 32"]
    """What differs from rest when a button is most likely pressed."""
    usual: Float32[np.ndarray, "c 4"]
    """How likely that is, of `find_press`."""
    splits: tuple[PressSplit | None, ...]
    """What parts both looks of each; None where the network tells them."""
    pressed: Bool[np.ndarray, "m c"]
    """Which buttons are pressed at each moment."""
    changes: Float32[np.ndarray, "c 3"]
    """Mean change of luma and chroma where a button is pressed."""

    @classmethod
    def find(
        cls,
        luma: Float32[np.ndarray, "m 160 256"],
        chroma: Float32[np.ndarray, "m 2 80 128"],
        rest: PadAtRest,
        layout: CropLayout,
        networks: PadNetworks,
        mended: Collection[int] = (),
    ) -> "ButtonLooks":
        """Find them.

        Args:
            luma: Of moments of the video.
            chroma: Of the same moments.
            rest: What the controller shows at rest.
            layout: Where the buttons are.
            networks: Read the moments.
            mended: Buttons that rest is known to show released.
        """
        kinds = np.array([BUTTONS.index(name) for name in layout.buttons], np.int64)
        presses = np.zeros((len(kinds), NUM_LOOKS, BUTTON_SIDE, BUTTON_SIDE), np.float32)
        usual = np.zeros((len(kinds), NUM_SHARES), np.float32)
        pressed = np.zeros((len(luma), len(kinds)), bool)
        changes = np.zeros((len(kinds), NUM_LOOKS), np.float32)
        splits = []
        for column, patches in enumerate(_iter_patches(luma, chroma, rest, layout)):
            kind = kinds[[column] * len(patches)]
            presses[column], usual[column] = find_press(patches, networks.tell(patches, kind))
            same = [column] * len(patches)
            read = networks.read_buttons(patches, presses[same], usual[same], kind)
            size = layout.sizes[layout.buttons[column]]
            split = find_press_split(
                patches[:, :NUM_LOOKS], read, size, is_rest_sure=column in mended
            )
            splits.append(split)
            pressed[:, column] = read > 0.5 if split is None else split.pressed
            if pressed[:, column].any():
                shown = patches[:, :NUM_LOOKS, *find_inner(size)]
                changes[column] = shown[pressed[:, column]].mean(axis=(0, 2, 3))
                if split is not None:
                    changes[column] -= shown[~pressed[:, column]].mean(axis=(0, 2, 3))
        return cls(kinds, presses, usual, tuple(splits), pressed, changes)

    def read(
        self, patches: Patches, columns: Int64[np.ndarray, " n"], networks: PadNetworks
    ) -> Float32[np.ndarray, " n"]:
        """Read patches around buttons; `columns` says of which each is."""
        values = np.zeros(len(patches), np.float32)
        by_network = np.ones(len(patches), bool)
        for column, split in enumerate(self.splits):
            own = columns == column
            if split is not None and own.any():
                values[own] = np.clip(split.measure(patches[own, :NUM_LOOKS]), 0, 1)
                by_network &= ~own
        if by_network.any():
            left = columns[by_network]
            values[by_network] = networks.read_buttons(
                patches[by_network], self.presses[left], self.usual[left], self.kinds[left]
            )
        return values


def _iter_patches(
    luma: np.ndarray, chroma: np.ndarray, rest: PadAtRest, layout: CropLayout
) -> Iterator[Patches]:
    """Cut the patches of each button at all moments."""
    off, still = stack_channels(luma, chroma, rest)
    for name in layout.buttons:
        places = [layout.places[name]] * len(luma)
        yield cut_patches(off, still, range(len(luma)), places, BUTTON_SIDE)
