"""Find buttons that are held for most of a video, and give rest the look that they have released.

    moments, rest, layout ─► what changes where a button is read as pressed ─► it changes the other
      way than those of the others: it is held at rest ─► its look in these moments ─► rest

Rest is what is seen most of the time. Of a trigger that is held for most of a race it is the look
of a press, and a release would be read as one. But presses of one skin change pictures much alike,
and twins, as both triggers are, look alike at rest. Where a game uses few buttons, twins decide: of
two that change opposite ways, the one is held that looks less like what is never pressed, or else
the one that is read as pressed more often; one whose twin is never pressed is held if its changes
make it look like the twin.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Float64

from data_tools.watching.any_skin.button_looks import ButtonLooks
from data_tools.watching.any_skin.pad_networks import CropLayout, PadNetworks
from data_tools.watching.any_skin.press_splits import LEVELS
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
_TWINS = (
    ("LEFT_TRIGGER", "RIGHT_TRIGGER"),
    ("LEFT_SHOULDER", "RIGHT_SHOULDER"),
    ("DPAD_LEFT", "DPAD_RIGHT"),
    ("DPAD_UP", "DPAD_DOWN"),
)
"""Buttons that a skin draws as mirror images."""
_AS_NEAR = 0.5
"""Of the distance of twins at rest: nearer than that, a change has made them look alike."""
_AS_LARGE = 0.3
"""Of the usual change: a smaller one is noise."""
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
    released: set[int] = set()
    looks = ButtonLooks.find(luma, chroma, rest, layout, networks)
    for _ in names:
        is_told = looks.pressed.sum(axis=0) >= _FEWEST_MOMENTS
        changes = looks.changes * is_told[:, None] * LEVELS
        held = _find_held(changes)
        if held is None:
            shares = looks.pressed.mean(axis=0)
            held = _find_held_twin(names, changes, shares, _measure_colours(rest, layout))
            # One that changes as the others do is pressed.
            if held is not None and _find_alike(changes)[held]:
                held = None
        if held is None or held in released:
            break
        released.add(held)
        moments = looks.pressed[:, held]
        rest = _repaint(luma, chroma, rest, moments, _find_edges(layout, names[held]))
        looks = ButtonLooks.find(luma, chroma, rest, layout, networks, released)
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


def _find_alike(changes: Float32[np.ndarray, "c 3"]) -> Bool[np.ndarray, " c"]:
    """Mark the buttons that change the way most others do; none where there is no such way."""
    sizes = np.linalg.norm(changes, axis=1)
    ways = changes / np.maximum(sizes, 1e-6)[:, None]
    common = changes.sum(axis=0) / max(float(np.linalg.norm(changes.sum(axis=0))), 1e-6)
    alike = ways @ common > _ALIKE
    is_way = alike.sum() > _FEWEST_ALIKE and alike.sum() > _MOST_ALIKE * (sizes > 0).sum()
    return alike & is_way


def _find_held_twin(
    names: Sequence[str],
    changes: Float32[np.ndarray, "c 3"],
    shares: Float64[np.ndarray, " c"],
    colours: Float32[np.ndarray, "c 3"],
) -> int | None:
    """Find a button that is held at rest by its mirror image; None if none is.

    Args:
        names: Of the buttons.
        changes: How a press, as it is read, changes each in levels; 0 where none is told.
        shares: How often each is read as pressed.
        colours: Of each at rest, in levels.
    """
    sizes = np.linalg.norm(changes, axis=1)
    for pair in _TWINS:
        if not set(pair) <= set(names):
            continue
        one, other = sorted((names.index(name) for name in pair), key=lambda each: -shares[each])
        if not sizes[one]:
            continue
        if sizes[other]:
            against = changes[one] @ changes[other] < _AGAINST * sizes[one] * sizes[other]
            if against and min(sizes[[one, other]]) > _AS_LARGE * max(sizes[[one, other]]):
                # What is never pressed looks released, and more like that twin which is, too.
                near = _AS_NEAR * np.linalg.norm(colours[one] - colours[other])
                off = np.linalg.norm(colours[shares == 0, None] - colours[[one, other]], axis=2)
                like_one, like_other = (off < near).sum(axis=0)
                return other if like_one > like_other else one
            continue
        apart = colours[other] - colours[one]
        is_apart = np.linalg.norm(apart) > _AS_LARGE * sizes[one]
        if is_apart and np.linalg.norm(apart - changes[one]) < _AS_NEAR * np.linalg.norm(apart):
            return one
    return None


def _measure_colours(rest: PadAtRest, layout: CropLayout) -> Float32[np.ndarray, "c 3"]:
    """Measure the mean luma and chroma of the layout's buttons at rest, in levels."""
    colours = []
    for name in layout.buttons:
        rows, columns = _find_edges(layout, name, margin_px=-_MARGIN_PX)
        halves = tuple(slice(edge.start // 2, edge.stop // 2) for edge in (rows, columns))
        chroma = rest.chroma[:, *halves].mean(axis=(1, 2))
        colours.append([rest.luma[rows, columns].mean(), *chroma])
    return np.array(colours, np.float32).reshape(-1, 3)


def _find_edges(layout: CropLayout, name: str, margin_px: int = _MARGIN_PX) -> tuple[slice, slice]:
    """Find the rows and columns of a button's pixels, on even ones."""
    edges = []
    sides = zip(layout.places[name], layout.sizes[name], (CROP_WIDTH, CROP_HEIGHT), strict=True)
    for middle, side, most in sides:
        half = max(side / 2 + margin_px, 1)
        low = max(int(middle - half) // 2 * 2, 0)
        high = min(-int(-(middle + half) // 2) * 2, most)
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
