"""A keyboard and a mouse: keys and mouse buttons as buttons, the mouse's motion as axes.

Keys and buttons have the names of Linux's input-event-codes.h. A key is where it is on a US
keyboard, whatever is printed on it. `docs/keyboard_mouse.md` says which keys there are, and why.
"""

import string

from nitrogen_train.actions.motion import MotionScale
from nitrogen_train.actions.space import ActionSpace

MOUSE_SCALE = MotionScale(limit=512.0, mu=255.0)
"""Of MOUSE_X and MOUSE_Y, in counts: what a mouse reports, or a game's pixels where it moves a
pointer. One count is 0.07, inside the dead zone of idle rows; two are 0.125."""
WHEEL_SCALE = MotionScale(limit=8.0, mu=7.0)
"""Of MOUSE_WHEEL, in notches; one is 0.30."""

KEYBOARD_MOUSE = ActionSpace(
    name="keyboard_mouse",
    buttons=(
        *(f"KEY_{name}" for name in string.ascii_uppercase + string.digits),
        "KEY_UP", "KEY_DOWN", "KEY_LEFT", "KEY_RIGHT",
        "KEY_SPACE", "KEY_ENTER", "KEY_ESC", "KEY_TAB", "KEY_BACKSPACE", "KEY_CAPSLOCK",
        "KEY_LEFTSHIFT", "KEY_RIGHTSHIFT", "KEY_LEFTCTRL", "KEY_RIGHTCTRL",
        "KEY_LEFTALT", "KEY_RIGHTALT",
        *(f"KEY_F{number}" for number in range(1, 13)),
        "KEY_GRAVE", "KEY_MINUS", "KEY_EQUAL", "KEY_LEFTBRACE", "KEY_RIGHTBRACE", "KEY_BACKSLASH",
        "KEY_SEMICOLON", "KEY_APOSTROPHE", "KEY_COMMA", "KEY_DOT", "KEY_SLASH",
        "KEY_INSERT", "KEY_DELETE", "KEY_HOME", "KEY_END", "KEY_PAGEUP", "KEY_PAGEDOWN",
        "BTN_LEFT", "BTN_RIGHT", "BTN_MIDDLE", "BTN_SIDE", "BTN_EXTRA",
    ),
    sticks=("MOUSE_X", "MOUSE_Y", "MOUSE_WHEEL"),
    motions={"MOUSE_X": MOUSE_SCALE, "MOUSE_Y": MOUSE_SCALE, "MOUSE_WHEEL": WHEEL_SCALE},
)  # fmt: skip
"""89 dims: 86 keys and mouse buttons, then the sums of a row's mouse motion: x to the right, y
down, by `MOUSE_SCALE`, and the wheel, away from the user, by `WHEEL_SCALE`."""
