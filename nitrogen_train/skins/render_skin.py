"""Render the picture of one state of a skin.

    Skin (elements, native pixels) + width ─► Renderer ─► .render(state) ─► pad, premultiplied RGBA
                                                      └─► .boxes: where each control can be seen
    frame, pad ─► composite ─► frame with the pad on it

A streaming program composes the elements at the skin's native size and scales the result down to
the size of display by the mean of the pixels that fall together. The renderer does the same, but
composes at twice the size of display where the native size is larger: a pad of 2048 pixels shown
200 pixels wide costs as much as a small one. Both agree except where the edges of two elements
cross within one pixel.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from nitrogen_train.skins.skin import (
    Box,
    Button,
    Dpad,
    Element,
    Extent,
    Look,
    Number,
    Picture,
    Place,
    Skin,
    State,
    Stick,
    Trigger,
    choose_dpad_look,
    find_bounds,
    find_extents,
    join_boxes,
    list_controls,
    premultiply,
)

_BINARY_TRIGGER_ABOVE = 0.1
"""A trigger that is shown pressed or not is pressed from this value on."""


@dataclass(frozen=True)
class _Axis:
    """Equally wide pixels laid over native pixels, along one direction."""

    start: Number
    """The native place of the first pixel's edge."""
    step: Number
    """Native pixels per pixel."""
    count: int

    def cover(self, at: Number, size: Number) -> tuple[int, int]:
        """Find the pixels that a span of native pixels touches: first, and last plus one."""
        first = math.floor((at - self.start) / self.step + 1e-6)
        last = math.ceil((at + size - self.start) / self.step - 1e-6)
        return max(first, 0), min(last, self.count)

    def edges(self, first: int, last: int) -> Float64[np.ndarray, " n"]:
        return self.start + self.step * np.arange(first, last + 1)


Patch = tuple[int, int, Float32[np.ndarray, "_ _ 4"]]


class _Sprite:
    """A look, ready to be averaged over any pixels at any place.

    The mean over a pixel is a difference of running sums, which are linear between native pixels:
    so a sprite is shifted by parts of a pixel without another blur.
    """

    def __init__(self, look: Look) -> None:
        self.height, self.width = look.shape[:2]
        sums = np.zeros((self.height + 1, self.width + 1, 4))
        sums[1:, 1:] = premultiply(look)
        np.cumsum(sums, axis=0, out=sums)
        self._sums = np.cumsum(sums, axis=1, out=sums)

    def sample(
        self, x: Number, y: Number, across: _Axis, along: _Axis, crop: Extent | None = None
    ) -> Patch | None:
        """Average the sprite at native place (x, y), or its `crop`; None lies off the canvas."""
        left, top, right, bottom = crop or (0, 0, self.width, self.height)
        x0, x1 = across.cover(x + left, right - left)
        y0, y1 = along.cover(y + top, bottom - top)
        if x0 >= x1 or y0 >= y1:
            return None
        rows = np.clip(along.edges(y0, y1) - y, top, bottom)
        columns = np.clip(across.edges(x0, x1) - x, left, right)
        sums = _difference(self._sums, rows).swapaxes(0, 1)
        mean = _difference(sums, columns).swapaxes(0, 1) / (across.step * along.step)
        return x0, y0, mean.astype(np.float32)


def _difference(
    sums: Float64[np.ndarray, "n m 4"], places: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, "l m 4"]:
    """Take running sums between neighbouring places along the first axis."""
    whole = np.minimum(places.astype(int), len(sums) - 2)
    part = (places - whole)[:, None, None]
    return np.diff(sums[whole] * (1 - part) + sums[whole + 1] * part, axis=0)


