"""Compare rates of frames: which are equal, and how many rows of one make a row of another."""

import math

SAME_RATE = 1.01
"""Rates of frames that differ by no more are one rate, as 59.94 and 60 are."""


def count_rows_per_action(fps: float, action_hz: float | None) -> int:
    """Tell how many rows become one where a rate is reduced.

    Args:
        fps: Rows per second that there are.
        action_hz: Rows per second that are wanted; None leaves all.

    Raises:
        ValueError: If there is no such rate, or one is not a multiple of the other, to 1 %.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"a rate is a number of frames per second above 0, got {fps}")
    if action_hz is None:
        return 1
    ratio = fps / action_hz
    whole = round(ratio)
    if whole < 1 or abs(ratio - whole) > (SAME_RATE - 1) * whole:
        raise ValueError(
            f"{fps:g} frames per second are no multiple of action_hz={action_hz:g}: choose another "
            f'rate, or leave such clips out, as by where: "fps == {action_hz:g}"'
        )
    return whole
