"""Define the action spaces: named controls, whose indices everything else looks up by name.

    controls by name, physical units ─► ActionSpace ─► vector in model space ─► and back

Conventions, kept on disk and at every public border:

* buttons are bool; stick axes are floats in [-1, 1], **y down-positive** (up is -1);
* a row of a recording covers the time from its frame (included) to the next (excluded).

Model space packs the buttons first, as 0 or 1, then the axes as (v + 1) / 2 in [0, 1]: a centred
stick is 0.5, so never zero-pad an action.

There are two layouts that files and checkpoints may name. `gamepad` has buttons and sticks.
`keyboard_mouse` has keys and mouse buttons as buttons, and the mouse's motion during a row as axes;
its names are those of Linux's input-event-codes.h, and a key is named by its place on a US
keyboard. `docs/keyboard_mouse.md` says which keys there are, and why.

Rates of rows are compared here as well: which are equal, and how many rows of one make one of
another.
"""

import difflib
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

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


Controls = Mapping[str, float | bool]
"""A controller's state by name. What is not named is released or centred."""


@dataclass(frozen=True, kw_only=True)
class MotionScale:
    r"""Motion during a row to an axis in [-1, 1], fine near zero and coarse far from it.

    Computes the mu-law :math:`v = \operatorname{sgn}(m) \ln(1 + \mu |m| / L) / \ln(1 + \mu)`, with
    :math:`L` the limit; a motion beyond it is clipped to it.

    Example:
        >>> scale = MotionScale(limit=512.0, mu=255.0)
        >>> values = scale.encode(np.array([0.0, 1.0, -4.0, 64.0, 512.0, 2000.0]))
        >>> [f"{value:.2f}" for value in values]
        ['0.00', '0.07', '-0.20', '0.63', '1.00', '1.00']
    """

    limit: float
    """The motion that is 1 on the axis."""
    mu: float
    """Above 0; the larger, the finer near zero."""

    def encode(self, motion: Float[np.ndarray, "*rows"]) -> Float32[np.ndarray, "*rows"]:
        """Scale motions, beyond the limit clipped."""
        share = np.minimum(np.abs(motion) / self.limit, 1.0)
        size = np.log1p(self.mu * share) / np.log1p(self.mu)
        return (np.sign(motion) * size).astype(np.float32)

    def decode(self, values: Float[np.ndarray, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Undo `encode`: the motion of an axis in [-1, 1]."""
        size = np.expm1(np.abs(values.astype(np.float64)) * np.log1p(self.mu)) / self.mu
        return np.sign(values) * self.limit * size


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

    def take(
        self, where: Bool[np.ndarray, " rows"] | Int64[np.ndarray, " n"] | list[int]
    ) -> "ActionRows":
        """Choose rows, by a mask or by their places."""
        return ActionRows(buttons=self.buttons[where], sticks=self.sticks[where])


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
        """Return all names, in the order of the action vector."""
        return self.buttons + self.sticks

    @property
    def action_dim(self) -> int:
        """Return the length of an action vector."""
        return len(self.controls)

    @cached_property
    def label_mask(self) -> Bool[np.ndarray, " a"]:
        """Mark the controls that data can label as True."""
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


MOUSE_SCALE = MotionScale(limit=512.0, mu=255.0)
"""Scale of MOUSE_X and MOUSE_Y, in counts: of a mouse, or of a game's pixels where it moves a
pointer. One count is 0.07, inside the dead zone of idle rows; two are 0.125."""
WHEEL_SCALE = MotionScale(limit=8.0, mu=7.0)
"""Scale of MOUSE_WHEEL, in notches; one is 0.30."""

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


_SPACES = {space.name: space for space in (GAMEPAD, KEYBOARD_MOUSE)}


def get_action_space(name: str) -> ActionSpace:
    """Look a layout up by its name on disk.

    Raises:
        ValueError: If there is no such layout.
    """
    if name not in _SPACES:
        raise ValueError(f"unknown action space {name!r}; known: {', '.join(_SPACES)}")
    return _SPACES[name]
