"""Paint sprites from shapes with smooth edges.

    shapes in pixels ─► coverage, drawn four times as large and averaged ─► colours ─► look

Shapes are arrays of points [n, 2]; they are closed. Coverage and colour are kept apart until the
end, so an edge has the shape's own colour and fades into whatever is below.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from nitrogen_train.skins.skin import Look, Number

Points = Float64[np.ndarray, "_ 2"]
Colour = tuple[Number, Number, Number, Number]
"""Red, green, blue and opacity in [0, 1]."""

_OVERSAMPLING = 4


def ellipse(x: Number, y: Number, wide: Number, tall: Number | None = None) -> Points:
    """Return an ellipse around (x, y) by its two radii, or a circle by one."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    tall = wide if tall is None else tall
    return np.stack([x + wide * np.cos(angles), y + tall * np.sin(angles)], axis=1)


def rounded_box(x: Number, y: Number, width: Number, height: Number, corner: Number) -> Points:
    """Return a box with round corners by its left top corner."""
    corner = min(corner, width / 2, height / 2)
    turns = np.linspace(0, np.pi / 2, 7)
    centres = (
        (x + width - corner, y + height - corner),
        (x + corner, y + height - corner),
        (x + corner, y + corner),
        (x + width - corner, y + corner),
    )
    return np.concatenate(
        [
            np.array(centre) + corner * np.stack([np.cos(turns + a), np.sin(turns + a)], axis=1)
            for centre, a in zip(centres, np.arange(4) * np.pi / 2, strict=True)
        ]
    )


def star(x: Number, y: Number, radius: Number, corners: int, turn: Number = 0.0) -> Points:
    """Return a regular polygon around (x, y), its first corner upwards before it is turned."""
    angles = turn - np.pi / 2 + 2 * np.pi * np.arange(corners) / corners
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def smooth(points: Points, pieces: int = 12) -> Points:
    """Lay a closed Catmull-Rom curve through points."""
    before, after, second = (np.roll(points, shift, axis=0) for shift in (1, -1, -2))
    curves = [
        points
        + t / 2 * (after - before)
        + t**2 / 2 * (2 * before - 5 * points + 4 * after - second)
        + t**3 / 2 * (3 * points - before - 3 * after + second)
        for t in np.linspace(0, 1, pieces, endpoint=False)
    ]
    return np.stack(curves, axis=1).reshape(-1, 2)


