"""Find buttons that are held for most of a video, and give rest the look that they have released.

    moments, rest, layout ─► what changes where a button is read as pressed ─► it changes the other
      way than those of the others: it is held at rest ─► its look in these moments ─► rest

Rest is what is seen most of the time. Of a trigger that is held for most of a race it is the look
of a press, and a release would be read as one. But presses of one skin change pictures much alike.
"""

import numpy as np
from jaxtyping import Float32

from data_tools.watching.any_skin.button_looks import ButtonLooks
from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
from nitrogen_train.overlay_reader.pad_crops import (
    CROP_HEIGHT,
    CROP_WIDTH,
    PadAtRest,
    measure_rest,
)

_FEWEST_MOMENTS = 3
"""Moments at which a button is read as pressed, to tell how that changes it."""
_ALIKE, _AGAINST = 0.5, -0.8
"""Cosines between a button's change and the common one: above, it is alike; below, it is held."""
_FEWEST_ALIKE, _MOST_ALIKE = 3, 0.5
"""Other buttons that must change alike, and their share."""
_AS_LARGE = 0.3
"""Of the usual change: a smaller one is noise."""
_LEVELS = np.array([64.0, 32.0, 32.0], np.float32)
"""Levels of brightness and colours in the unit of patches."""
_MARGIN_PX = 2


def release_held(
    luma: Float32[np.ndarray, "m 160 256"],
    chroma: Float32[np.ndarray, "m 2 80 128"],
    rest: PadAtRest,
    layout: CropLayout,
    networks: PadNetworks,
) -> tuple[PadAtRest, ButtonLooks]:
    """Return rest with all buttons released, as far as moments show them so.

    Args:
        luma: Of moments of the video.
        chroma: Of the same moments.
        rest: What is seen most of the time.
        layout: Where the buttons are.
        networks: Read the moments.

    Returns:
        Rest, and what the layout's buttons look like beside it.
    """
    names = list(layout.buttons)
    looks = ButtonLooks.find(luma, chroma, rest, layout, networks)
    for _ in names:
        is_told = looks.pressed.sum(axis=0) >= _FEWEST_MOMENTS
        held = _find_held(looks.changes * is_told[:, None] * _LEVELS)
        if held is None:
            break
        moments = looks.pressed[:, held]
        rest = _repaint(luma, chroma, rest, moments, _find_edges(layout, names[held]))
        looks = ButtonLooks.find(luma, chroma, rest, layout, networks)
    return rest, looks


def _find_held(changes: Float32[np.ndarray, "c 3"]) -> int | None:
    """Find the button that changes most against the way of the others; None if none does.

    Buttons of different colours have no way in common, and tell nothing.
    """
    sizes = np.linalg.norm(changes, axis=1)
    ways = changes / np.maximum(sizes, 1e-6)[:, None]
    best = None
    for number in np.flatnonzero(sizes > 0):
        others = sizes > 0
        others[number] = False
        common = changes[others].sum(axis=0)
        common = common / max(float(np.linalg.norm(common)), 1e-6)
        alike = ways[others] @ common > _ALIKE
        if (
            alike.sum() >= _FEWEST_ALIKE
            and alike.mean() >= _MOST_ALIKE
            and ways[number] @ common < _AGAINST
            and sizes[number] > _AS_LARGE * np.median(sizes[others])
            and (best is None or sizes[number] > sizes[best])
        ):
            best = int(number)
    return best


def _find_edges(layout: CropLayout, name: str) -> tuple[slice, slice]:
    """Find the rows and columns of a button's pixels, on even ones."""
    edges = []
    sides = zip(layout.places[name], layout.sizes[name], (CROP_WIDTH, CROP_HEIGHT), strict=True)
    for middle, side, most in sides:
        low = max(int(middle - side / 2 - _MARGIN_PX) // 2 * 2, 0)
        high = min(-int(-(middle + side / 2 + _MARGIN_PX) // 2) * 2, most)
        edges.append(slice(low, high))
    return edges[1], edges[0]


def _repaint(
    luma: np.ndarray,
    chroma: np.ndarray,
    rest: PadAtRest,
    moments: np.ndarray,
    edges: tuple[slice, slice],
) -> PadAtRest:
    """Give a part of rest the look that it has in some moments."""
    halves = tuple(slice(edge.start // 2, edge.stop // 2) for edge in edges)
    new_luma, new_chroma = rest.luma.copy(), rest.chroma.copy()
    new_luma[edges] = np.median(luma[moments][:, *edges], axis=0)
    new_chroma[:, *halves] = np.median(chroma[moments][:, :, *halves], axis=0)
    return measure_rest(luma, chroma, new_luma, new_chroma)
