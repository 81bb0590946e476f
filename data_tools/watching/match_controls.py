"""Tell the states of a skin's controls from pixels, by comparing them with rendered states.

    PadPictures ─► families of controls that share pixels ─► rendered states of each
      ─► what the noise leaves of their differences: a few weights per pixel ─► Matcher
    frames' numbers ─► Matcher.read ─► values, confidences

All states of a family are rendered; what tells them apart spans a few dimensions only, so a frame
is multiplied by a few pictures of weights, and the nearest state is looked up among many. The
weights follow from what may disturb a pixel: the codec, a background that shines through and is
smooth in the main, and the controls nearby. A stick's states are rendered on a grid of places;
those between them are interpolated in the few dimensions, not rendered.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy.ndimage import zoom

from data_tools.watching.pad_pictures import Background, PadPictures, vector_places
from data_tools.watching.reading import Box
from nitrogen_train.skins.skin import DPAD_CONTROLS, Button, Dpad, Skin, State, Stick, Trigger

Kind = Literal["button", "dpad", "fill", "stick"]

_LUMA_NOISE, _CHROMA_NOISE = 4.0, 3.0
"""Levels by which a codec at a stream's bit rate is off, at each pixel."""
_LUMA_DETAIL, _CHROMA_DETAIL = 14.0, 5.0
"""Levels of a game's picture that a few waves do not describe."""
_LUMA_SPREAD, _CHROMA_SPREAD = 60.0, 30.0
"""Levels of a game's picture that they describe."""
_SHIFT = 3.0
"""Levels by which a whole patch may be off."""
_WAVES = 4
_WEAKENED = 0.8
"""The share of a press that a codec leaves of it, as a rule."""
_FILL_STEPS = 16
_FILLS = 65
_LARGEST_RANK = 56
_PLACES_PER_AXIS = 49
_WEAKEST = 3.0
"""Distance between two states, in standard deviations of the noise, below which a control cannot
be told and is taken as not drawn."""


@dataclass(frozen=True, eq=False)
class Family:
    """Controls that are read together."""

    kind: Kind
    controls: tuple[str, ...]
    """Of a stick: x, y and the button that clicks it, if it has one."""


def list_families(skin: Skin) -> list[Family]:
    """Group a skin's controls by the pixels that they share by their nature."""
    families: list[Family] = []
    taken: set[str] = set()

    def add(kind: Kind, controls: tuple[str, ...]) -> None:
        if not taken & set(controls):
            taken.update(controls)
            families.append(Family(kind, controls))

    for element in skin.elements:
        if isinstance(element, Stick):
            press = (element.press,) if element.press else ()
            add("stick", (element.x, element.y, *press))
    buttons = {element.control for element in skin.elements if isinstance(element, Button)}
    if buttons.issuperset(DPAD_CONTROLS) or any(isinstance(e, Dpad) for e in skin.elements):
        add("dpad", DPAD_CONTROLS)
    for element in skin.elements:
        if isinstance(element, Trigger):
            add("fill" if element.mode == "crop" else "button", (element.control,))
        elif isinstance(element, Button):
            add("button", (element.control,))
    return families


def _list_states(family: Family, travel_px: float) -> tuple[list[dict[str, float]], int]:
    """List the states to render; of a stick also how many places an axis has."""
    if family.kind == "button":
        return [{}, {family.controls[0]: 1.0}], 0
    if family.kind == "fill":
        steps = np.linspace(0, 1, _FILL_STEPS + 1).tolist()
        return [{family.controls[0]: value} for value in steps], 0
    if family.kind == "dpad":
        left, right, up, down = DPAD_CONTROLS
        across, along = [{}, {left: 1.0}, {right: 1.0}], [{}, {up: 1.0}, {down: 1.0}]
        return [a | b for a in across for b in along], 0
    count = 2 * min(6, max(3, math.ceil(travel_px / 2))) + 1
    x, y, *press = family.controls
    places = np.linspace(-1, 1, count).tolist()
    clicks = [{}, {press[0]: 1.0}] if press else [{}]
    return [{x: a, y: b} | click for click in clicks for b in places for a in places], count


