"""Build the pads of Zergatul's input overlay from its SVG drawings.

    SVG ─► runs of shapes that never move ─► Picture
        └► shapes whose id names a control ─► Button, Stick, Trigger, Dpad ─► Skin

Shapes are painted one over the other, so each run and each control is rasterized alone, in the
order of the drawing. The program fills a pressed shape and lets it glow. A released one fades; a
state between 0 and 1 draws that. A trigger slides down behind an outline, and is filled.
"""

import copy
import importlib
import io
import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from benchmarks.foreign_looks import crop_looks
from nitrogen_train.skins.skin import (
    DPAD_LOOKS,
    Button,
    Dpad,
    Element,
    Look,
    Picture,
    Skin,
    Stick,
    Trigger,
)

SVG_PADS = {
    "zergatul-series-x": ("XBoxSeriesX-XInput.svg", "xbox", 14),
    "zergatul-dualsense": ("DualSense-XInput.svg", "playstation", 20),
}
"""File, layout, and the travel of a stick in the drawing's 1000 units."""
_SIZE = (1000, 920)
_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = {f"{_SVG}{name}" for name in ("path", "circle", "ellipse", "rect", "polygon", "line")}
_PRESSED = "fill:#2DA026;fill-opacity:1;opacity:1;filter:url(#glow)"
_PULLED = "fill:#2DA026;fill-opacity:1"
_SINK = 60
"""Units that a pulled trigger slides down by."""
_BUTTONS = {
    "ButtonA": "SOUTH",
    "ButtonB": "EAST",
    "ButtonX": "WEST",
    "ButtonY": "NORTH",
    "ButtonBack": "BACK",
    "ButtonStart": "START",
    "ButtonLB": "LEFT_SHOULDER",
    "ButtonRB": "RIGHT_SHOULDER",
    "DPadUp": "DPAD_UP",
    "DPadDown": "DPAD_DOWN",
    "DPadLeft": "DPAD_LEFT",
    "DPadRight": "DPAD_RIGHT",
}
_STICKS = {"LeftStickCore": ("LEFT", "ButtonL3"), "RightStickCore": ("RIGHT", "ButtonR3")}
_TRIGGERS = {"LeftTrigger": "LEFT_TRIGGER", "RightTrigger": "RIGHT_TRIGGER"}
_CLIPS = tuple(f"{name}Clip" for name in _TRIGGERS)
_HAT = ("up", "up_right", "right", "down_right", "down", "down_left", "left", "up_left")
"""The directions of the shapes D0 to D7, which are seen only while they are pressed."""
# The program's filter covers the whole drawing, which takes seconds for each control.
_GLOW = """<filter xmlns="http://www.w3.org/2000/svg" id="glow"
x="-150%" y="-150%" width="400%" height="400%"><feGaussianBlur in="SourceGraphic" stdDeviation="10"
result="blurred"/><feColorMatrix in="blurred" type="matrix" result="white"
values="1 0 0 2 0  0 1 0 2 0  0 0 1 2 0  0 0 0 1 0"/><feMerge><feMergeNode in="white"/><feMergeNode
in="SourceGraphic"/></feMerge></filter>"""


def load_svg_pad(folder: Path, name: str) -> Skin:
    """Build a pad from its drawing.

    Raises:
        OSError: If the drawing is missing.
        ValueError: If it is no drawing that can be used.
        ImportError: If the package that rasterizes it is missing.
    """
    file, layout, travel = SVG_PADS[name]
    drawing = _Drawing(folder / file)
    elements: list[Element] = []
    for unit, shapes in drawing.units:
        if unit is None:
            elements += _build_pictures(drawing, shapes)
        elif unit in _BUTTONS:
            at, (up, down) = crop_looks(drawing.paint(shapes), drawing.press(shapes, unit))
            elements.append(Button(_BUTTONS[unit], at, up, down))
        elif unit in _STICKS:
            elements.append(_build_stick(drawing, shapes, unit, travel))
        elif unit in _TRIGGERS:
            at, (up, down) = crop_looks(
                drawing.paint(shapes, clipped=unit), drawing.pull(shapes, unit)
            )
            elements.append(Trigger(_TRIGGERS[unit], at, up, down, "binary"))
    if drawing.hat:
        elements.append(_build_hat(drawing))
    notes = ("triggers slide and fill by their value: shown at both ends only",)
    return Skin(name, layout, *_SIZE, tuple(elements), notes)


