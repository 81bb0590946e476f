"""Name what has a place of its own on a pad, in the order of the networks' inputs and outputs."""

from nitrogen_train.actions import GAMEPAD

STICKS = ("LEFT_STICK", "RIGHT_STICK")
THUMBS = ("LEFT_THUMB", "RIGHT_THUMB")
"""The clicks of the sticks, in their order."""
_HALVES = ("RIGHT_BOTTOM", "RIGHT_LEFT", "RIGHT_RIGHT", "RIGHT_UP")
"""Of NitroGen's names; no pad shows them apart from its right stick."""
BUTTONS = tuple(name for name in GAMEPAD.buttons if name not in {*THUMBS, *_HALVES})
"""Controls that stay where they are; a stick carries its own button with it."""
PLACED = (*BUTTONS, *STICKS)
