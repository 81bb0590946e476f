"""Readings of controls whose values are given."""

from typing import Any

import numpy as np

from data_tools.watching.reading import Box, PadStretch, Reading
from nitrogen_train.actions import GAMEPAD


def make_reading(fps: float = 30.0, **controls: Any) -> Reading:
    num_rows = len(next(iter(controls.values())))
    buttons = np.zeros((num_rows, len(GAMEPAD.buttons)), np.float32)
    sticks = np.zeros((num_rows, len(GAMEPAD.sticks)), np.float32)
    for name, values in controls.items():
        if name in GAMEPAD.buttons:
            buttons[:, GAMEPAD.buttons.index(name)] = values
        else:
            sticks[:, GAMEPAD.sticks.index(name)] = values
    return Reading(
        layout="xbox", drawn=frozenset(controls), width=320, height=180, fps=fps,
        times_s=np.arange(num_rows) / fps, buttons=buttons,
        button_confidence=np.ones_like(buttons), sticks=sticks,
        stick_confidence=np.ones_like(sticks), readable=np.ones(num_rows, bool),
        residual=np.ones(num_rows, np.float32), stretches=(),
    )  # fmt: skip


def make_stretch(start: int, stop: int, box: Box) -> PadStretch:
    return PadStretch(start=start, stop=stop, box=box, opacity=1.0, blur_px=0.0, match=1.0)
