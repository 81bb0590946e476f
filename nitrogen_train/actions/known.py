"""The layouts that files and checkpoints may name."""

from nitrogen_train.actions.keyboard_mouse import KEYBOARD_MOUSE
from nitrogen_train.actions.space import GAMEPAD, ActionSpace

_SPACES = {space.name: space for space in (GAMEPAD, KEYBOARD_MOUSE)}


def get_action_space(name: str) -> ActionSpace:
    """Look a layout up by its name on disk.

    Raises:
        ValueError: If there is no such layout.
    """
    if name not in _SPACES:
        raise ValueError(f"unknown action space {name!r}; known: {', '.join(_SPACES)}")
    return _SPACES[name]
