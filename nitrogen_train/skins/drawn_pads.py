"""Draw controller overlays by code: as many different ones as there are seeds.

    plan (where) + style (how it looks) ─► elements, their looks by `paint_controls` ─► Skin

The pads are what a reader of unknown overlays learns from, and what anybody may draw on a video:
their artwork is ours. Everything of a pad follows from its generator, so a seed is a pad.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from nitrogen_train.skins.brush import (
    Brush,
    Colour,
    Points,
    ellipse,
    enlarge,
    mix,
    resize,
    rounded_box,
    star,
)
from nitrogen_train.skins.pad_plans import LAYOUTS, Layout, PadPlan, Spot, plan_pad
from nitrogen_train.skins.pad_styles import PadStyle, random_style
from nitrogen_train.skins.paint_controls import ControlPainter, Glyph
from nitrogen_train.skins.skin import (
    DPAD_LOOKS,
    Button,
    Direction,
    Dpad,
    Element,
    Look,
    Number,
    Picture,
    Skin,
    Stick,
    Trigger,
    premultiply,
)

_PIXEL_WIDTHS = (56, 130)
"""Native widths of pixel art, before its pixels are enlarged."""
_PIXEL_ART_WIDTH = 480
_LEAST_CHANGE = 0.05
"""Mean change that a press makes to the pixels of a control."""

_CROSS = (np.array(((-1.0, -1.0), (1.0, 1.0))), np.array(((-1.0, 1.0), (1.0, -1.0))))
_SYMBOLS: dict[str, Glyph] = {
    "SOUTH": _CROSS,
    "EAST": (ellipse(0, 0, 1.1),),
    "WEST": (rounded_box(-1, -1, 2, 2, 0.05),),
    "NORTH": (star(0, 0.15, 1.25, 3),),
}
_LETTERS: dict[str, dict[str, str]] = {
    "xbox": {"SOUTH": "A", "EAST": "B", "WEST": "X", "NORTH": "Y"},
    "switch": {"SOUTH": "B", "EAST": "A", "WEST": "Y", "NORTH": "X"},
    "generic": {"SOUTH": "1", "EAST": "2", "WEST": "3", "NORTH": "4"},
}
_TOP_LETTERS: dict[str, dict[str, str]] = {
    "xbox": {"SHOULDER": "B", "TRIGGER": "T"},
    "playstation": {"SHOULDER": "1", "TRIGGER": "2"},
    "switch": {"SHOULDER": "", "TRIGGER": "Z"},
    "generic": {"SHOULDER": "1", "TRIGGER": "2"},
}
_ARROWS = {"DPAD_UP": 0.0, "DPAD_RIGHT": 0.5, "DPAD_DOWN": 1.0, "DPAD_LEFT": -0.5}
"""Turns of an arrow that points up, in halves of a circle."""
_DIRECTIONS = {"DPAD_UP": (0, -1), "DPAD_RIGHT": (1, 0), "DPAD_DOWN": (0, 1), "DPAD_LEFT": (-1, 0)}


def draw_pad(
    layout: Layout,
    style: PadStyle,
    rng: np.random.Generator,
    *,
    name: str = "",
    is_complete: bool = False,
) -> Skin:
    """Draw a pad.

    Args:
        layout: The kind of pad.
        style: How it looks.
        rng: Decides about places and sizes, and what is not shown.
        name: The skin's name; empty takes the layout's and the style's.
        is_complete: Whether every control is shown.
    """
    plan = plan_pad(layout, rng, is_complete=is_complete)
    return _Artist(plan, style, rng, is_complete=is_complete).draw(name or f"{layout}-{style.kind}")


def random_pad(seed: int) -> Skin:
    """Draw the pad of a seed.

    Example:
        >>> random_pad(3).layout, random_pad(3).width == random_pad(3).width
        ('xbox', True)
    """
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[int(rng.choice(len(LAYOUTS), p=(0.33, 0.3, 0.14, 0.23)))]
    return draw_pad(layout, random_style(rng), rng, name=f"drawn-{seed}")


class _Artist:
    """Chooses the elements of one pad, and has them painted, in native pixels."""

    def __init__(
        self, plan: PadPlan, style: PadStyle, rng: np.random.Generator, *, is_complete: bool
    ) -> None:
        self.plan, self.style, self.rng = plan, style, rng
        self.is_pixel = style.kind == "pixel"
        width = int(rng.integers(*_PIXEL_WIDTHS)) if self.is_pixel else style.width
        self.unit = width / 100
        self.elements: list[Element] = []
        # Both sides of a pad look alike.
        self.has_well = style.stick == "dot" or bool(rng.random() < 0.75)
        self.is_well_square = bool(rng.random() < 0.12)
        self.is_well_filled = style.kind != "outline" or bool(rng.random() < 0.3)
        self.is_well_lined = style.kind == "outline" or bool(rng.random() < 0.6)
        self.dot_size = float(rng.uniform(0.2, 0.38))
        self.dot_reach = float(rng.uniform(0.7, 1.0))
        tint: Colour = (1, 1, 1, 1) if rng.random() < 0.6 else (0, 0, 0, 1)
        self.painter = ControlPainter(style, self.unit, tint)
        self.pen = self.painter.pen
        self.shows_thumbs = bool(rng.random() < 0.92) or is_complete
        turn = rng.random()
        self.trigger_direction: Direction = (
            "up" if turn < 0.7 else "down" if turn < 0.85 else "right"
        )

    def draw(self, name: str) -> Skin:
        """Paint all elements in their order."""
        if self.plan.are_shoulders_behind:
            self._add_top()
            self._add_body()
        else:
            self._add_body()
            self._add_top()
        for control, spot in self.plan.smalls.items():
            self._add_small(control, spot)
        # A filled well on top of buttons would hide them.
        are_sticks_first = self.plan.are_sticks_below or self.is_well_filled
        if are_sticks_first:
            self._add_sticks()
        self._add_dpad()
        for control, (x, y) in self.plan.faces.items():
            shape = self._face_shape(x, y)
            self._add_button(control, shape, self._face_glyph(control), self._face_colour(control))
        if not are_sticks_first:
            self._add_sticks()
        width, height = 100 * self.unit, self.plan.height * self.unit
        factor = max(1, round(_PIXEL_ART_WIDTH / width)) if self.is_pixel else 1
        elements = [_enlarge_element(element, factor) for element in self.elements]
        return Skin(
            name=name,
            layout=self.plan.layout,
            width=round(width) * factor,
            height=round(height + 1) * factor,
            elements=tuple(elements),
        )

    def _add_body(self) -> None:
        """Paint what lies below the controls and never changes."""
        style, shape = self.style, self.plan.outline
        has_panel = False
        if shape is None or not style.has_plate:
            if self.rng.random() >= 0.2:
                return
            has_panel = True
            corner = float(self.rng.uniform(0, 6))
            shape = rounded_box(0.5, 0.5, 99, self.plan.height - 1, corner)
        shape = shape * self.unit
        body = style.body if style.kind != "outline" or not has_panel else (0, 0, 0, 0.45)
        at, brush = self.painter.make_canvas(
            shape, 2 * self.pen + (0.06 * shape.max() * style.has_shadow)
        )
        if style.has_shadow:
            shadow = shape + np.array((0.0, 0.8 * self.unit))
            brush.fill(shadow, (0, 0, 0, 0.35), blur=0.8 * self.unit)
        if body[3] > 0:
            brush.fill(shape, body, shade=style.shade)
        self._decorate(brush, has_panel=has_panel)
        if style.grain and not self.is_pixel:
            brush.grain(style.grain, self.rng)
        if style.kind == "outline" or self.rng.random() < 0.65:
            brush.stroke(shape, self.pen * float(self.rng.uniform(1, 1.6)), style.edge)
        self.elements.append(Picture(at, brush.look()))

    def _decorate(self, brush: Brush, *, has_panel: bool) -> None:
        """Paint a touchpad and lines on the body."""
        style = self.style
        if self.plan.touchpad is not None and not has_panel:
            shape = self.plan.touchpad * self.unit
            if style.kind != "outline":
                brush.fill(shape, mix(style.body, style.edge, 0.15), shade=style.shade)
            brush.stroke(shape, self.pen, style.edge)
        if self.plan.outline is not None and not has_panel and self.rng.random() < 0.25:
            inner = resize(self.plan.outline * self.unit, float(self.rng.uniform(0.9, 0.96)))
            brush.stroke(inner, 0.6 * self.pen, (*style.edge[:3], 0.5))

    def _add_top(self) -> None:
        letters = _TOP_LETTERS[self.plan.layout]
        for control, shape in {**self.plan.triggers, **self.plan.shoulders}.items():
            side, kind = control.split("_")
            letter = letters[kind]
            text = letter + side[0] if letter == "Z" else side[0] + letter
            glyph = text if self.style.labels == "letters" and not self.is_pixel else None
            if kind == "SHOULDER":
                self._add_button(control, shape * self.unit, glyph, None)
            else:
                self._add_trigger(control, shape * self.unit, glyph)

    def _add_small(self, control: str, spot: Spot) -> None:
        x, y = (value * self.unit for value in spot)
        radius = max(1.5, self.plan.small_radius * self.unit)
        if control == "GUIDE":
            shape = ellipse(x, y, 1.5 * radius)
        elif self.plan.layout == "playstation":
            shape = rounded_box(x - 0.6 * radius, y - radius, 1.2 * radius, 2 * radius, radius)
        elif self.plan.layout == "generic":
            shape = rounded_box(
                x - 1.6 * radius, y - 0.7 * radius, 3.2 * radius, 1.4 * radius, radius
            )
        else:
            shape = ellipse(x, y, radius)
        glyph: Glyph | None = None
        if self.style.labels != "none" and not self.is_pixel:
            glyph = _small_glyph(control, self.plan.layout)
        self._add_button(control, shape, glyph, None)

    def _face_shape(self, x: Number, y: Number) -> Points:
        radius = self.plan.face_radius * self.unit
        x, y = x * self.unit, y * self.unit
        if self.is_pixel and radius < 3:
            return rounded_box(x - radius, y - radius, 2 * radius, 2 * radius, 0.4 * radius)
        return ellipse(x, y, radius)

    def _face_glyph(self, control: str) -> Glyph | None:
        if self.style.labels == "none" or (self.is_pixel and self.plan.face_radius * self.unit < 5):
            return None
        if self.plan.layout == "playstation" or self.style.labels == "symbols":
            return _SYMBOLS[control]
        return _LETTERS[self.plan.layout][control]

    def _face_colour(self, control: str) -> Colour | None:
        if not self.style.has_coloured_faces:
            return None
        return self.style.faces[("SOUTH", "EAST", "WEST", "NORTH").index(control)]

    def _add_button(
        self, control: str, shape: Points, glyph: Glyph | None, colour: Colour | None
    ) -> None:
        """Add a button with the looks that the style gives it."""
        paint = partial(self.painter.paint_control, shape=shape, glyph=glyph, colour=colour)
        if colour is not None and self.style.are_faces_filled:
            paint = partial(self.painter.paint_coloured, shape=shape, glyph=glyph, colour=colour)
        at, up, down = self.painter.paint_both(shape, paint)
        if not _differ(up, down):
            at, up, down = self.painter.paint_both(
                shape, partial(self.painter.paint_filled, shape=shape, glyph=glyph)
            )
        if self.style.hides_released:
            self.elements.append(Picture(at, up))
        self.elements.append(Button(control, at, None if self.style.hides_released else up, down))

    def _add_trigger(self, control: str, shape: Points, glyph: Glyph | None) -> None:
        mode = self.style.trigger
        if mode == "binary":
            paint = partial(self.painter.paint_control, shape=shape, glyph=glyph, colour=None)
        else:
            paint = partial(self.painter.paint_filled, shape=shape, glyph=glyph)
        at, up, down = self.painter.paint_both(shape, paint)
        self.elements.append(Trigger(control, at, up, down, mode, self.trigger_direction))

    def _add_dpad(self) -> None:
        if self.plan.dpad is None:
            return
        x, y = (value * self.unit for value in self.plan.dpad)
        radius = self.plan.dpad_radius * self.unit
        adders: Mapping[str, Callable[[Number, Number, Number], None]] = {
            "arms": self._add_arms,
            "arrows": self._add_arrows,
            "nine": self._add_nine,
            "disc": self._add_disc,
            "dots": self._add_dots,
        }
        adders[self.style.dpad](x, y, radius)

    def _add_arms(self, x: Number, y: Number, radius: Number) -> None:
        half = radius * float(self.rng.uniform(0.27, 0.36))
        if self.rng.random() < 0.6:
            self._add_picture(_plus(x, y, radius, half))
        has_arrows = self.rng.random() < 0.5 and not self.is_pixel
        for control, (dx, dy) in _DIRECTIONS.items():
            a, b = half, radius
            x0, x1 = sorted((x + a * dx - half * abs(dy), x + b * dx + half * abs(dy)))
            y0, y1 = sorted((y + a * dy - half * abs(dx), y + b * dy + half * abs(dx)))
            shape = rounded_box(x0, y0, x1 - x0, y1 - y0, 0.25 * half)
            self._add_button(control, shape, _arrow(control) if has_arrows else None, None)

    def _add_arrows(self, x: Number, y: Number, radius: Number) -> None:
        """Add four directions apart from each other: triangles, discs or boxes."""
        kind = int(self.rng.integers(3))
        size = radius * float(self.rng.uniform(0.34, 0.46))
        for control, (dx, dy) in _DIRECTIONS.items():
            spot = x + 0.66 * radius * dx, y + 0.66 * radius * dy
            if kind == 0:
                shape = star(*spot, 1.15 * size, 3, _ARROWS[control] * np.pi)
            elif kind == 1:
                shape = ellipse(*spot, 0.9 * size)
            else:
                side = 0.85 * size
                shape = rounded_box(spot[0] - side, spot[1] - side, 2 * side, 2 * side, 0.4 * side)
            self._add_button(control, shape, _arrow(control) if kind == 2 else None, None)

    def _add_nine(self, x: Number, y: Number, radius: Number) -> None:
        """Add one sprite of nine looks, which may also tilt."""
        half = radius * float(self.rng.uniform(0.27, 0.36))
        tilt = float(self.rng.choice([0.0, 0.0, 0.06, 0.1])) * radius
        plus = _plus(x, y, radius, half)
        looks: list[Look] = []
        at = (0.0, 0.0)
        for name in DPAD_LOOKS:
            pressed = [c for c in _DIRECTIONS if c.removeprefix("DPAD_").lower() in name.split("_")]
            shift = tilt * np.sum([_DIRECTIONS[c] for c in pressed] or [(0, 0)], axis=0)
            at, brush = self.painter.make_canvas(plus, 2 * self.pen + 0.2 * radius)
            self.painter.paint_shape(brush, plus + shift, self.style.released)
            for control in pressed:
                dx, dy = _DIRECTIONS[control]
                centre = x + 0.66 * radius * dx, y + 0.66 * radius * dy
                arm = rounded_box(
                    centre[0] - half * 0.9, centre[1] - half * 0.9, 1.8 * half, 1.8 * half, 1
                )
                brush.fill(arm + shift, self.style.pressed)
            looks.append(brush.look())
        self.elements.append(Dpad(at, tuple(looks)))

    def _add_disc(self, x: Number, y: Number, radius: Number) -> None:
        """Add a disc whose quarters light up."""
        self._add_picture(ellipse(x, y, radius))
        for control, (dx, dy) in _DIRECTIONS.items():
            middle = np.arctan2(dy, dx)
            turns = middle + np.linspace(-np.pi / 4, np.pi / 4, 9)
            reach = 0.9 * radius
            arc = np.stack([x + reach * np.cos(turns), y + reach * np.sin(turns)], axis=1)
            shape = np.concatenate([[(x, y)], arc])
            self._add_lit(control, shape)

    def _add_dots(self, x: Number, y: Number, radius: Number) -> None:
        """Add a plus on whose arms dots appear."""
        self._add_picture(_plus(x, y, radius, radius * float(self.rng.uniform(0.3, 0.38))))
        for control, (dx, dy) in _DIRECTIONS.items():
            spot = x + 0.66 * radius * dx, y + 0.66 * radius * dy
            self._add_lit(control, ellipse(*spot, max(1.0, 0.2 * radius)))

    def _add_lit(self, control: str, shape: Points) -> None:
        """Add a button that shows nothing until it is pressed."""
        at, brush = self.painter.make_canvas(shape, 2 * self.pen)
        brush.fill(shape, self.style.pressed)
        self.elements.append(Button(control, at, None, brush.look()))

    def _add_picture(self, shape: Points) -> None:
        at, brush = self.painter.make_canvas(shape, 2 * self.pen)
        self.painter.paint_shape(brush, shape, self.style.released)
        self.elements.append(Picture(at, brush.look()))

    def _add_sticks(self) -> None:
        for side, spot in self.plan.sticks.items():
            self._add_stick(side, spot)

    def _add_stick(self, side: str, spot: Spot) -> None:
        x, y = (value * self.unit for value in spot)
        plan, style = self.plan, self.style
        cap, well = plan.cap_radius * self.unit, plan.well_radius * self.unit
        travel = min(style.stick_travel * self.unit, 0.8 * cap)
        if plan.are_sticks_below:
            travel = (well - cap) * self.dot_reach
        if style.stick == "dot":
            cap = max(1.5, well * self.dot_size)
            travel = (well - cap) * self.dot_reach
        if self.has_well:
            self._add_well(x, y, well)
        shape = ellipse(x, y, cap)
        at, up, down = self.painter.paint_both(
            shape, partial(self.painter.paint_cap, x=x, y=y, cap=cap)
        )
        press = f"{side}_THUMB" if self.shows_thumbs and _differ(up, down) else None
        names = f"{side}_STICK_X", f"{side}_STICK_Y"
        self.elements.append(Stick(*names, press, at, travel, up, down if press else None))

    def _add_well(self, x: Number, y: Number, radius: Number) -> None:
        style = self.style
        shape = ellipse(x, y, radius)
        if self.is_well_square:
            shape = rounded_box(x - radius, y - radius, 2 * radius, 2 * radius, 0.1 * radius)
        at, brush = self.painter.make_canvas(shape, 2 * self.pen)
        if self.is_well_filled:
            dark = mix(style.body, (0, 0, 0, 1), 0.5)
            brush.fill(shape, (*dark[:3], max(0.3, style.body[3])), shade=-style.shade)
        if self.is_well_lined:
            brush.stroke(shape, self.pen, style.edge)
        if style.stick in ("dot", "cross"):
            brush.stroke(np.array(((x - radius, y), (x + radius, y))), 0.5 * self.pen, style.edge)
            brush.stroke(np.array(((x, y - radius), (x, y + radius))), 0.5 * self.pen, style.edge)
        self.elements.append(Picture(at, brush.look()))


def _differ(up: Look, down: Look) -> bool:
    """Tell whether a press can be seen: some sizes leave no room for a dot or a letter."""
    first, second = premultiply(up), premultiply(down)
    visible = np.maximum(first[..., 3], second[..., 3]).sum()
    return float(np.abs(first - second).max(axis=-1).sum()) > _LEAST_CHANGE * float(visible)


def _plus(x: Number, y: Number, radius: Number, half: float) -> Points:
    r, h = radius, half
    corners = (
        (-h, -r), (h, -r), (h, -h), (r, -h), (r, h), (h, h),
        (h, r), (-h, r), (-h, h), (-r, h), (-r, -h), (-h, -h),
    )  # fmt: skip
    return np.array(corners) + np.array((x, y))


def _arrow(control: str) -> Glyph:
    return (star(0, 0, 0.9, 3, _ARROWS[control] * np.pi),)


def _small_glyph(control: str, layout: str) -> Glyph | None:
    if control == "GUIDE":
        return _CROSS if layout == "xbox" else None
    bars = tuple(np.array(((-0.9, y), (0.9, y))) for y in (-0.7, 0.0, 0.7))
    if layout == "switch":
        upright = np.array(((0.0, -1.0), (0.0, 1.0)))
        return (bars[1], upright) if control == "START" else (bars[1],)
    if layout == "xbox":
        squares = rounded_box(-0.9, -0.9, 1.2, 1.2, 0.1), rounded_box(-0.3, -0.3, 1.2, 1.2, 0.1)
        return bars if control == "START" else squares
    return None


def _enlarge_element(element: Element, factor: int) -> Element:
    """Make every native pixel a square of pixels."""
    if factor == 1:
        return element
    at = element.at[0] * factor, element.at[1] * factor
    grow = partial(enlarge, factor=factor)
    match element:
        case Picture():
            return replace(element, at=at, look=grow(element.look))
        case Dpad():
            return replace(element, at=at, looks=tuple(grow(look) for look in element.looks))
        case Stick():
            down = None if element.down is None else grow(element.down)
            travel = element.travel * factor
            return replace(element, at=at, travel=travel, up=grow(element.up), down=down)
        case Button() | Trigger():
            up = None if element.up is None else grow(element.up)
            return replace(element, at=at, up=up, down=grow(element.down))
