"""Render a skin as a video shows it: at a place between pixels, translucent, blurred, in YUV.

    Skin + Placement ─► PadPictures ─► .patch(box, state) ─► levels, cover

A pixel of the video is `levels + (1 - cover) * background`, in units of 8 bit, in each of the
planes Y, U and V. Patches are rectangles on even pixels, laid out as one vector: all of Y, then U,
then V at half the resolution.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from scipy.ndimage import gaussian_filter

from data_tools.watching.reading import Box
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import (
    Dpad,
    Element,
    Look,
    Picture,
    Skin,
    State,
    Stick,
    list_controls,
    list_looks,
    premultiply,
)

Vector = Float32[np.ndarray, " n"]
Matrix = Literal["bt601", "bt709"]

_LUMA = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}
MATRICES: tuple[Matrix, ...] = ("bt601", "bt709")
_BLUR_REACH = 3
_TINY = 0.05
"""Pixels by which a place is uncertain anyway."""
_FINENESS = 8.0
"""Native pixels per pixel of the video that are fine enough. Coarser ones change the seams between
sprites: at four by up to 30 levels, which looks like a pressed direction."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how a skin lies in a video."""

    x: float
    """Left edge of the skin in pixels of the video."""
    y: float
    """Top edge."""
    width: float
    """Width of the whole skin in pixels of the video."""
    opacity: float = 1.0
    blur_px: float = 0.0
    matrix: Matrix = "bt601"
    """How the video's YUV comes from RGB."""
    is_full_range: bool = False
    """Whether black is 0 and white 255, not 16 and 235."""
    match: float = 0.0
    """Correlation of edges, see `PadStretch`."""

    def scaled(self, factor: int | float) -> "Placement":
        """Say where the skin is in a video whose pixels are `factor` times smaller."""
        return replace(
            self,
            x=self.x * factor,
            y=self.y * factor,
            width=self.width * factor,
            blur_px=self.blur_px * factor,
        )

    def box(self, skin: Skin, *, width: int, height: int) -> Box:
        """Find the smallest box on even pixels that holds the skin, within the picture."""
        scale = self.width / skin.width
        left = max(0, math.floor(self.x + _TINY))
        top = max(0, math.floor(self.y + _TINY))
        right = min(width, math.ceil(self.x + self.width - _TINY))
        bottom = min(height, math.ceil(self.y + skin.height * scale - _TINY))
        return make_even((left, top, right, bottom), width=width, height=height)


