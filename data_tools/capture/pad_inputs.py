"""Where on a pad a control is read."""

from dataclasses import dataclass

from data_tools.capture.event_codes import code_name
from data_tools.capture.event_device import EV_ABS, EV_KEY, AxisState
from nitrogen_train.actions import GAMEPAD

CONTROLS = tuple(name for name in GAMEPAD.controls if name not in GAMEPAD.unlabelled)
"""What a pad can have."""
TRIGGERS = ("LEFT_TRIGGER", "RIGHT_TRIGGER")


@dataclass(frozen=True, kw_only=True)
class PadInput:
    """A button, an axis, or one side of an axis."""

    kind: int
    """EV_KEY or EV_ABS."""
    code: int
    side: int = 0
    """Of an axis: -1 for its negative side, 1 for its positive one, 0 for the whole."""

    def __str__(self) -> str:
        return ("", "+", "-")[self.side] + code_name(self.kind, self.code)


Inputs = dict[str, PadInput]
"""By control."""


def key_input(code: int) -> PadInput:
    """Name a button as an input."""
    return PadInput(kind=EV_KEY, code=code)


def axis_input(code: int, side: int = 0) -> PadInput:
    """Name an axis, or a side of it, as an input."""
    return PadInput(kind=EV_ABS, code=code, side=side)


def is_hat(axis: AxisState | None) -> bool:
    """Say whether an axis has three places, as a d-pad's has; a touch pad's has thousands."""
    return axis is not None and (axis.minimum, axis.maximum) == (-1, 1)
