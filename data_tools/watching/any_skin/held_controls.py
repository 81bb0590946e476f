"""Find buttons that are held for most of a video, and give rest the look that they have released.

    moments, rest, layout ─► what changes where a button is read as pressed ─► it changes the other
      way than those of the others: it is held at rest ─► its look in these moments ─► rest

Rest is what is seen most of the time. Of a trigger that is held for most of a race it is the look
of a press, and a release would be read as one. But presses of one skin change pictures much alike.
"""

import numpy as np
from jaxtyping import Bool, Float32

from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
from nitrogen_train.overlay_reader.pad_crops import (
    BUTTON_SIDE,
    CROP_HEIGHT,
    CROP_WIDTH,
    PadAtRest,
    cut_patches,
    measure_rest,
    stack_channels,
)
from nitrogen_train.overlay_reader.placed_controls import BUTTONS

_FEWEST_MOMENTS = 3
"""Moments at which a button is read as pressed, to tell how that changes it."""
_AGAINST = -0.5
"""Cosine between a button's change and that of the others, below which it is held at rest."""
_FEWEST_ALIKE = 3
"""Other buttons that must change in one way."""
_BRIGHTNESS = 0.25
"""Share of brightness in a change from which on its sign tells something."""
_MARGIN_PX = 2


def release_held(
    luma: Float32[np.ndarray, "m 160 256"],
    chroma: Float32[np.ndarray, "m 2 80 128"],
    rest: PadAtRest,
    layout: CropLayout,
    networks: PadNetworks,
) -> tuple[PadAtRest, Bool[np.ndarray, "m c"]]:
    """Return rest with all buttons released, as far as moments show them so.

    Args:
        luma: Of moments of the video.
        chroma: Of the same moments.
        rest: What is seen most of the time.
        layout: Where the buttons are.
        networks: Read the moments.

    Returns:
        Rest, and which of the layout's buttons are pressed at each moment.
    """
    names = list(layout.buttons)
    pressed, changes = _read_moments(luma, chroma, rest, layout, networks)
    for _ in names:
        held = _find_held(changes)
        if held is None:
            break
        rest = _repaint(luma, chroma, rest, pressed[:, held], _find_edges(layout, names[held]))
        pressed, changes = _read_moments(luma, chroma, rest, layout, networks)
    return rest, pressed


def _read_moments(
    luma: np.ndarray,
    chroma: np.ndarray,
    rest: PadAtRest,
    layout: CropLayout,
    networks: PadNetworks,
) -> tuple[Bool[np.ndarray, "m c"], Float32[np.ndarray, "c 3"]]:
    """Read all buttons; return where they are read as pressed, and the mean change there."""
    off, still = stack_channels(luma, chroma, rest)
    frames, changes, pressed = np.arange(len(luma)), [], []
    for name in layout.buttons:
        places = [layout.places[name]] * len(frames)
        patches = cut_patches(off, still, frames, places, BUTTON_SIDE)
        kinds = np.full(len(frames), BUTTONS.index(name), np.int64)
        is_down = networks.read_buttons(patches, kinds) > 0.5
        half = BUTTON_SIDE // 2
        wide, tall = (min(half, max(1, round(side / 2))) for side in layout.sizes[name])
        inner = patches[:, :3, half - tall : half + tall, half - wide : half + wide]
        is_told = is_down.sum() >= _FEWEST_MOMENTS
        changes.append(inner[is_down].mean(axis=(0, 2, 3)) if is_told else np.zeros(3))
        pressed.append(is_down)
    return np.array(pressed, bool).reshape(-1, len(luma)).T, np.array(changes, np.float32).reshape(
        -1, 3
    )


def _find_held(changes: Float32[np.ndarray, "c 3"]) -> int | None:
    """Find the button that changes most against the way of the others; None if none does."""
    sizes = np.linalg.norm(changes, axis=1)
    ways = changes / np.maximum(sizes, 1e-6)[:, None]
    best = None
    for number in np.flatnonzero(sizes > 0):
        others = sizes > 0
        others[number] = False
        common = changes[others].sum(axis=0)
        common = common / max(float(np.linalg.norm(common)), 1e-6)
        alike = (ways[others] @ common > -_AGAINST).sum() >= _FEWEST_ALIKE
        is_against = alike and ways[number] @ common < _AGAINST and ways[number, 0] * common[0] <= 0
        # Buttons of different colours have brightness alone in common.
        brightness = ways[others, 0]
        brightness = brightness[np.abs(brightness) > _BRIGHTNESS]
        is_other = len(brightness) > _FEWEST_ALIKE and abs(ways[number, 0]) > _BRIGHTNESS
        is_other &= bool((brightness * ways[number, 0] < 0).all())
        if (is_against or is_other) and (best is None or sizes[number] > sizes[best]):
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
