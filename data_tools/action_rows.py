"""Tell from a clip's rows what several tools ask: is it the same play, where are its sticks?"""

import hashlib

import numpy as np
from jaxtyping import Bool, Float32

from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import ClipActions

_NEAR_THE_END = 0.95
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Corners in the order of `corner_rows`; y is down-positive."""


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


def hash_actions(actions: ClipActions, fps: float) -> str:
    """Sum up a clip's rows and their rate, in 32 hexadecimal digits."""
    digest = hashlib.sha256(f"{len(actions)}/{fps:.6f}".encode())
    for values in (actions.rows.buttons, actions.rows.sticks.astype("<f4")):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


def hash_video(video: bytes) -> str:
    """Sum up an encoded video, in 32 hexadecimal digits."""
    return hashlib.sha256(video).hexdigest()[:32]
