"""Frames with controllers drawn below them, for people to see what was pressed."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nitrogen_train.actions import GAMEPAD, ActionSpace, Controls
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE
from nitrogen_train.data.keyboard_overlay import draw_keyboard_strip
from nitrogen_train.data.pad_overlay import draw_pad_strip

_STRIPS: dict[str, Callable[[Controls, int, str], Image.Image]] = {
    GAMEPAD.name: draw_pad_strip,
    KEYBOARD_MOUSE.name: draw_keyboard_strip,
}


def draw_controls(
    frame: UInt8[np.ndarray, "h w 3"],
    states: Sequence[tuple[str, Controls]],
    *,
    space: ActionSpace,
    width: int = 512,
    aspect: float | None = None,
) -> UInt8[np.ndarray, "tall wide 3"]:
    """Enlarge a frame and draw controllers below it, one below the other.

    Args:
        frame: RGB of any size.
        states: A few words for each controller's lower left corner, and what is held.
        space: The layout of all of them.
        width: Of the result, in pixels.
        aspect: Width over height of the picture as it was played; the frame's own if None.

    Returns:
        RGB with even sides, as video wants them.
    """
    width += width % 2
    draw = _STRIPS[space.name]
    strips = [np.array(draw(controls, width, caption)) for caption, controls in states]
    shown_height = round(width / (aspect or frame.shape[1] / frame.shape[0]))
    height = shown_height + (shown_height + sum(map(len, strips))) % 2
    shown = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.concatenate([np.array(shown), *strips])
