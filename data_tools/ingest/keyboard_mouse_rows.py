"""What other people's recorders say of a keyboard and a mouse, gathered row by row."""

import re
from collections import Counter

import numpy as np

from nitrogen_train.actions import ActionRows
from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE
from nitrogen_train.data.action_file import ClipActions

# Recorders' names, in small letters and without what stands between words, where Linux's differs.
_OTHER_NAMES = {
    "escape": "KEY_ESC", "return": "KEY_ENTER",
    "leftcontrol": "KEY_LEFTCTRL", "rightcontrol": "KEY_RIGHTCTRL",
    "uparrow": "KEY_UP", "downarrow": "KEY_DOWN",
    "leftarrow": "KEY_LEFT", "rightarrow": "KEY_RIGHT",
    "graveaccent": "KEY_GRAVE", "backquote": "KEY_GRAVE", "equals": "KEY_EQUAL",
    "leftbracket": "KEY_LEFTBRACE", "rightbracket": "KEY_RIGHTBRACE",
    "quote": "KEY_APOSTROPHE", "period": "KEY_DOT",
}  # fmt: skip
_KEYS = {
    name.removeprefix("KEY_").lower(): name
    for name in KEYBOARD_MOUSE.buttons
    if name.startswith("KEY_")
} | _OTHER_NAMES
MOUSE_BUTTONS = ("BTN_LEFT", "BTN_RIGHT", "BTN_MIDDLE")
"""As recorders number them, from 0."""

_MAX_UNKNOWN_NAMES = 20


def find_key(name: str) -> str | None:
    """Find the control of a key that a recorder names, such as `left.shift` or `LeftShift`."""
    return _KEYS.get(re.sub(r"[^a-z0-9]", "", name.lower()))


class KeyboardMouseRows:
    """Rows that are filled one control at a time, and notes on what did not fit in."""

    def __init__(self, num_rows: int) -> None:
        """Begin with nothing pressed or moved, in rows that are not valid.

        Args:
            num_rows: How many there will be.
        """
        self.buttons = np.zeros((num_rows, len(KEYBOARD_MOUSE.buttons)), dtype=bool)
        self.motions = np.zeros((num_rows, len(KEYBOARD_MOUSE.sticks)))
        """Counts to the right, counts down, notches away from the user."""
        self.valid = np.zeros(num_rows, dtype=bool)
        self.notes: Counter[str] = Counter()
        self._unknown: set[str] = set()

    def press(self, row: int, control: str) -> None:
        """Hold a control during a row."""
        self.buttons[row, KEYBOARD_MOUSE.index(control)] = True

    def is_pressed(self, row: int, control: str) -> bool:
        """Tell whether a control is held during a row."""
        return bool(self.buttons[row, KEYBOARD_MOUSE.index(control)])

    def press_key(self, row: int, name: str) -> None:
        """Hold a key that a recorder names, or note that the layout lacks it."""
        control = find_key(name)
        if control is None:
            self._note_unknown(f"key {name[:40]!r}")
        else:
            self.press(row, control)

    def press_mouse(self, row: int, number: int) -> None:
        """Hold a mouse button that a recorder numbers, or note that nobody knows which it is."""
        if 0 <= number < len(MOUSE_BUTTONS):
            self.press(row, MOUSE_BUTTONS[number])
        else:
            self._note_unknown(f"mouse button {number}")

    def to_actions(self) -> ClipActions:
        """Scale the motions; those beyond the scale are clipped, and noted."""
        axes: list[np.ndarray] = []
        for name, motion in zip(KEYBOARD_MOUSE.sticks, self.motions.T, strict=True):
            scale = KEYBOARD_MOUSE.motions[name]
            is_clipped = np.abs(motion) > scale.limit
            self.notes[f"rows with {name} clipped to {scale.limit:g}"] += int(is_clipped.sum())
            axes.append(scale.encode(motion))
        return ClipActions(
            rows=ActionRows(buttons=self.buttons, sticks=np.stack(axes, axis=1)), valid=self.valid
        )

    def _note_unknown(self, what: str) -> None:
        # Names come from strangers' files: not more of them than a report can show.
        if what not in self._unknown and len(self._unknown) >= _MAX_UNKNOWN_NAMES:
            what = "key or mouse button of another name"
        self._unknown.add(what)
        self.notes[f"rows without their {what}, which the action space lacks"] += 1