class _Canvas:
    """A part of the composed picture, whose pixels know where they lie in it."""

    def __init__(self, pixels: Float32[np.ndarray, "h w 4"], left: int = 0, top: int = 0) -> None:
        self.pixels, self._left, self._top = pixels, left, top

    def lay(self, patch: Patch | None, opacity: Number = 1.0) -> None:
        """Lay a sprite over what is there."""
        if patch is None or opacity <= 0:
            return
        x, y, sprite = patch[0] - self._left, patch[1] - self._top, patch[2]
        if x < 0 or y < 0:
            sprite = sprite[max(-y, 0) :, max(-x, 0) :]
            x, y = max(x, 0), max(y, 0)
        below = self.pixels[y : y + sprite.shape[0], x : x + sprite.shape[1]]
        sprite = sprite[: below.shape[0], : below.shape[1]]
        if opacity < 1:
            sprite = sprite * np.float32(opacity)
        below *= 1 - sprite[..., 3:]
        below += sprite

    def lay_mixed(self, up: Patch | None, down: Patch | None, share: Number) -> None:
        """Lay a mixture of two looks over what is there, `share` of it the second one's."""
        if share <= 0 or share >= 1:
            self.lay(down if share >= 1 else up)
            return
        patches = [(patch, part) for patch, part in ((up, 1 - share), (down, share)) if patch]
        if not patches:
            return
        left = min(x for (x, _, _), _ in patches)
        top = min(y for (_, y, _), _ in patches)
        right = max(x + sprite.shape[1] for (x, _, sprite), _ in patches)
        bottom = max(y + sprite.shape[0] for (_, y, sprite), _ in patches)
        mixed = np.zeros((bottom - top, right - left, 4), np.float32)
        for (x, y, sprite), part in patches:
            rows = slice(y - top, y - top + sprite.shape[0])
            mixed[rows, x - left : x - left + sprite.shape[1]] += sprite * np.float32(part)
        self.lay((left, top, mixed))


Draw = Callable[[_Canvas, State], None]


@dataclass(frozen=True)
class _Layer:
    """An element, ready to be drawn."""

    draw: Draw
    bounds: Box
    """Composed pixels that its looks can touch."""
    changes: Box | None
    """Composed pixels that its controls can change."""
    controls: tuple[str, ...]


@dataclass(frozen=True)
class _Taps:
    """A way to scale native rows to rows of display, as a few weighted rows for each."""

    rows: tuple[Int64[np.ndarray, " k"], ...]
    weights: tuple[Float32[np.ndarray, "k 1 1"], ...]

    @classmethod
    def make(cls, shown: _Axis, num_rows: int) -> "_Taps":
        """Choose the weights: means where rows shrink, lines between two where they grow."""
        starts = shown.edges(0, shown.count - 1)
        if shown.step < 1:
            starts = starts + shown.step / 2 - 0.5
        first = np.floor(starts).astype(np.int64)
        rows, weights = [], []
        for tap in range(math.ceil(shown.step) + 1):
            places = first + tap
            if shown.step < 1:
                share = 1 - np.abs(places - starts)
            else:
                ends = np.minimum(places + 1, starts + shown.step)
                share = (ends - np.maximum(places, starts)) / shown.step
            is_there = (places >= 0) & (places < num_rows)
            rows.append(np.clip(places, 0, num_rows - 1))
            weights.append((np.maximum(share, 0) * is_there).astype(np.float32)[:, None, None])
        return cls(tuple(rows), tuple(weights))

    def apply(self, canvas: Float32[np.ndarray, "n m 4"]) -> Float32[np.ndarray, "k m 4"]:
        """Scale the first axis."""
        out = canvas[self.rows[0]] * self.weights[0]
        for rows, weights in zip(self.rows[1:], self.weights[1:], strict=True):
            out += canvas[rows] * weights
        return out


