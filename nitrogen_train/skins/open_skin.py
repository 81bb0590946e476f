"""Open a skin by its name or its file.

xbox | playstation | switch | drawn-SEED ─► a pad drawn by code
FILE.json | FILE.png                     ─► a preset of input-overlay
FOLDER                                   ─► all presets in it
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.runtime.atomic_files import describe_error, did_you_mean
from nitrogen_train.skins.drawn_pads import draw_pad, random_pad
from nitrogen_train.skins.input_overlay import load_preset
from nitrogen_train.skins.pad_plans import Layout
from nitrogen_train.skins.pad_styles import PadStyle
from nitrogen_train.skins.skin import Button, Picture, Skin

_PLAIN = PadStyle(
    kind="solid",
    has_plate=True,
    press="fill",
    body=(0.13, 0.14, 0.17, 0.92),
    edge=(0.45, 0.48, 0.55, 1.0),
    released=(0.30, 0.32, 0.38, 1.0),
    pressed=(1.0, 0.72, 0.25, 1.0),
    label=(0.85, 0.87, 0.92, 1.0),
    pressed_label=(0.08, 0.08, 0.1, 1.0),
    faces=((0.40, 0.84, 0.44, 1), (1.0, 0.38, 0.35, 1), (0.33, 0.63, 1.0, 1), (1.0, 0.82, 0.25, 1)),
    has_coloured_faces=True,
    are_faces_filled=False,
    labels="letters",
    stroke=0.45,
    dpad="arms",
    stick="bowl",
    stick_travel=3.2,
    trigger="crop",
    shade=0.15,
    grain=0.0,
    has_shadow=False,
    hides_released=False,
    width=960,
)
_WHITE = replace(
    _PLAIN,
    body=(0.90, 0.91, 0.93, 0.95),
    edge=(0.20, 0.22, 0.26, 1.0),
    released=(0.24, 0.26, 0.31, 1.0),
    pressed=(0.20, 0.55, 0.95, 1.0),
    pressed_label=(1.0, 1.0, 1.0, 1.0),
    faces=(
        (0.55, 0.68, 0.95, 1), (0.95, 0.42, 0.42, 1), (0.92, 0.60, 0.85, 1), (0.40, 0.82, 0.68, 1),
    ),
)  # fmt: skip
_LINES = replace(
    _PLAIN,
    kind="outline",
    body=(0.0, 0.0, 0.0, 0.35),
    edge=(1.0, 1.0, 1.0, 1.0),
    released=(0.0, 0.0, 0.0, 0.3),
    pressed=(0.90, 0.20, 0.20, 1.0),
    pressed_label=(1.0, 1.0, 1.0, 1.0),
    label=(1.0, 1.0, 1.0, 1.0),
    has_coloured_faces=False,
    stroke=0.6,
    stick="ring",
)
_NAMED: dict[str, tuple[Layout, PadStyle, int]] = {
    "xbox": ("xbox", _PLAIN, 3),
    "playstation": ("playstation", _WHITE, 1),
    "switch": ("switch", _LINES, 3),
}
SKINS = tuple(_NAMED)
"""The names of the fixed skins."""
_DRAWN = "drawn-"


def open_skin(text: str) -> Skin:
    """Open a skin.

    Args:
        text: One of `SKINS`, `drawn-SEED`, or the path of a preset's layout or picture.

    Raises:
        ValueError: If there is no such skin, or the preset cannot be used.
    """
    if text in _NAMED:
        layout, style, seed = _NAMED[text]
        rng = np.random.default_rng(seed)
        return draw_pad(layout, style, rng, name=text, is_complete=True)
    number = text.removeprefix(_DRAWN)
    if text.startswith(_DRAWN) and number.isascii() and number.isdigit():
        return random_pad(int(number))
    path = Path(text)
    if path.suffix.lower() in (".json", ".png"):
        return _release_keys(load_preset(path), path)
    names = ", ".join(SKINS)
    raise ValueError(
        f"there is no skin {text!r}: expected {names}, {_DRAWN}SEED, or the .json or .png of a "
        f"preset{did_you_mean(text, SKINS, lead=', ')}"
    )


def open_presets(folder: Path) -> tuple[list[Skin], list[str]]:
    """Open all presets in a folder and the folders in it, each by its picture.

    Returns:
        The skins, named by their pictures, and a line for each picture that is none.

    Raises:
        ValueError: If there is none.
    """
    skins, faults = [], []
    for path in sorted(folder.rglob("*.png")):
        try:
            skins.append(replace(open_skin(str(path)), name=path.stem))
        except (ValueError, OSError) as error:
            faults.append(f"{path}: {describe_error(error).removeprefix(f'{path}: ')}")
    if not skins:
        raise ValueError(f"{folder} holds no preset of input-overlay that can be used")
    return skins, faults


def _release_keys(skin: Skin, path: Path) -> Skin:
    """Draw keys and mouse buttons at rest, as no log of a gamepad tells of them.

    Raises:
        ValueError: If nothing else is shown.
    """
    others = set(skin.controls) - {*GAMEPAD.buttons, *GAMEPAD.sticks}
    if len(others) == len(skin.controls):
        raise ValueError(f"{path} shows no control of a gamepad")
    if not others:
        return skin
    elements = tuple(
        Picture(element.at, element.up)
        if isinstance(element, Button) and element.control in others and element.up is not None
        else element
        for element in skin.elements
    )
    note = f"{', '.join(sorted(others))}: not of a gamepad, drawn released"
    return replace(skin, elements=elements, notes=(*skin.notes, note))
