"""Choose how our own pads look: colours, lines, and what a press changes.

A style is a set of choices that a pad is drawn by; `random_style` makes one of a seed. The choices
follow what streamers show: outlines over the game, solid pads on a body, pixel art; presses that
fill, glow, change the letter, sink in, light up a faded button, or show a dot.
"""

import colorsys
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

from nitrogen_train.skins.brush import Colour
from nitrogen_train.skins.skin import Number

Kind = Literal["outline", "solid", "pixel"]
Press = Literal["fill", "glow", "glyph", "shift", "fade", "dot", "grow", "invert"]
Labels = Literal["letters", "symbols", "none"]
DpadLook = Literal["arms", "arrows", "nine", "disc", "dots"]
StickLook = Literal["disc", "ring", "dot", "cross", "notches", "bowl"]
TriggerLook = Literal["crop", "opacity", "binary"]

KINDS: tuple[Kind, ...] = get_args(Kind)
_PRESSES: tuple[Press, ...] = get_args(Press)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class PadStyle:
    """How a pad is drawn."""

    kind: Kind
    has_plate: bool
    """Whether the controls lie on a body."""
    press: Press
    body: Colour
    edge: Colour
    """Of lines around the body and the controls."""
    released: Colour
    """The fill of a control at rest."""
    pressed: Colour
    label: Colour
    pressed_label: Colour
    faces: tuple[Colour, Colour, Colour, Colour]
    """The colours of SOUTH, EAST, WEST and NORTH: of the letter at rest, of the fill pressed."""
    has_coloured_faces: bool
    are_faces_filled: bool
    """Whether faces of colour have it at rest, too, and a press makes them lighter or darker."""
    labels: Labels
    stroke: float
    """Width of lines, in hundredths of the pad's width."""
    dpad: DpadLook
    stick: StickLook
    stick_travel: float
    """How far an axis of 1 shifts a stick, in hundredths of the pad's width."""
    trigger: TriggerLook
    shade: float
    """How much brighter the top of a control is than its bottom."""
    grain: float
    """How rough the body is."""
    has_shadow: bool
    hides_released: bool
    """Whether the body alone shows where a control is, until it is pressed."""
    width: int
    """Native pixels of the whole pad."""


def random_style(rng: np.random.Generator, kind: Kind | None = None) -> PadStyle:
    """Choose a style.

    Args:
        rng: Decides.
        kind: The kind of drawing; None chooses one.
    """
    kind = kind or _choose(rng, KINDS, (0.42, 0.48, 0.10))
    has_plate = bool(rng.random() < {"outline": 0.55, "solid": 0.75, "pixel": 0.8}[kind])
    body = _random_body(rng, kind)
    is_dark = _brightness(body) < 0.45 or (kind == "outline" and rng.random() < 0.6)
    line = _line_colour(rng, is_dark=is_dark)
    released = _random_released(rng, kind, body, is_dark=is_dark)
    pressed = _random_accent(rng, released)
    has_letters_of_colour = bool(rng.random() < 0.35)
    return PadStyle(
        kind=kind,
        has_plate=has_plate,
        press=_choose(rng, _PRESSES, _PRESS_SHARES[kind]),
        body=body,
        edge=line,
        released=released,
        pressed=pressed,
        label=_against(rng, released if released[3] > 0.5 else body, line),
        pressed_label=_against(rng, pressed, None),
        faces=_random_faces(rng, pressed, is_coloured=has_letters_of_colour),
        has_coloured_faces=has_letters_of_colour,
        are_faces_filled=has_letters_of_colour and bool(rng.random() < 0.4),
        labels=_choose(rng, ("letters", "symbols", "none"), (0.6, 0.2, 0.2)),
        stroke=float(rng.uniform(0.35, 1.1) * (1.6 if kind == "pixel" else 1.0)),
        dpad=_choose(rng, get_args(DpadLook), (0.38, 0.15, 0.22, 0.13, 0.12)),
        stick=_choose(rng, get_args(StickLook), (0.26, 0.18, 0.16, 0.1, 0.15, 0.15)),
        stick_travel=float(np.exp(rng.uniform(np.log(0.9), np.log(6.0)))),
        trigger=_choose(rng, get_args(TriggerLook), (0.5, 0.25, 0.25)),
        shade=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.6)])),
        grain=float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0.01, 0.035)])),
        has_shadow=bool(rng.random() < 0.2),
        hides_released=bool(rng.random() < 0.08),
        width=int(rng.integers(420, 1000)),
    )


_PRESS_SHARES: dict[str, tuple[float, ...]] = {
    "outline": (0.40, 0.14, 0.12, 0.03, 0.10, 0.09, 0.06, 0.06),
    "solid": (0.40, 0.13, 0.10, 0.10, 0.07, 0.06, 0.06, 0.08),
    "pixel": (0.70, 0.0, 0.05, 0.08, 0.05, 0.07, 0.0, 0.05),
}
"""In the order of `Press`."""


