"""What the drawings of controllers share: colours, and an image in hundredths of its width."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Drawn this much larger and shrunk, which smooths the edges.
OVERSAMPLING = 2

BACKGROUND: Colour = (14, 16, 22)
BODY: Colour = (39, 43, 54)
EDGE: Colour = (78, 85, 103)
WELL: Colour = (24, 27, 35)
RELEASED: Colour = (66, 72, 88)
LIT: Colour = (255, 184, 64)
TEXT: Colour = (176, 184, 200)


class Canvas:
    """An image that is drawn on in hundredths of its width."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width / 100

    def circle(
        self, x: float, y: float, radius: float, fill: Colour, edge: Colour | None = None
    ) -> None:
        """Draw a disc around (x, y)."""
        box = self._scale(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, fill, edge, round(0.3 * self._unit))

    def bar(
        self, x: float, y: float, width: float, height: float, fill: Colour, *, corner: float = 1.6
    ) -> None:
        """Draw a box with round corners from its top left corner (x, y)."""
        box = self._scale(x, y, x + width, y + height)
        self._draw.rounded_rectangle(box, min(width / 2, height / 2, corner) * self._unit, fill)

    def polygon(self, points: list[tuple[float, float]], fill: Colour, edge: Colour) -> None:
        """Draw a closed outline, filled."""
        scaled = [(x * self._unit, y * self._unit) for x, y in points]
        self._draw.polygon(scaled, fill)
        self._draw.line([*scaled, scaled[0]], edge, round(0.5 * self._unit), "curve")

    def text(
        self, x: float, y: float, words: str, fill: Colour, *, size: float, anchor: str = "mm"
    ) -> None:
        """Write words at (x, y), which `anchor` places them by."""
        place = (x * self._unit, y * self._unit)
        self._draw.text(place, words, fill, _font(round(size * self._unit)), anchor=anchor)

    def _scale(self, *lengths: float) -> list[float]:
        return [length * self._unit for length in lengths]


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