def resize(points: Points, factor: Number) -> Points:
    """Enlarge a shape around its middle."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    return middle + factor * (points - middle)


def mix(first: Colour, second: Colour, share: Number) -> Colour:
    """Mix two colours, `share` of the second one."""
    r, g, b, a = (x * (1 - share) + y * share for x, y in zip(first, second, strict=True))
    return r, g, b, a


class Brush:
    """A transparent picture that shapes are painted on.

    Args:
        width: Pixels of the picture.
        height: As `width`.
        origin: The place of the picture's left top corner in the shapes' own pixels.
        has_hard_edges: Whether a pixel is covered wholly or not at all.

    Example:
        >>> brush = Brush(9, 3)
        >>> brush.fill(rounded_box(3, 0, 3, 3, 0), (1, 0, 0, 0.5))
        >>> brush.look()[1, [0, 4, 8]].tolist()
        [[0, 0, 0, 0], [255, 0, 0, 128], [0, 0, 0, 0]]
    """

    def __init__(
        self,
        width: int,
        height: int,
        origin: tuple[Number, Number] = (0.0, 0.0),
        *,
        has_hard_edges: bool = False,
    ) -> None:
        self._pixels = np.zeros((height, width, 4), np.float32)
        self._origin = np.array(origin)
        self._has_hard_edges = has_hard_edges

    def fill(
        self, points: Points, colour: Colour, *, blur: Number = 0.0, shade: Number = 0.0
    ) -> None:
        """Fill a shape.

        Args:
            points: The shape.
            colour: Its colour.
            blur: Standard deviation of a blur of its edge, in pixels.
            shade: How much brighter the top is than the bottom, of 1.
        """

        def draw(canvas: ImageDraw.ImageDraw, corners: list[tuple[float, float]]) -> None:
            canvas.polygon(corners, 255)

        self._paint(points, 1 + 3 * blur, draw, colour, blur=blur, shade=shade)

    def stroke(self, points: Points, width: Number, colour: Colour) -> None:
        """Draw along a shape's edge with a pen that is `width` pixels wide."""

        def draw(canvas: ImageDraw.ImageDraw, corners: list[tuple[float, float]]) -> None:
            pen = max(1, round(width * _OVERSAMPLING))
            canvas.line([*corners, *corners[:2]], 255, pen, "curve")

        self._paint(points, 1 + width, draw, colour)

    def write(self, x: Number, y: Number, text: str, size: Number, colour: Colour) -> None:
        """Write a text around (x, y), bold, `size` pixels tall."""
        reach = size * max(1, len(text))
        box = rounded_box(x - reach, y - size, 2 * reach, 2 * size, 0)

        def draw(canvas: ImageDraw.ImageDraw, corners: list[tuple[float, float]]) -> None:
            low, high = np.min(corners, axis=0), np.max(corners, axis=0)
            x, y = (low + high) / 2
            pen = max(1, round(0.05 * size * _OVERSAMPLING))
            font = _font(max(4, round(size * _OVERSAMPLING)))
            canvas.text((float(x), float(y)), text, 255, font, anchor="mm", stroke_width=pen)

        self._paint(box, 1, draw, colour)

    def grain(self, strength: Number, rng: np.random.Generator) -> None:
        """Roughen what has been painted, as a photograph or a texture is rough."""
        height, width = self._pixels.shape[:2]
        coarse = rng.normal(size=(height // 3 + 1, width // 3 + 1, 1)).repeat(3, 0).repeat(3, 1)
        noise = coarse[:height, :width] + rng.normal(size=(height, width, 1))
        alpha = self._pixels[..., 3:]
        changed = self._pixels[..., :3] + strength * noise.astype(np.float32) * alpha
        self._pixels[..., :3] = np.clip(changed, 0, alpha)

    def fade(self, opacity: Number) -> None:
        """Make all that has been painted more transparent."""
        self._pixels *= np.float32(opacity)

    def look(self) -> Look:
        """Return the picture."""
        alpha = self._pixels[..., 3:]
        colours = self._pixels[..., :3] / np.maximum(alpha, 1e-6)
        straight = np.concatenate([colours, alpha], axis=-1)
        return np.clip(np.rint(straight * 255), 0, 255).astype(np.uint8)

    def _paint(
        self,
        points: Points,
        reach: Number,
        draw: Callable[[ImageDraw.ImageDraw, list[tuple[float, float]]], None],
        colour: Colour,
        *,
        blur: Number = 0.0,
        shade: Number = 0.0,
    ) -> None:
        """Draw a coverage inside the smallest box that holds it, and lay the colour over."""
        points = points - self._origin
        height, width = self._pixels.shape[:2]
        x0, y0 = (max(0, int(v)) for v in np.floor(points.min(axis=0) - reach))
        x1, y1 = np.ceil(points.max(axis=0) + reach).astype(int)
        x1, y1 = min(int(x1), width), min(int(y1), height)
        if x0 >= x1 or y0 >= y1:
            return
        size = ((x1 - x0) * _OVERSAMPLING, (y1 - y0) * _OVERSAMPLING)
        mask = Image.new("L", size)
        # Pillow draws a polygon through the middles of pixels.
        corners = (points - (x0, y0)) * _OVERSAMPLING - 0.5
        draw(ImageDraw.Draw(mask), [(float(x), float(y)) for x, y in corners])
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur * _OVERSAMPLING))
        coverage = np.asarray(mask.reduce(_OVERSAMPLING), np.float32)[..., None] / 255
        if self._has_hard_edges:
            coverage = (coverage >= 0.5).astype(np.float32)
        self._lay_over(x0, y0, coverage, colour, shade)

    def _lay_over(
        self,
        x: int,
        y: int,
        coverage: Float32[np.ndarray, "h w 1"],
        colour: Colour,
        shade: Number,
    ) -> None:
        height, width = coverage.shape[:2]
        light = 1 + shade * np.linspace(0.5, -0.5, height, dtype=np.float32)[:, None, None]
        colours = np.clip(np.array(colour[:3], np.float32) * light, 0, 1)
        alpha = coverage * np.float32(colour[3])
        below = self._pixels[y : y + height, x : x + width]
        below *= 1 - alpha
        below[..., :3] += colours * alpha
        below[..., 3:] += alpha


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def enlarge(look: Look, factor: int) -> UInt8[np.ndarray, "tall wide 4"]:
    """Repeat each pixel, as programs enlarge pixel art."""
    return look.repeat(factor, axis=0).repeat(factor, axis=1)