class _Drawing:
    """An SVG whose shapes can be painted apart from each other."""

    def __init__(self, path: Path) -> None:
        try:
            self._root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        except ElementTree.ParseError as error:
            raise ValueError(f"{path.name} is no SVG: {error}") from error
        self._root.append(ElementTree.fromstring(_GLOW))
        self._make_clips()
        shapes = list(_iter_shapes(self._root, None))
        for number, (shape, _) in enumerate(shapes):
            shape.set("data-shape", str(number))
        numbered = [(unit, number) for number, (_, unit) in enumerate(shapes)]
        self.hat = {unit: {number} for unit, number in numbered if unit in _HAT}
        visible = [(u, n) for u, n in numbered if u not in _HAT and u not in _CLIPS]
        self.units = [
            (unit, {number for _, number in run})
            for unit, run in itertools.groupby(visible, key=lambda pair: pair[0])
        ]
        if missing := {*_STICKS, *_TRIGGERS} - {unit for unit, _ in self.units}:
            raise ValueError(f"{path.name} has no {', '.join(sorted(missing))}")
        self._rasterize = importlib.import_module("resvg_py").svg_to_bytes

    def paint(
        self,
        shapes: Collection[int],
        styles: Mapping[str, str] | None = None,
        *,
        clipped: str | None = None,
        sunk: float = 0,
    ) -> Look:
        """Rasterize some shapes, with more style for some ids, on the whole canvas.

        Raises:
            ValueError: If the drawing is of another size, or cannot be rasterized.
        """
        root = copy.deepcopy(self._root)
        for element in root.iter():
            number, name = element.get("data-shape"), element.get("id", "")
            if number is not None and int(number) not in shapes:
                _add_style(element, "display:none")
            if styles and name in styles:
                _add_style(element, styles[name])
            if clipped and name == clipped:
                element.set("clip-path", f"url(#{clipped}ClipPath)")
                element.set("transform", f"translate(0,{sunk})")
            if clipped and name == f"{clipped}ClipPath":
                element.set("transform", f"translate(0,{-sunk})")
        text = ElementTree.tostring(root, encoding="unicode")
        image = Image.open(
            io.BytesIO(self._rasterize(svg_string=text, width=_SIZE[0], skip_system_fonts=True))
        )
        if image.size != _SIZE:
            raise ValueError(f"a drawing of {_SIZE} units is needed, and got {image.size}")
        return np.asarray(image.convert("RGBA"))

    def press(self, shapes: Collection[int], name: str) -> Look:
        """Rasterize shapes while the one called `name` is pressed."""
        return self.paint(shapes, {name: _PRESSED})

    def pull(self, shapes: Collection[int], name: str) -> Look:
        """Rasterize a trigger that is pulled to its end."""
        return self.paint(shapes, {name: _PULLED}, clipped=name, sunk=_SINK)

    def has(self, name: str) -> bool:
        """Tell whether an element of the drawing has an id."""
        return any(element.get("id") == name for element in self._root.iter())

    def _make_clips(self) -> None:
        """Turn the outlines that triggers slide behind into clip paths."""
        for name in _CLIPS:
            for element in list(self._root.iter()):
                if element.get("id") == name:
                    clip = ElementTree.SubElement(self._root, f"{_SVG}clipPath", id=f"{name}Path")
                    inside = ElementTree.SubElement(clip, element.tag, d=element.get("d", ""))
                    inside.set("style", "fill:#000")


def _iter_shapes(
    parent: ElementTree.Element, unit: str | None
) -> Iterator[tuple[ElementTree.Element, str | None]]:
    """Iterate over the shapes, each with the control it belongs to."""
    for element in parent:
        name = element.get("id", "")
        if element.tag in (f"{_SVG}defs", f"{_SVG}clipPath", f"{_SVG}filter"):
            continue
        if len(name) == 2 and name[0] == "D" and name[1] in "01234567":
            name = _HAT[int(name[1])]
        is_moving = name in {*_BUTTONS, *_STICKS, *_TRIGGERS, *_CLIPS, *_HAT}
        inner = unit or (name if is_moving else None)
        if element.tag in _SHAPES:
            yield element, inner
        yield from _iter_shapes(element, inner)


def _add_style(element: ElementTree.Element, style: str) -> None:
    element.set("style", f"{element.get('style', '')};{style}".lstrip(";"))


def _build_pictures(drawing: _Drawing, shapes: Collection[int]) -> list[Element]:
    """Build the picture of shapes that never move; some drawings have only invisible ones."""
    canvas = drawing.paint(shapes)
    if not canvas[..., 3].any():
        return []
    at, (look,) = crop_looks(canvas)
    return [Picture(at, look)]


def _build_stick(drawing: _Drawing, shapes: Collection[int], unit: str, travel: float) -> Stick:
    side, button = _STICKS[unit]
    pressed = button if drawing.has(button) else unit
    at, (up, down) = crop_looks(drawing.paint(shapes), drawing.press(shapes, pressed))
    return Stick(f"{side}_STICK_X", f"{side}_STICK_Y", f"{side}_THUMB", at, travel, up, down)


def _build_hat(drawing: _Drawing) -> Dpad:
    names = {direction: f"D{number}" for number, direction in enumerate(_HAT)}
    looks = [drawing.press(drawing.hat.get(look, ()), names.get(look, "")) for look in DPAD_LOOKS]
    at, cropped = crop_looks(*looks)
    return Dpad(at, cropped)