class Renderer:
    """Draw the states of a skin at one size.

    Args:
        skin: The skin to draw.
        width: The width of the whole skin in pixels of display; it need not be a whole number.
        offset: The place of the skin's top left corner in the picture returned, each in [0, 1);
            a skin that is placed between pixels has parts of a pixel.

    Example:
        >>> red = np.full((10, 10, 4), (255, 0, 0, 255), np.uint8)
        >>> skin = Skin("dot", "generic", 40, 20, (Button("SOUTH", (10, 0), None, red),))
        >>> renderer = Renderer(skin, 20)
        >>> renderer.boxes, renderer.render({"SOUTH": 1.0})[:, 7, 0].tolist()
        ({'SOUTH': (5, 0, 10, 5)}, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, skin: Skin, width: Number, offset: Place = (0.0, 0.0)) -> None:
        self.skin = skin
        self.scale = width / skin.width
        """Pixels of display per native pixel."""
        self._shown = tuple(
            _Axis(-start / self.scale, 1 / self.scale, math.ceil(start + size * self.scale - 1e-6))
            for start, size in zip(offset, (skin.width, skin.height), strict=True)
        )
        self._is_halved = 2 * self.scale < 1
        across, along = (
            _Axis(axis.start, axis.step / 2, 2 * axis.count)
            if self._is_halved
            else _Axis(0.0, 1.0, math.ceil(size))
            for axis, size in zip(self._shown, (skin.width, skin.height), strict=True)
        )
        self._axes = across, along
        still, moving = _split(skin.elements)
        base = _Canvas(np.zeros((along.count, across.count, 4), np.float32))
        for picture in still:
            base.lay(self._patch(picture.look, picture.at))
        self._base = base.pixels
        self._layers = [self._make_layer(element) for element in moving]

    @property
    def size(self) -> tuple[int, int]:
        """The width and the height of the pictures."""
        return self._shown[0].count, self._shown[1].count

    @cached_property
    def boxes(self) -> dict[str, Box]:
        """Where each control can change the picture, sticks at any place of their travel."""
        boxes: dict[str, Box] = {}
        # Enlarged, a native pixel is blended with its neighbours.
        margin = 1.0 if self.scale > 1 else 0.0
        for element in self.skin.elements:
            for name, (left, top, right, bottom) in find_extents(element).items():
                x0, x1 = self._shown[0].cover(left - margin, right - left + 2 * margin)
                y0, y1 = self._shown[1].cover(top - margin, bottom - top + 2 * margin)
                boxes[name] = join_boxes([boxes.get(name), (x0, y0, x1, y1)]) or (x0, y0, x1, y1)
        return boxes

    @cached_property
    def sticks(self) -> dict[str, tuple[float, float, float]]:
        """The middle of each stick at rest, and how far an axis of 1 shifts it, by its x axis."""
        x, y = (-axis.start * self.scale for axis in self._shown)
        return {
            e.x: (
                x + self.scale * (e.at[0] + e.up.shape[1] / 2),
                y + self.scale * (e.at[1] + e.up.shape[0] / 2),
                self.scale * e.travel,
            )
            for e in self.skin.elements
            if isinstance(e, Stick)
        }

    def render(self, state: State) -> Float32[np.ndarray, "h w 4"]:
        """Draw one state: colours and opacity in [0, 1], colours multiplied by opacity."""
        composed, shown = self._at_rest
        changed = [
            layer.changes
            for layer in self._layers
            if layer.changes and any(state.get(name) for name in layer.controls)
        ]
        if not self._is_halved:
            canvas = composed.copy()
            for left, top, right, bottom in changed:
                canvas[top:bottom, left:right] = self._compose((left, top, right, bottom), state)
            return self._resample(canvas) if changed else shown.copy()
        shown = shown.copy()
        for left, top, right, bottom in changed:
            x0, y0, x1, y1 = left // 2, top // 2, -(-right // 2), -(-bottom // 2)
            part = self._compose((2 * x0, 2 * y0, 2 * x1, 2 * y1), state)
            shown[y0:y1, x0:x1] = self._resample(part)
        return shown

    @cached_property
    def _at_rest(self) -> tuple[Float32[np.ndarray, "n m 4"], Float32[np.ndarray, "h w 4"]]:
        """Compose the state of rest: most of it is the same in every state."""
        across, along = self._axes
        composed = self._compose((0, 0, across.count, along.count), {})
        return composed, self._resample(composed)

    def _compose(self, box: Box, state: State) -> Float32[np.ndarray, "n m 4"]:
        """Compose a part of the picture of a state."""
        left, top, right, bottom = box
        canvas = _Canvas(self._base[top:bottom, left:right].copy(), left, top)
        for layer in self._layers:
            x0, y0, x1, y1 = layer.bounds
            if x0 < right and x1 > left and y0 < bottom and y1 > top:
                layer.draw(canvas, state)
        return canvas.pixels

    def _resample(self, canvas: Float32[np.ndarray, "n m 4"]) -> Float32[np.ndarray, "h w 4"]:
        """Scale what has been composed to pixels of display."""
        if self._is_halved:
            rows = canvas[::2] + canvas[1::2]
            return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)
        across, along = self._taps
        return across.apply(along.apply(canvas).swapaxes(0, 1)).swapaxes(0, 1)

    @cached_property
    def _taps(self) -> tuple[_Taps, _Taps]:
        across, along = (
            _Taps.make(shown, axis.count)
            for shown, axis in zip(self._shown, self._axes, strict=True)
        )
        return across, along

    def _make_layer(self, element: Element) -> _Layer:
        return _Layer(
            draw=self._prepare(element),
            bounds=self._cover(find_bounds(element)),
            changes=join_boxes([self._cover(extent) for extent in find_extents(element).values()]),
            controls=list_controls(element),
        )

    def _cover(self, extent: Extent) -> Box:
        """Find the composed pixels that native ones touch."""
        left, top, right, bottom = extent
        x0, x1 = self._axes[0].cover(left, right - left)
        y0, y1 = self._axes[1].cover(top, bottom - top)
        return x0, y0, x1, y1

    def _prepare(self, element: Element) -> Draw:
        match element:
            case Picture():
                return self._prepare_picture(element)
            case Button():
                return self._prepare_button(element)
            case Stick():
                return self._prepare_stick(element)
            case Trigger():
                return self._prepare_trigger(element)
            case Dpad():
                return self._prepare_dpad(element)

    def _patch(self, look: Look | None, at: Place) -> Patch | None:
        return None if look is None else _Sprite(look).sample(*at, *self._axes)

    def _prepare_picture(self, picture: Picture) -> Draw:
        patch = self._patch(picture.look, picture.at)

        def draw(canvas: _Canvas, _: State) -> None:
            canvas.lay(patch)

        return draw

    def _prepare_button(self, button: Button) -> Draw:
        up, down = self._patch(button.up, button.at), self._patch(button.down, button.at)

        def draw(canvas: _Canvas, state: State) -> None:
            canvas.lay_mixed(up, down, state.get(button.control, 0.0))

        return draw

    def _prepare_stick(self, stick: Stick) -> Draw:
        up = _Sprite(stick.up)
        down = up if stick.down is None else _Sprite(stick.down)

        def draw(canvas: _Canvas, state: State) -> None:
            x = stick.at[0] + stick.travel * state.get(stick.x, 0.0)
            y = stick.at[1] + stick.travel * state.get(stick.y, 0.0)
            press = state.get(stick.press, 0.0) if stick.press else 0.0
            released = up.sample(x, y, *self._axes) if press < 1 else None
            pressed = down.sample(x, y, *self._axes) if press > 0 else None
            canvas.lay_mixed(released, pressed, press)

        return draw

    def _prepare_trigger(self, trigger: Trigger) -> Draw:
        up, down = self._patch(trigger.up, trigger.at), self._patch(trigger.down, trigger.at)
        sprite = _Sprite(trigger.down)

        def draw(canvas: _Canvas, state: State) -> None:
            value = min(max(state.get(trigger.control, 0.0), 0.0), 1.0)
            if trigger.mode == "binary":
                canvas.lay(down if value >= _BINARY_TRIGGER_ABOVE else up)
                return
            canvas.lay(up)
            if trigger.mode == "opacity":
                canvas.lay(down, value)
                return
            crop = _crop(trigger, value)
            canvas.lay(sprite.sample(*trigger.at, *self._axes, crop))

        return draw

    def _prepare_dpad(self, dpad: Dpad) -> Draw:
        patches = [self._patch(look, dpad.at) for look in dpad.looks]

        def draw(canvas: _Canvas, state: State) -> None:
            canvas.lay(patches[choose_dpad_look(state)])

        return draw


def _split(elements: tuple[Element, ...]) -> tuple[list[Picture], tuple[Element, ...]]:
    """Part the pictures below everything else from the elements above."""
    still = list(itertools.takewhile(lambda element: isinstance(element, Picture), elements))
    return [e for e in still if isinstance(e, Picture)], elements[len(still) :]


def _crop(trigger: Trigger, value: Number) -> Extent:
    """Tell the part of a trigger's look that its value uncovers, in whole native pixels."""
    height, width = trigger.down.shape[:2]
    wide, tall = int(width * value), int(height * value)
    match trigger.direction:
        case "up":
            return 0, height - tall, width, height
        case "down":
            return 0, 0, width, tall
        case "left":
            return width - wide, 0, width, height
        case "right":
            return 0, 0, wide, height


def composite(
    frame: UInt8[np.ndarray, "h w 3"],
    pad: Float32[np.ndarray, "tall wide 4"],
    at: tuple[int, int],
    opacity: Number = 1.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay a rendered pad over a copy of a frame.

    Args:
        frame: The picture below, RGB.
        pad: What `Renderer.render` returned.
        at: The place of the pad's left and top edge in the frame; what lies outside is cut off.
        opacity: The opacity of the whole pad, in [0, 1].
    """
    out = frame.copy()
    x, y = at
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + pad.shape[1], frame.shape[1]), min(y + pad.shape[0], frame.shape[0])
    if x0 >= x1 or y0 >= y1:
        return out
    part = pad[y0 - y : y1 - y, x0 - x : x1 - x]
    below = frame[y0:y1, x0:x1].astype(np.float32)
    mixed = below * (1 - opacity * part[..., 3:]) + 255 * opacity * part[..., :3]
    out[y0:y1, x0:x1] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return out
