"""Reading a controller state as a game sees it."""

from nitrogen_train.actions import GAMEPAD, Controls


def read_pad(action: Controls) -> dict[str, float]:
    """Name the state of every control of the gamepad, as numbers.

    Args:
        action: Some controls by name; the others are released or centred. An analogue trigger is
            read as the binary button that it is in `GAMEPAD`.

    Returns:
        Buttons as 0 or 1, axes in [-1, 1], y down-positive.

    Raises:
        ValueError: If a control is unknown, or a value is not finite or out of range.
    """
    state = GAMEPAD.controls_at(GAMEPAD.rows_from_controls([action]), 0)
    return {name: float(value) for name, value in state.items()}
