"""Load skins of other programs, most of which training never sees, from a folder of artwork.

    FOLDER/simple-input-overlay/{Xbox,Playstation}/*.png ─► foreign_masks ────────┐
    FOLDER/zergatul/*.svg ─► foreign_svg ─────────────────────────────────────────┤
    FOLDER/mini-padder/*.{json,png} ─► foreign_instructions ──────────────────────┼─► {name: Skin}
    FOLDER/xbox-controller/*.{json,png} ─► nitrogen_train.skins.input_overlay ────┘

The artwork has licences of its own and stays outside of this project. The skins whose names begin
with `known-` may be used in training, too: they are here for comparison.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.foreign_instructions import INSTRUCTION_PADS, load_instruction_pad
from benchmarks.foreign_masks import MASK_PADS, load_mask_pad
from benchmarks.foreign_svg import SVG_PADS, load_svg_pad
from nitrogen_train.skins.input_overlay import load_preset
from nitrogen_train.skins.skin import Skin

_KNOWN = "known-"
_PRESETS = ("", "-black", "-white", "-clear", "-show-player")
_FADES_S = {"zergatul-": 0.25}
"""How long a released button stays visible, by the beginning of the skin's name."""
_logger = logging.getLogger(__name__)

Load = Callable[[], Skin]


def load_foreign_skins(folder: Path) -> dict[str, Skin]:
    """Load the skins that a folder has artwork for, of each program in turn.

    A skin whose artwork is missing or damaged is left out, with a line in the log.
    """
    programs: list[Sequence[tuple[str, Load]]] = []
    for name, list_pads in _PROGRAMS.items():
        if (folder / name).is_dir():
            programs.append(list_pads(folder / name))
        else:
            _logger.warning("the skins of %s are left out: %s is no folder", name, folder / name)
    skins: dict[str, Skin] = {}
    for turn in itertools.zip_longest(*programs):
        for name, load in filter(None, turn):
            try:
                skins[name] = replace(load(), name=name)
            except (OSError, ValueError, LookupError, TypeError, ImportError) as error:
                _logger.warning("%s is left out: %s: %s", name, type(error).__name__, error)
    return skins


def was_held_out(name: str) -> bool:
    """Tell whether training has never seen a foreign skin."""
    return not name.startswith(_KNOWN)


def find_fade_s(name: str) -> float:
    """Tell for how many seconds a skin shows a released button, less and less."""
    return next((fade for start, fade in _FADES_S.items() if name.startswith(start)), 0.0)


def _list_masks(folder: Path) -> Sequence[tuple[str, Load]]:
    return [
        (f"simple-{pad.lower()}-{colour}", partial(load_mask_pad, folder, pad, colour))
        for pad, colour in MASK_PADS
    ]


def _list_drawings(folder: Path) -> Sequence[tuple[str, Load]]:
    return [(name, partial(load_svg_pad, folder, name)) for name in SVG_PADS]


def _list_instructions(folder: Path) -> Sequence[tuple[str, Load]]:
    return [(name, partial(load_instruction_pad, folder, name)) for name in INSTRUCTION_PADS]


def _list_presets(folder: Path) -> Sequence[tuple[str, Load]]:
    pictures = [f"xbox-controller{colour}" for colour in _PRESETS]
    return [
        (f"{_KNOWN}{picture}", partial(load_preset, folder / f"{picture}.png"))
        for picture in pictures
    ]


_PROGRAMS = {
    "simple-input-overlay": _list_masks,
    "zergatul": _list_drawings,
    "mini-padder": _list_instructions,
    "xbox-controller": _list_presets,
}
