"""Rules that need no picture. Each says what it found, or None."""

import numpy as np

from data_tools.filtering.settings import FilterSettings
from data_tools.sticks import CORNERS, corner_rows, stick_pairs
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions, idle_rows


def find_idle(actions: ClipActions, settings: FilterSettings, *, fps: float) -> str | None:
    """Find too many idle rows among the valid ones.

    With a window, the clip is cut into stretches of about that length; those with enough active
    rows must hold at least half of the clip's valid rows.
    """
    valid = actions.valid
    if not valid.any():
        return "no row is valid"
    is_active = ~idle_rows(actions.rows, dead_zone=settings.dead_zone)[valid]
    if settings.idle_window_s is None:
        share = float(is_active.mean())
        if share >= settings.min_active:
            return None
        return f"{share:.1%} of the rows are active, expected at least {settings.min_active:.1%}"
    pieces = max(1, round(len(is_active) / (settings.idle_window_s * fps)))
    stretches = [s for s in np.array_split(is_active, pieces) if len(s)]
    good = sum(len(s) for s in stretches if s.mean() >= settings.min_active) / len(is_active)
    if good >= 0.5:
        return None
    return f"{good:.1%} of the rows are in active stretches, expected at least half"


def find_corner(
    actions: ClipActions, settings: FilterSettings, *, space: ActionSpace
) -> str | None:
    """Find a stick that stays in a corner, as padding with zeros in model space makes it."""
    if not actions.valid.any():
        return None
    for name, axes in stick_pairs(space).items():
        shares = corner_rows(actions.rows.sticks[actions.valid][:, axes]).mean(axis=0)
        if shares.max() >= settings.corner_share:
            corner = CORNERS[int(shares.argmax())]
            return f"{name} is at {corner} in {shares.max():.1%} of the rows"
    return None