def make_even(box: Box, *, width: int, height: int) -> Box:
    """Grow a box to even pixels, within a picture; the last odd column or row is left out."""
    left, top, right, bottom = box
    left, top = max(0, left) // 2 * 2, max(0, top) // 2 * 2
    right, bottom = (
        min(right + right % 2, width // 2 * 2),
        min(bottom + bottom % 2, height // 2 * 2),
    )
    return left, top, max(left, right), max(top, bottom)


def vector_size(box: Box) -> int:
    """Count the numbers that a box has in the three planes."""
    return (box[2] - box[0]) * (box[3] - box[1]) * 3 // 2


def vector_places(box: Box, outer: Box) -> Int64[np.ndarray, " n"]:
    """Find where the numbers of a box lie in the vector of a box around it."""
    places, start = [], 0
    for step in (1, 2, 2):
        left, top, right, bottom = (edge // step for edge in box)
        x, y, right_of_all, bottom_of_all = (edge // step for edge in outer)
        wide = right_of_all - x
        rows, columns = np.arange(top - y, bottom - y), np.arange(left - x, right - x)
        places.append((start + rows[:, None] * wide + columns).ravel())
        start += wide * (bottom_of_all - y)
    return np.concatenate(places)


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a pad's picture, as vectors over the planes."""

    levels: Vector
    """What the pad adds to each number."""
    cover: Vector
    """The share of the background that is hidden, in [0, 1]."""

    def over(self, background: "Background") -> Vector:
        """Lay the patch over a plain background."""
        num_luma, num_chroma = len(self.levels) * 2 // 3, len(self.levels) // 6
        plain = np.repeat(
            np.array([background.luma, background.u, background.v], np.float32),
            [num_luma, num_chroma, num_chroma],
        )
        return self.levels + (1 - self.cover) * plain


@dataclass(frozen=True)
class Background:
    """A plain background, in levels of the video."""

    luma: float = 110.0
    u: float = 128.0
    v: float = 128.0


@lru_cache(maxsize=64)
def _cut_renderer(
    skin: Skin, x: float, y: float, width: float, box: Box, margin: int
) -> tuple[Renderer, tuple[int, int]]:
    """Make a renderer of the part of the skin around a box, and say where its picture lies.

    Args:
        skin: The whole skin.
        x: The left edge of the skin in pixels of the video.
        y: The top edge.
        width: The width of the skin.
        box: The part wanted.
        margin: Pixels around it.
    """
    factor = max(1, int(skin.width / width / _FINENESS))
    skin = shrink_skin(skin, factor)
    scale = width / skin.width
    starts = [
        math.floor((low - margin - place) / scale) - 1 for place, low in ((x, box[0]), (y, box[1]))
    ]
    stops = [
        math.ceil((high + margin - place) / scale) + 2 for place, high in ((x, box[2]), (y, box[3]))
    ]
    part = cut_skin(skin, (starts[0], starts[1], stops[0], stops[1]))
    edges = x + starts[0] * scale, y + starts[1] * scale
    whole = (math.floor(edges[0]), math.floor(edges[1]))
    offset = (edges[0] - whole[0], edges[1] - whole[1])
    return Renderer(part, part.width * scale, offset), whole


@lru_cache(maxsize=4)
def shrink_skin(skin: Skin, factor: int) -> Skin:
    """Make a skin smaller by averaging native pixels: many places of it are rendered then."""
    if factor == 1:
        return skin
    return replace(
        skin,
        width=skin.width / factor,
        height=skin.height / factor,
        elements=tuple(_shrink_element(element, factor) for element in skin.elements),
    )


def _shrink_element(element: Element, factor: int) -> Element:
    x, y = (math.floor(place / factor) for place in element.at)
    left, top = element.at[0] - x * factor, element.at[1] - y * factor
    whole = (int(left), int(top))
    at = (x + (left - whole[0]) / factor, y + (top - whole[1]) / factor)

    def shrink(look: Look | None) -> Look | None:
        return None if look is None else _shrink_look(look, factor, whole)

    if isinstance(element, Picture):
        return Picture(at, _shrink_look(element.look, factor, whole))
    if isinstance(element, Dpad):
        looks = tuple(_shrink_look(look, factor, whole) for look in element.looks)
        return replace(element, at=at, looks=looks)
    changed = replace(element, at=at, up=shrink(element.up), down=shrink(element.down))
    if isinstance(changed, Stick):
        return replace(changed, travel=changed.travel / factor)
    return changed


def _shrink_look(look: Look, factor: int, before: tuple[int, int]) -> Look:
    height, width = look.shape[:2]
    left, top = before
    right, bottom = -(left + width) % factor, -(top + height) % factor
    picture = np.pad(premultiply(look), ((top, bottom), (left, right), (0, 0)))
    # Added slice by slice, which is several times faster than a mean over two axes.
    rows = np.asarray(sum(picture[start::factor] for start in range(factor)))
    small = np.asarray(sum(rows[:, start::factor] for start in range(factor))) / factor**2
    alpha = small[..., 3:]
    small[..., :3] /= np.maximum(alpha, 1e-6)
    return np.rint(small * 255).astype(np.uint8)


@dataclass(eq=False)
class PadPictures:
    """Renders parts of a skin at one placement."""

    skin: Skin
    placement: Placement

    @property
    def scale(self) -> float:
        """Pixels of the video per native pixel."""
        return self.placement.width / self.skin.width

    def patch(self, box: Box, state: State) -> Patch:
        """Render the part of a state that a box on even pixels holds."""
        margin = _BLUR_REACH if self.placement.blur_px > 0.05 else 0
        picture = self._render(box, state, margin)
        if margin:
            sigma = (self.placement.blur_px, self.placement.blur_px, 0)
            picture = gaussian_filter(picture, sigma, truncate=_BLUR_REACH)
            picture = picture[margin:-margin, margin:-margin]
        return self._to_planes(picture)

    def boxes(self, *, within: Box, margin: int = 3) -> dict[str, Box]:
        """Find where each control can change the picture, grown by a margin, on even pixels."""
        found = {}
        for name, (left, top, right, bottom) in control_extents(self.skin).items():
            x, y, scale = self.placement.x, self.placement.y, self.scale
            edges = (
                math.floor(x + left * scale) - margin,
                math.floor(y + top * scale) - margin,
                math.ceil(x + right * scale) + margin,
                math.ceil(y + bottom * scale) + margin,
            )
            a, b, c, d = make_even(edges, width=within[2], height=within[3])
            a, b = max(a, within[0]), max(b, within[1])
            if a < c and b < d:
                found[name] = (a, b, c, d)
        return found

    def _render(self, box: Box, state: State, margin: int) -> Float32[np.ndarray, "h w 4"]:
        place = self.placement
        renderer, (x, y) = _cut_renderer(self.skin, place.x, place.y, place.width, box, margin)
        picture = renderer.render(state)
        left, top = box[0] - margin - x, box[1] - margin - y
        right, bottom = box[2] + margin - x, box[3] + margin - y
        return picture[top:bottom, left:right]

    def _to_planes(self, picture: Float32[np.ndarray, "h w 4"]) -> Patch:
        red, green, blue = _LUMA[self.placement.matrix]
        black, wide, tint = (0, 255, 255) if self.placement.is_full_range else (16, 219, 224)
        luma = picture[..., :3] @ np.array([red, green, blue], np.float32)
        alpha = picture[..., 3]
        small = _halve(np.stack([luma, picture[..., 0], picture[..., 2], alpha], axis=-1))
        cover = small[..., 3]
        u = tint * (small[..., 2] - small[..., 0]) / (2 - 2 * blue) + 128 * cover
        v = tint * (small[..., 1] - small[..., 0]) / (2 - 2 * red) + 128 * cover
        levels = [wide * luma + black * alpha, u, v]
        opacity = np.float32(self.placement.opacity)
        return Patch(
            opacity * np.concatenate([plane.ravel() for plane in levels]).astype(np.float32),
            opacity * np.concatenate([plane.ravel() for plane in (alpha, cover, cover)]),
        )


def _halve(picture: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "k l c"]:
    rows = picture[::2] + picture[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def control_extents(skin: Skin) -> dict[str, tuple[float, float, float, float]]:
    """Find the native pixels that each control can change: left, top, right, bottom."""
    found: dict[str, tuple[float, float, float, float]] = {}
    for element in skin.elements:
        names = list_controls(element)
        edges = (
            [_visible(look) for look in list_looks(element) if look[..., 3].any()] if names else []
        )
        if not edges:
            continue
        reach = element.travel if isinstance(element, Stick) else 0.0
        left, top, right, bottom = zip(*edges, strict=True)
        x, y = element.at
        box = (x + min(left) - reach, y + min(top) - reach,
               x + max(right) + reach, y + max(bottom) + reach)  # fmt: skip
        for name in names:
            a, b, c, d = found.get(name, box)
            found[name] = (min(a, box[0]), min(b, box[1]), max(c, box[2]), max(d, box[3]))
    return found


def _visible(look: Look) -> Box:
    rows, columns = (np.flatnonzero(look[..., 3].any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cut_skin(skin: Skin, region: tuple[int, int, int, int]) -> Skin:
    """Keep the part of a skin that a region of native pixels shows; its corner becomes (0, 0)."""
    left, top, right, bottom = region
    elements = [part for element in skin.elements if (part := _cut_element(element, region))]
    return replace(skin, width=right - left, height=bottom - top, elements=tuple(elements))


def _cut_element(element: Element, region: tuple[int, int, int, int]) -> Element | None:
    left, top, right, bottom = region
    x, y = element.at[0] - left, element.at[1] - top
    if isinstance(element, Picture):
        height, width = element.look.shape[:2]
        x0, y0 = max(0, math.floor(-x)), max(0, math.floor(-y))
        x1, y1 = min(width, math.ceil(right - left - x)), min(height, math.ceil(bottom - top - y))
        if x0 >= x1 or y0 >= y1:
            return None
        return Picture((x + x0, y + y0), element.look[y0:y1, x0:x1])
    sizes = [look.shape[:2] for look in list_looks(element)]
    reach = element.travel if isinstance(element, Stick) else 0.0
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    is_outside = x - reach >= right - left or x + width + reach <= 0
    is_outside |= y - reach >= bottom - top or y + height + reach <= 0
    return None if is_outside else replace(element, at=(x, y))
