"""The drawing of each action space's controller below a frame."""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, ActionSpace
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE
from nitrogen_train.data.keyboard_overlay import draw_keyboard
from nitrogen_train.data.pad_overlay import draw_pad

DrawControls = Callable[..., UInt8[np.ndarray, "tall wide 3"]]
"""Enlarges a frame and draws a controller's state below it; called as `draw_pad` is."""

_DRAWINGS: dict[str, DrawControls] = {GAMEPAD.name: draw_pad, KEYBOARD_MOUSE.name: draw_keyboard}


def choose_drawing(space: ActionSpace) -> DrawControls:
    """Find how a layout's controller is drawn."""
    return _DRAWINGS[space.name]