def _choose(rng: np.random.Generator, choices: tuple[_T, ...], shares: tuple[float, ...]) -> _T:
    return choices[int(rng.choice(len(choices), p=np.array(shares) / sum(shares)))]


def _hsv(hue: Number, saturation: Number, value: Number, opacity: Number = 1.0) -> Colour:
    return (*colorsys.hsv_to_rgb(hue % 1, saturation, value), opacity)


def _brightness(colour: Colour) -> float:
    return float(np.dot(colour[:3], (0.3, 0.59, 0.11)))


def _distance(first: Colour, second: Colour) -> float:
    """Compare two colours as seen over grey, in [0, 1] and more where hue differs, too."""
    a, b = (np.array(c[:3]) * c[3] + 0.45 * (1 - c[3]) for c in (first, second))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _random_body(rng: np.random.Generator, kind: str) -> Colour:
    opacity = float(rng.choice([1.0, 1.0, rng.uniform(0.35, 0.9)]))
    if kind == "outline":
        opacity = float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.5)]))
    match rng.choice(5, p=(0.42, 0.22, 0.14, 0.16, 0.06)):
        case 0:
            return _hsv(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.05, 0.28), opacity)
        case 1:
            return _hsv(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.82, 1.0), opacity)
        case 2:
            return _hsv(rng.random(), rng.uniform(0, 0.15), rng.uniform(0.3, 0.75), opacity)
        case 3:
            return _hsv(rng.random(), rng.uniform(0.4, 1), rng.uniform(0.35, 0.9), opacity)
        case _:
            return _hsv(rng.random(), 0.0, rng.uniform(0, 1), opacity)


def _line_colour(rng: np.random.Generator, *, is_dark: bool) -> Colour:
    if rng.random() < 0.2:
        return _hsv(rng.random(), rng.uniform(0.4, 1), rng.uniform(0.5, 1) if is_dark else 0.4)
    return _hsv(
        rng.random(),
        rng.uniform(0, 0.1),
        rng.uniform(0.65, 1.0) if is_dark else rng.uniform(0, 0.35),
    )


def _random_released(rng: np.random.Generator, kind: str, body: Colour, *, is_dark: bool) -> Colour:
    if kind == "outline":
        opacity = float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.5)]))
        return _hsv(rng.random(), 0.1, rng.uniform(0, 0.4), opacity)
    for _ in range(20):
        value = rng.uniform(0.05, 0.6) if is_dark else rng.uniform(0.1, 0.95)
        colour = _hsv(rng.random(), rng.uniform(0, 0.3), value)
        if _distance(colour, body) > 0.06:
            return colour
    return _hsv(0, 0, 0.5)


def _random_accent(rng: np.random.Generator, released: Colour) -> Colour:
    """Choose a colour of presses that differs from the released one."""
    for _ in range(50):
        if rng.random() < 0.3:
            colour = _hsv(0, 0, float(rng.choice([rng.uniform(0.8, 1.0), rng.uniform(0, 0.3)])))
        else:
            colour = _hsv(rng.random(), rng.uniform(0.45, 1), rng.uniform(0.45, 1))
        if _distance(colour, released) > 0.2:
            return colour
    return _hsv(0, 0, 1.0 if _brightness(released) < 0.5 else 0.0)


def _against(rng: np.random.Generator, ground: Colour, wanted: Colour | None) -> Colour:
    """Choose a colour that can be read on a ground."""
    if wanted is not None and _distance(wanted, (*ground[:3], 1.0)) > 0.25:
        return wanted
    light = _brightness(ground) < 0.5
    return _hsv(0, 0, float(rng.uniform(0.8, 1)) if light else float(rng.uniform(0, 0.25)))


_Faces = tuple[Colour, Colour, Colour, Colour]
_XBOX: _Faces = (
    _hsv(0.33, 0.75, 0.75),
    _hsv(0.0, 0.8, 0.85),
    _hsv(0.6, 0.8, 0.85),
    _hsv(0.14, 0.9, 0.95),
)
_PLAYSTATION: _Faces = (
    _hsv(0.6, 0.45, 0.9), _hsv(0.0, 0.6, 0.95), _hsv(0.88, 0.4, 0.9), _hsv(0.42, 0.6, 0.8),
)  # fmt: skip
_SUPER: _Faces = (
    _hsv(0.14, 0.8, 0.9),
    _hsv(0.0, 0.8, 0.8),
    _hsv(0.37, 0.8, 0.6),
    _hsv(0.63, 0.8, 0.75),
)


def _random_faces(rng: np.random.Generator, pressed: Colour, *, is_coloured: bool) -> _Faces:
    if not is_coloured:
        return pressed, pressed, pressed, pressed
    if rng.random() < 0.2:
        a, b, c, d = (_hsv(float(hue), 0.7, 0.9) for hue in rng.random(4))
        return a, b, c, d
    return (_XBOX, _PLAYSTATION, _SUPER)[int(rng.integers(3))]