@dataclass(frozen=True, eq=False)
class FamilyReader:
    """The weights of one family, and its states."""

    family: Family
    places: Int64[np.ndarray, " n"]
    """Where its numbers lie in the vector of the pad's box."""
    mean: Float32[np.ndarray, " n"]
    weights: Float32[np.ndarray, "n r"]
    points: Float32[np.ndarray, "k r"]
    """The states in the dimensions that tell them apart."""
    values: Float32[np.ndarray, "k c"]
    """The controls' values of each state."""

    @property
    def controls(self) -> tuple[str, ...]:
        """Name the controls that can be told; the click of a stick may not show."""
        is_mute = self.family.kind == "stick" and len(self.points) == _PLACES_PER_AXIS**2
        return self.family.controls[:2] if is_mute else self.family.controls

    def read(self, chunk: Float32[np.ndarray, "f n"]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and confidences of the family's controls, both [frames, controls]."""
        seen = (chunk - self.mean) @ self.weights
        if self.family.kind == "button":
            return _read_share(seen, self.points)
        scores = seen @ self.points.T - 0.5 * np.sum(self.points**2, axis=1)
        if self.family.kind == "stick":
            return self._read_stick(seen, scores)
        best = np.argmax(scores, axis=1)
        return self.values[best], self._margins(scores, best)

    def _margins(self, scores: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Compare the best state with the best of those in which a control is different."""
        pressed = self.values > 0.5
        top = scores[np.arange(len(best)), best]
        margins = np.zeros((len(best), self.values.shape[1]), np.float32)
        for control in range(self.values.shape[1]):
            for state in (False, True):
                rows = pressed[best, control] == state
                others = np.flatnonzero(pressed[:, control] != state)
                if not rows.any():
                    continue
                second = others[np.argmax(scores[np.ix_(rows, others)], axis=1)]
                apart = np.sum((self.points[best[rows]] - self.points[second]) ** 2, axis=1)
                gap = top[rows] - scores[rows, second]
                margins[rows, control] = 2 * gap / np.maximum(apart, 1e-6)
        return np.clip(margins, 0, 1)

    def _read_stick(self, seen: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = _PLACES_PER_AXIS
        grid = scores.reshape(len(scores), -1, size * size)
        rows = np.arange(len(scores))
        best_of_click = grid.max(axis=2)
        click = np.argmax(best_of_click, axis=1)
        place = np.argmax(grid[rows, click], axis=1)
        flat = grid[rows, click]
        row, column = place // size, place % size
        step = 2 / (size - 1)
        values = [
            (column + _vertex(flat, place, column, 1, size)) * step - 1,
            (row + _vertex(flat, place, row, size, size)) * step - 1,
        ]
        points = self.points.reshape(-1, size * size, self.points.shape[1])
        away = np.sum((seen - points[click, place]) ** 2, axis=1)
        spread = float(np.mean(np.sum(self.points**2, axis=1)))
        sure = np.clip(1 - away / max(spread, 1e-6), 0, 1)
        confidences = [sure, sure]
        if len(self.controls) > 2:
            values.append(click.astype(np.float32))
            apart = np.sum((points[0, place] - points[1, place]) ** 2, axis=1)
            gap = 2 * np.abs(best_of_click[:, 1] - best_of_click[:, 0]) / np.maximum(apart, 1e-6)
            confidences.append(np.clip(gap, 0, 1))
        return np.stack(values, axis=1), np.stack(confidences, axis=1)


def _read_share(seen: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read how much of the second of two looks is there."""
    apart = points[1] - points[0]
    share = (seen - points[0]) @ apart / float(apart @ apart)
    share = np.clip(share, 0, 1)[:, None]
    return share, np.clip(2 * np.abs(share - 0.5), 0, 1)


def _vertex(
    flat: np.ndarray, place: np.ndarray, along: np.ndarray, stride: int, size: int
) -> np.ndarray:
    """Find where between neighbours the best score lies, by a parabola."""
    rows = np.arange(len(flat))
    inside = (along > 0) & (along < size - 1)
    before = flat[rows, np.where(inside, place - stride, place)]
    after = flat[rows, np.where(inside, place + stride, place)]
    middle = flat[rows, place]
    bend = np.minimum(before - 2 * middle + after, -1e-6)
    return np.where(inside, np.clip(0.5 * (before - after) / bend, -0.5, 0.5), 0)


class Disturbance:
    """What may change a patch besides the control: its covariance, as noise and a few patterns.

    Args:
        shape: Height and width of the patch in luma.
        cover: The share of the background that is hidden, per number.
        patterns: Further changes that may happen, one a column, at their usual size.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        cover: Float32[np.ndarray, " n"],
        patterns: Float32[np.ndarray, "n m"] | None = None,
    ) -> None:
        num_luma = shape[0] * shape[1]
        is_luma = np.arange(len(cover)) < num_luma
        shown = 1 - cover
        noise = np.where(is_luma, _LUMA_NOISE, _CHROMA_NOISE)
        detail = np.where(is_luma, _LUMA_DETAIL, _CHROMA_DETAIL)
        columns = [_waves(shape) * shown[:, None], _shifts(shape)]
        if patterns is not None:
            columns.append(patterns)
        self._prepare(
            (1 / (noise**2 + (shown * detail) ** 2)).astype(np.float32),
            np.concatenate(columns, axis=1),
        )

    def _prepare(self, inverse: np.ndarray, basis: np.ndarray) -> None:
        self._inverse, self._basis = inverse, basis
        self._scaled = inverse[:, None] * basis
        inner = np.eye(basis.shape[1]) + basis.T @ self._scaled
        self._solved = np.linalg.solve(inner, self._scaled.T.astype(np.float64)).astype(np.float32)

    def keep(self, use: Bool[np.ndarray, " n"]) -> "Disturbance":
        """Keep some of the numbers."""
        part = object.__new__(Disturbance)
        part._prepare(self._inverse[use], self._basis[use])
        return part

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the inverse noise of each number, and patterns that are orthonormal by it."""
        scale = np.sqrt(self._inverse)
        vectors, sizes, _ = np.linalg.svd(scale[:, None] * self._basis, full_matrices=False)
        return scale, vectors[:, sizes > 1]

    def whiten_twice(self, patterns: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
        """Multiply by the inverse of the covariance."""
        scaled = self._inverse[:, None] * patterns
        return scaled - self._scaled @ (self._solved @ patterns)


def _waves(shape: tuple[int, int]) -> Float32[np.ndarray, "n m"]:
    """Make smooth pictures in each plane, at the size that backgrounds have them."""
    planes = [(shape, _LUMA_SPREAD), *[((shape[0] // 2, shape[1] // 2), _CHROMA_SPREAD)] * 2]
    blocks = []
    for (height, width), spread in planes:
        rows, columns = (
            np.cos(np.pi * np.outer(np.arange(count) + 0.5, np.arange(_WAVES)) / count)
            for count in (height, width)
        )
        pairs = itertools.product(range(_WAVES), range(_WAVES))
        blocks.append(
            np.stack(
                [
                    np.outer(rows[:, i], columns[:, j]).ravel() * spread / (1 + i + j)
                    for i, j in pairs
                    if i + j < _WAVES
                ],
                axis=1,
            )
        )
    return _block_diagonal(blocks)


def _shifts(shape: tuple[int, int]) -> Float32[np.ndarray, "n 3"]:
    sizes = (shape[0] * shape[1], *[shape[0] * shape[1] // 4] * 2)
    return _block_diagonal([np.full((size, 1), _SHIFT) for size in sizes])


def _block_diagonal(blocks: Sequence[np.ndarray]) -> Float32[np.ndarray, "n m"]:
    whole = np.zeros((sum(len(b) for b in blocks), sum(b.shape[1] for b in blocks)), np.float32)
    row = column = 0
    for block in blocks:
        whole[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return whole


class _FamilyPictures:
    """The rendered states of one family, in its own box."""

    def __init__(
        self, pictures: PadPictures, family: Family, box: Box, background: Background
    ) -> None:
        self.family, self.box = family, box
        self._pictures, self._background = pictures, background
        travels = [e.travel for e in pictures.skin.elements
                   if isinstance(e, Stick) and e.x == family.controls[0]]  # fmt: skip
        self.travel_px = max(travels, default=0.0) * pictures.scale
        states, self.grid = _list_states(family, self.travel_px)
        self.states = states
        patches = [pictures.patch(box, state) for state in states]
        self.levels = np.stack([patch.over(background) for patch in patches])
        self.cover = np.mean([patch.cover for patch in patches], axis=0)

    def changes_in(self, box: Box) -> Float32[np.ndarray, "n m"]:
        """Render how this family changes another one's box, as patterns at their usual size."""
        states: list[State] = list(self.states)
        if self.family.kind == "stick":
            ends = [{self.family.controls[axis]: end} for axis in (0, 1) for end in (-1.0, 1.0)]
            states = [{}, *ends, *self.states[-1:]]
        levels = np.stack(
            [self._pictures.patch(box, state).over(self._background) for state in states]
        )
        return (levels[1:] - levels[0]).T


def build_readers(
    pictures: PadPictures, box: Box, background: Background
) -> tuple[list[FamilyReader], Float32[np.ndarray, " n"]]:
    """Prepare reading of all controls that can be told.

    Args:
        pictures: The skin at its place.
        box: The pad's box, on even pixels.
        background: What is behind the pad on average.

    Returns:
        The readers, and by how many levels controls can change each number of the box's vector.
    """
    boxes = pictures.boxes(within=box)
    shown = []
    for family in list_families(pictures.skin):
        parts = [boxes[name] for name in family.controls if name in boxes]
        if len(parts) < len(family.controls):
            continue
        lefts, tops, rights, bottoms = zip(*parts, strict=True)
        around = (min(lefts), min(tops), max(rights), max(bottoms))
        shown.append(_FamilyPictures(pictures, family, around, background))
    changes = np.zeros((box[2] - box[0]) * (box[3] - box[1]) * 3 // 2, np.float32)
    readers = []
    for each in shown:
        places = vector_places(each.box, box)
        changes[places] = np.maximum(changes[places], np.ptp(each.levels, axis=0))
        near = [other.changes_in(each.box) for other in shown
                if other is not each and _meet(other.box, each.box)]  # fmt: skip
        patterns = np.concatenate(near, axis=1) if near else None
        readers.append(_build_reader(each, places, patterns))
    return [reader for reader in readers if reader is not None], changes


def _meet(one: Box, other: Box) -> bool:
    return (
        max(one[0], other[0]) < min(one[2], other[2])
        and max(one[1], other[1]) < min(one[3], other[3])
    )  # fmt: skip


def _build_reader(
    shown: _FamilyPictures, places: Int64[np.ndarray, " n"], patterns: np.ndarray | None
) -> FamilyReader | None:
    left, top, right, bottom = shown.box
    shape = (bottom - top, right - left)
    disturbance = Disturbance(shape, shown.cover, patterns)
    mean = shown.levels.mean(axis=0)
    apart = (shown.levels - mean).T
    whitened = disturbance.whiten_twice(apart)
    values, vectors = np.linalg.eigh((apart.T @ whitened).astype(np.float64))
    rank = min(_LARGEST_RANK, int(np.sum(values > max(1e-4 * values[-1], 1e-3))))
    if rank == 0 or values[-1] < _WEAKEST**2 / 2:
        return None
    size = np.sqrt(values[-rank:])
    weights = (whitened @ vectors[:, -rank:]) / size
    points = vectors[:, -rank:] * size
    family = shown.family
    if family.kind == "dpad":
        points = points[0] + _WEAKENED * (points - points[0])
    table = np.array([[s.get(name, 0.0) for name in family.controls] for s in shown.states])
    if family.kind == "stick":
        points, table = _interpolate_places(points, shown.grid, len(family.controls))
    elif family.kind == "fill":
        spline = _spline(len(points), _FILLS)
        points, table = spline @ points, np.linspace(0, 1, _FILLS)[:, None]
    return FamilyReader(
        family=family,
        places=places,
        mean=mean.astype(np.float32),
        weights=weights.astype(np.float32),
        points=points.astype(np.float32),
        values=table.astype(np.float32),
    )


def _interpolate_places(
    points: np.ndarray, count: int, num_controls: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fill in the places between those rendered; a click that does not show is left out."""
    size, rank = _PLACES_PER_AXIS, points.shape[1]
    grid = points.reshape(-1, count, count, rank)
    if len(grid) > 1 and np.sum((grid[1] - grid[0]) ** 2, axis=-1).mean() < _WEAKEST**2:
        grid = grid[:1]
    if len(grid) > 1:
        grid[1] = grid[0] + _WEAKENED * (grid[1] - grid[0])
    spline = _spline(count, size)
    fine = np.einsum("ya,xb,gabr->gyxr", spline, spline, grid, optimize=True)
    axis = np.linspace(-1, 1, size)
    x, y = np.tile(axis, size), np.repeat(axis, size)
    columns: list[np.ndarray] = [np.tile(x, len(grid)), np.tile(y, len(grid))]
    if num_controls > 2:
        columns.append(np.repeat(np.arange(len(grid)), size * size))
    return fine.reshape(-1, rank), np.stack(columns, axis=1)


def _spline(count: int, size: int) -> np.ndarray:
    """Make the matrix that interpolates `count` values to `size`; the ends stay where they are."""
    columns = [np.asarray(zoom(unit, size / count, order=3)) for unit in np.eye(count)]
    return np.stack(columns, axis=1)
