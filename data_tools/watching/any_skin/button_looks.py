"""Tell what each button of a controller looks like when it is pressed, from moments of its video.

    moments, rest, layout ─► each moment alone: how likely is a press ─► the look of the likeliest
      ─► each moment beside it: pressed or not

A press may be so faint that one frame does not tell it from noise; but presses of one button are
alike, and what is alike is no noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
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
    ) -> "ButtonLooks":
        """Find them.

        Args:
            luma: Of moments of the video.
            chroma: Of the same moments.
            rest: What the controller shows at rest.
            layout: Where the buttons are.
            networks: Read the moments.
        """
        kinds = np.array([BUTTONS.index(name) for name in layout.buttons], np.int64)
        presses = np.zeros((len(kinds), NUM_LOOKS, BUTTON_SIDE, BUTTON_SIDE), np.float32)
        usual = np.zeros((len(kinds), NUM_SHARES), np.float32)
        pressed = np.zeros((len(luma), len(kinds)), bool)
        changes = np.zeros((len(kinds), NUM_LOOKS), np.float32)
        for column, patches in enumerate(_iter_patches(luma, chroma, rest, layout)):
            kind = kinds[[column] * len(patches)]
            presses[column], usual[column] = find_press(patches, networks.tell(patches, kind))
            same = [column] * len(patches)
            read = networks.read_buttons(patches, presses[same], usual[same], kind)
            pressed[:, column] = read > 0.5
            if pressed[:, column].any():
                inner = _cut_inner(patches[:, :NUM_LOOKS], layout.sizes[layout.buttons[column]])
                changes[column] = inner[pressed[:, column]].mean(axis=(0, 2, 3))
        return cls(kinds, presses, usual, pressed, changes)

    def read(
        self, patches: Patches, columns: Int64[np.ndarray, " n"], networks: PadNetworks
    ) -> Float32[np.ndarray, " n"]:
        """Read patches around buttons; `columns` says of which each is."""
        return networks.read_buttons(
            patches, self.presses[columns], self.usual[columns], self.kinds[columns]
        )


def _iter_patches(
    luma: np.ndarray, chroma: np.ndarray, rest: PadAtRest, layout: CropLayout
) -> Iterator[Patches]:
    """Cut the patches of each button at all moments."""
    off, still = stack_channels(luma, chroma, rest)
    for name in layout.buttons:
        places = [layout.places[name]] * len(luma)
        yield cut_patches(off, still, range(len(luma)), places, BUTTON_SIDE)


def _cut_inner(
    patches: Float32[np.ndarray, "m 3 32 32"], size: tuple[float, float]
) -> Float32[np.ndarray, "m 3 h w"]:
    """Cut what lies within a button out of its patches."""
    half = BUTTON_SIDE // 2
    wide, tall = (min(half, max(1, round(side / 2))) for side in size)
    return patches[:, :, half - tall : half + tall, half - wide : half + wide]
