"""Named controls, one definition; everything else looks indices up by name.

Conventions, kept on disk and at every public border:

* buttons are bool; stick axes are floats in [-1, 1], **y down-positive** (up is -1);
* a row of a recording covers the time from its frame (included) to the next (excluded).

Model space packs the buttons first, as 0 or 1, then the axes as (v + 1) / 2 in [0, 1]: a centred
stick is 0.5, so never zero-pad an action.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32

from nitrogen_train.actions.motion import MotionScale

Controls = Mapping[str, float | bool]
"""A controller's state by name. What is not named is released or centred."""


@dataclass(frozen=True, kw_only=True)
class ActionRows:
    """Controller states in physical units, one per row."""

    buttons: Bool[np.ndarray, "*rows n"]
    """True where the button was down at any moment of the row."""
    sticks: Float32[np.ndarray, "*rows s"]
    """Axes in [-1, 1], y down-positive: the last value at or before the row's frame, or all of a
    motion during the row."""

    def __len__(self) -> int:
        return len(self.buttons)


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """A controller layout: which controls exist and where each sits in an action vector.

    Example:
        >>> GAMEPAD.action_dim, GAMEPAD.index("SOUTH"), GAMEPAD.index("RIGHT_STICK_Y")
        (25, 18, 24)
    """

    name: str
    """Identity on disk and in checkpoints."""
    buttons: tuple[str, ...]
    """Button names, in the order of the action vector."""
    sticks: tuple[str, ...]
    """Axis names, in the order of the action vector, after the buttons."""
    motions: Mapping[str, MotionScale] = field(default_factory=dict[str, MotionScale], hash=False)
    """Axes that hold what happened during a row, each with its scale; the others hold a state."""
    unlabelled: frozenset[str] = frozenset()
    """Controls that no data set labels: never supervised."""
    trigger_threshold: float = 0.5
    """An analogue trigger in [0, 1] is a pressed button above this value."""

    @property
    def controls(self) -> tuple[str, ...]:
        """All names, in the order of the action vector."""
        return self.buttons + self.sticks

    @property
    def action_dim(self) -> int:
        """Length of an action vector."""
        return len(self.controls)

    @cached_property
    def label_mask(self) -> Bool[np.ndarray, " a"]:
        """True for the controls that data can label."""
        return np.array([name not in self.unlabelled for name in self.controls])

    def index(self, name: str) -> int:
        """Find a control's place in the action vector.

        Raises:
            ValueError: If the layout has no such control; the message names the closest one.
        """
        if name in self.controls:
            return self.controls.index(name)
        close = difflib.get_close_matches(name.upper(), self.controls, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(self.controls)}"
        raise ValueError(f"action space {self.name!r} has no control {name!r}; {hint}")

    def rows_from_controls(self, states: "list[Controls]") -> ActionRows:
        """Lay named states out as rows; what a state does not name is released or centred.

        Args:
            states: One mapping a row: buttons bool, or a trigger's analogue value in [0, 1];
                axes in [-1, 1].

        Raises:
            ValueError: If a control is unknown, or a value is not finite or out of range.
        """
        values = np.zeros((len(states), self.action_dim), dtype=np.float32)
        for row, state in enumerate(states):
            for name, value in state.items():
                values[row, self.index(name)] = value
        return self.rows_from_values(values)

    def rows_from_values(self, values: Float32[np.ndarray, "rows a"]) -> ActionRows:
        """Read rows in physical units, in the order of the layout.

        Args:
            values: Buttons from 0 to 1, down above `trigger_threshold`; axes in [-1, 1].

        Raises:
            ValueError: If a value is not finite or out of range.
        """
        num_buttons = len(self.buttons)
        self._check_range(values, low=np.array([0.0] * num_buttons + [-1.0] * len(self.sticks)))
        return ActionRows(
            buttons=values[:, :num_buttons] > self.trigger_threshold,
            sticks=values[:, num_buttons:].clip(-1, 1),
        )

    def controls_at(self, rows: ActionRows, row: int) -> dict[str, float | bool]:
        """Name every control of one row, the inverse of `rows_from_controls`."""
        state: dict[str, float | bool] = {
            name: bool(rows.buttons[row, i]) for i, name in enumerate(self.buttons)
        }
        return state | {name: float(rows.sticks[row, i]) for i, name in enumerate(self.sticks)}

    def encode(self, rows: ActionRows) -> Float32[np.ndarray, "*rows a"]:
        """Pack physical rows into model space.

        Returns:
            Buttons as 0 or 1, then axes as (v + 1) / 2, all in [0, 1].

        Raises:
            ValueError: If the rows have other widths than this layout, or an axis is not finite or
                outside [-1, 1].
        """
        got = (rows.buttons.shape[-1], rows.sticks.shape[-1])
        expected = (len(self.buttons), len(self.sticks))
        if got != expected:
            raise ValueError(
                f"action space {self.name!r} expects (buttons, axes)={expected}, got {got}"
            )
        physical = np.concatenate([rows.buttons.astype(np.float32), rows.sticks], axis=-1)
        self._check_range(physical, low=np.full(self.action_dim, -1.0))
        physical[..., expected[0] :] = (physical[..., expected[0] :] + 1) / 2
        return physical

    def decode(self, values: Float[np.ndarray, "*rows a"]) -> ActionRows:
        """Unpack model space into physical rows: a button is down above 0.5, axes are clamped.

        Raises:
            ValueError: If the last axis is not `action_dim` long, or a value is NaN.
        """
        if values.shape[-1] != self.action_dim:
            raise ValueError(
                f"action space {self.name!r} expects {self.action_dim} values, "
                f"got {values.shape[-1]}"
            )
        if np.isnan(values).any():
            raise ValueError("cannot decode actions: the policy returned NaN")
        num_buttons = len(self.buttons)
        sticks = np.clip(values[..., num_buttons:] * 2 - 1, -1, 1)
        return ActionRows(buttons=values[..., :num_buttons] > 0.5, sticks=sticks.astype(np.float32))

    def _check_range(
        self, physical: Float[np.ndarray, "*rows a"], *, low: Float[np.ndarray, " a"]
    ) -> None:
        # Written so that NaN fails too.
        bad = ~((physical >= low - 1e-6) & (physical <= 1 + 1e-6))
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            name = self.controls[where[-1]]
            raise ValueError(
                f"{name} must lie in [{low[where[-1]]:g}, 1], got {physical[where]} "
                f"at row {where[0] if len(where) > 1 else 0}"
            )


GAMEPAD = ActionSpace(
    name="gamepad",
    buttons=(
        "BACK", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT", "DPAD_UP", "EAST", "GUIDE",
        "LEFT_SHOULDER", "LEFT_THUMB", "LEFT_TRIGGER", "NORTH",
        "RIGHT_BOTTOM", "RIGHT_LEFT", "RIGHT_RIGHT", "RIGHT_SHOULDER", "RIGHT_THUMB",
        "RIGHT_TRIGGER", "RIGHT_UP", "SOUTH", "START", "WEST",
    ),
    sticks=("LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X", "RIGHT_STICK_Y"),
    unlabelled=frozenset({"RIGHT_BOTTOM", "RIGHT_LEFT", "RIGHT_RIGHT", "RIGHT_UP"}),
)  # fmt: skip
"""NitroGen's 25-dim gamepad, in the order of the released checkpoint (ng.pt)."""
