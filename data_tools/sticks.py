"""Group the two axes of each stick of a controller."""

import numpy as np
from jaxtyping import Bool, Float32

from nitrogen_train.actions import ActionSpace

_NEAR_THE_END = 0.95


def stick_pairs(space: ActionSpace) -> dict[str, tuple[int, int]]:
    """Find the places of each stick's two axes among the axes.

    Example:
        >>> from nitrogen_train.actions import GAMEPAD
        >>> stick_pairs(GAMEPAD)
        {'LEFT_STICK': (0, 1), 'RIGHT_STICK': (2, 3)}
    """
    places = {name: index for index, name in enumerate(space.sticks)}
    return {
        name.removesuffix("_X"): (index, places[f"{name.removesuffix('_X')}_Y"])
        for name, index in places.items()
        if name.endswith("_X") and f"{name.removesuffix('_X')}_Y" in places
    }


def corner_rows(stick: Float32[np.ndarray, "rows 2"]) -> Bool[np.ndarray, "rows 4"]:
    """Mark the rows that hold a stick in each of its corners, where a real one seldom stays.

    Args:
        stick: Its two axes.

    Returns:
        A column per corner: (-1, -1), (-1, 1), (1, -1), (1, 1).
    """
    is_low, is_high = stick <= -_NEAR_THE_END, stick >= _NEAR_THE_END
    return np.stack(
        [x[:, 0] & y[:, 1] for x in (is_low, is_high) for y in (is_low, is_high)], axis=1
    )


CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Corners in the order of `corner_rows`; y is down-positive."""
