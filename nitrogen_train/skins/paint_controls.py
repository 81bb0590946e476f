"""Paint the looks of one control at rest and pressed, as a style has them.

style, shape, letter or symbol, colour ─► ControlPainter ─► place, released look, pressed look
"""

from collections.abc import Callable

import numpy as np

from nitrogen_train.skins.brush import Brush, Colour, Points, ellipse, mix, resize
from nitrogen_train.skins.pad_plans import Spot
from nitrogen_train.skins.pad_styles import PadStyle
from nitrogen_train.skins.skin import Look, Number

Glyph = str | tuple[Points, ...]
"""A text, or shapes around (0, 0) of radius 1, which are drawn as lines."""


class ControlPainter:
    """Paints controls of one style.

    Args:
        style: How they look.
        unit: Native pixels of a hundredth of the pad's width.
        pressed_tint: What a press adds to a face that has its colour at rest, too.
    """

    def __init__(self, style: PadStyle, unit: float, pressed_tint: Colour) -> None:
        self.style, self.unit, self.pressed_tint = style, unit, pressed_tint
        self.pen = max(1.0, style.stroke * unit)
        """Width of a line, in native pixels."""

    def paint_both(self, shape: Points, paint: Callable[..., None]) -> tuple[Spot, Look, Look]:
        """Paint the released and the pressed look on canvases of the same place and size."""
        size = float(np.ptp(shape, axis=0).max())
        margin = 2 * self.pen + 0.12 * size + 3.2 * self.unit * (self.style.press == "glow") + 1
        at, up = self.make_canvas(shape, margin)
        _, down = self.make_canvas(shape, margin)
        paint(up, is_pressed=False)
        paint(down, is_pressed=True)
        return at, up.look(), down.look()

    def make_canvas(self, shape: Points, margin: float) -> tuple[Spot, Brush]:
        """Make a canvas in whole pixels around a shape."""
        left, top = (int(value) for value in np.floor(shape.min(axis=0) - margin))
        right, bottom = (int(value) for value in np.ceil(shape.max(axis=0) + margin))
        origin = float(left), float(top)
        brush = Brush(right - left, bottom - top, origin, has_hard_edges=self.style.kind == "pixel")
        return origin, brush

    def paint_filled(
        self, brush: Brush, *, is_pressed: bool, shape: Points, glyph: Glyph | None
    ) -> None:
        """Paint a control whose press is its colour, whatever the style says."""
        style = self.style
        self.paint_shape(brush, shape, style.pressed if is_pressed else style.released)
        self._paint_glyph(brush, glyph, shape, style.pressed_label if is_pressed else style.label)

    def paint_coloured(
        self,
        brush: Brush,
        *,
        is_pressed: bool,
        shape: Points,
        glyph: Glyph | None,
        colour: Colour,
    ) -> None:
        """Paint a face that has its colour at rest, too."""
        fill = mix(colour, self.pressed_tint, 0.6) if is_pressed else colour
        self.paint_shape(brush, shape, fill)
        is_light = sum(fill[:3]) > 1.6
        self._paint_glyph(brush, glyph, shape, (0.1, 0.1, 0.1, 1) if is_light else (1, 1, 1, 1))

    def paint_control(
        self,
        brush: Brush,
        *,
        is_pressed: bool,
        shape: Points,
        glyph: Glyph | None,
        colour: Colour | None,
    ) -> None:
        """Paint one look of a control."""
        style = self.style
        label = colour or style.label
        if style.press == "fade":
            self.paint_shape(brush, shape, style.pressed)
            self._paint_glyph(brush, glyph, shape, style.pressed_label)
            if not is_pressed:
                brush.fade(0.3)
        elif not is_pressed:
            self.paint_shape(brush, shape, style.released)
            self._paint_glyph(brush, glyph, shape, label)
        else:
            self._paint_pressed(brush, shape, glyph, colour or style.pressed, label)

    def _paint_pressed(
        self, brush: Brush, shape: Points, glyph: Glyph | None, lit: Colour, label: Colour
    ) -> None:
        style, fill = self.style, lit
        match style.press:
            case "glow":
                brush.fill(resize(shape, 1.2), (*lit[:3], 0.8), blur=0.8 * self.unit)
                label = style.pressed_label
            case "grow":
                shape = resize(shape, 1.18)
                label = style.pressed_label
            case "shift":
                shape = shape + np.array((0.0, max(1.0, 0.5 * self.unit)))
                fill = mix(style.released, lit, 0.45)
            case "glyph" | "dot":
                fill = style.released
                label = lit if glyph else label
            case "invert":
                fill, label = (*style.label[:3], 1.0), (*style.released[:3], 1.0)
            case _:
                label = style.pressed_label
        self.paint_shape(brush, shape, fill)
        if style.press == "dot" or (style.press == "glyph" and glyph is None):
            brush.fill(resize(shape, 0.5), lit)
            return
        self._paint_glyph(brush, glyph, shape, label)
        if style.press == "glyph":
            brush.stroke(shape, 1.3 * self.pen, lit)

    def paint_cap(
        self, brush: Brush, *, is_pressed: bool, x: Number, y: Number, cap: Number
    ) -> None:
        """Paint the part of a stick that moves."""
        style = self.style
        fill = style.pressed if is_pressed else style.released
        if style.kind == "outline" and not is_pressed:
            fill = (*style.body[:3], max(fill[3], 0.25 if style.stick == "bowl" else 0.0))
        edge = style.edge
        if is_pressed and style.press in ("glyph", "dot"):
            fill, edge = style.released, style.pressed
        if is_pressed and style.press == "shift":
            cap *= 0.88
        if style.stick == "dot":
            fill = style.pressed if is_pressed else style.label
        shape = ellipse(x, y, cap)
        if style.stick != "ring" or is_pressed:
            brush.fill(shape, fill, shade=style.shade)
        if style.stick != "dot":
            brush.stroke(shape, self.pen, edge)
        self._paint_cap_marks(brush, x, y, cap, edge)

    def _paint_cap_marks(
        self, brush: Brush, x: Number, y: Number, cap: Number, edge: Colour
    ) -> None:
        match self.style.stick:
            case "ring":
                brush.stroke(ellipse(x, y, 0.75 * cap), 1.6 * self.pen, edge)
            case "bowl":
                brush.fill(ellipse(x, y, 0.72 * cap), (0, 0, 0, 0.3), shade=1.0)
                brush.stroke(ellipse(x, y, 0.72 * cap), 0.6 * self.pen, (*edge[:3], 0.6))
            case "cross":
                for dx, dy in ((0.6 * cap, 0), (0, 0.6 * cap)):
                    line = np.array(((x - dx, y - dy), (x + dx, y + dy)))
                    brush.stroke(line, self.pen, edge)
            case "notches":
                for turn in np.linspace(0, 2 * np.pi, 20, endpoint=False):
                    direction = np.array((np.cos(turn), np.sin(turn)))
                    line = np.array((x, y)) + np.outer((0.78, 0.95), cap * direction)
                    brush.stroke(line, 0.6 * self.pen, edge)
                brush.stroke(ellipse(x, y, 0.7 * cap), 0.7 * self.pen, edge)
            case _:
                pass

    def paint_shape(self, brush: Brush, shape: Points, fill: Colour) -> None:
        """Fill a shape, and draw its edge where the style has edges."""
        if fill[3] > 0:
            brush.fill(shape, fill, shade=self.style.shade)
        if self.style.kind == "outline" or self.style.stroke > 0.6:
            # The line leaves room for the fill.
            pen = min(self.pen, 0.22 * float(np.ptp(shape, axis=0).min()))
            brush.stroke(shape, pen, self.style.edge)

    def _paint_glyph(
        self, brush: Brush, glyph: Glyph | None, shape: Points, colour: Colour
    ) -> None:
        if glyph is None:
            return
        low, high = shape.min(axis=0), shape.max(axis=0)
        middle, radius = (low + high) / 2, float((high - low).min() / 2)
        if isinstance(glyph, str):
            brush.write(float(middle[0]), float(middle[1]), glyph, 1.15 * radius, colour)
            return
        for points in glyph:
            line = middle + 0.48 * radius * points
            brush.stroke(line, max(0.8, 0.16 * radius), colour)
