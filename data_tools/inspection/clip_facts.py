"""What a clip's controls do, as sums: clips of a session are added up."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Int64

from data_tools.sticks import corner_rows, stick_pairs
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions

_HALF_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class ControlFacts:
    """Counts of valid rows."""

    seconds: float
    num_rows: int
    num_changes: int
    """Of valid rows with another input than the valid row before."""
    pressed: Int64[np.ndarray, " n"]
    """With each button down."""
    corners: Int64[np.ndarray, "pairs 4"]
    """With each stick in each of its corners, see `corner_rows`."""
    negative: Int64[np.ndarray, " s"]
    """With each axis below 0."""
    half: Int64[np.ndarray, " s"]
    """With each axis at 0.5, the centre in model space."""

    def __add__(self, other: "ControlFacts") -> "ControlFacts":
        values = {
            item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)
        }
        return ControlFacts(**values)


def describe_controls(actions: ClipActions, space: ActionSpace, *, fps: float) -> ControlFacts:
    """Count what the controls of a clip do in its valid rows."""
    sticks, buttons = actions.rows.sticks[actions.valid], actions.rows.buttons[actions.valid]
    has_changed = np.diff(np.concatenate([buttons, sticks], axis=1), axis=0).any(axis=1)
    corners = [corner_rows(sticks[:, axes]).sum(axis=0) for axes in stick_pairs(space).values()]
    return ControlFacts(
        seconds=len(buttons) / fps,
        num_rows=len(buttons),
        num_changes=int(has_changed.sum()),
        pressed=buttons.sum(axis=0),
        corners=np.array(corners, dtype=np.int64).reshape(-1, 4),
        negative=(sticks < 0).sum(axis=0),
        half=(np.abs(sticks - 0.5) <= _HALF_TOLERANCE).sum(axis=0),
    )
