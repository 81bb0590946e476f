"""Define what comes out of reading an overlay: one row of controls per frame of the video.

    video + skin ─► read_known ─► Reading ─► refine ─► Reading ─► recording

A reader says three things of each row: the values that the pad showed, how sure each of them is,
and whether the pad could be read at all. Rows that could not be read hold zeros and are not to be
used: nothing is guessed.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import valid_runs

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the video; right and bottom are excluded."""


class ReadingError(Exception):
    """A video in which a pad cannot be read; the message is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class PadStretch:
    """The place of a pad in the picture over some rows."""

    start: int
    """The first row."""
    stop: int
    """One after the last row."""
    box: Box
    """Every pixel that the pad can touch."""
    opacity: float
    """Opacity of the whole pad, in [0, 1]."""
    blur_px: float
    """Standard deviation of the blur that scaling left, in pixels of the video."""
    match: float
    """Correlation of the edges of the skin with those of the mean picture, at most 1."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything that was read from one video, in the order of `GAMEPAD`."""

    layout: str
    """Kind of the pad: `xbox`, `playstation`, `switch`, `generic`."""
    drawn: frozenset[str]
    """Names of the controls that the pad shows; all others hold zeros with confidence 0."""
    width: int
    """Width of the video in pixels."""
    height: int
    """Height of the video in pixels."""
    fps: float
    """The rate that most frames of the video follow."""
    times_s: Float64[np.ndarray, " rows"]
    """Seconds from the first frame at which each row's frame is shown."""
    buttons: Float32[np.ndarray, "rows b"]
    """From 0 (released) to 1 (pressed); in between while a look fades, or a trigger's value."""
    button_confidence: Float32[np.ndarray, "rows b"]
    """1 where the picture is that of the state, 0 where it lies midway between two states."""
    sticks: Float32[np.ndarray, "rows s"]
    """Axes in [-1, 1], y down-positive."""
    stick_confidence: Float32[np.ndarray, "rows s"]
    """1 where the picture is that of the place, 0 where it is none of the stick's pictures."""
    readable: Bool[np.ndarray, " rows"]
    """True where the pad was there, whole and sharp enough."""
    residual: Float32[np.ndarray, " rows"]
    """How far the pad's still pixels are from the skin, as a multiple of the expected noise."""
    stretches: tuple[PadStretch, ...]
    """Where the pad was; rows of no stretch are unreadable. They follow each other in time."""
    display_fps: float | None = None
    """The rate at which the pad was drawn, if it is lower than the video's and was found."""

    def __len__(self) -> int:
        return len(self.times_s)

    def control(self, name: str) -> Float32[np.ndarray, " rows"]:
        """Return the values of one control by its name.

        Raises:
            ValueError: If there is no such control.
        """
        place = GAMEPAD.index(name)
        num_buttons = len(GAMEPAD.buttons)
        return (
            self.buttons[:, place] if place < num_buttons else self.sticks[:, place - num_buttons]
        )


@dataclass(eq=False)
class RowsRead:
    """What has been read of a video so far, row by row, in the order of `GAMEPAD`."""

    buttons: Float32[np.ndarray, "rows b"]
    button_confidence: Float32[np.ndarray, "rows b"]
    sticks: Float32[np.ndarray, "rows s"]
    stick_confidence: Float32[np.ndarray, "rows s"]
    readable: Bool[np.ndarray, " rows"]
    residual: Float32[np.ndarray, " rows"]

    @classmethod
    def empty(cls, count: int) -> "RowsRead":
        """Begin with rows that cannot be read."""
        buttons, sticks = (
            np.zeros((count, len(names)), np.float32) for names in (GAMEPAD.buttons, GAMEPAD.sticks)
        )
        return cls(
            buttons, buttons.copy(), sticks, sticks.copy(),
            np.zeros(count, bool), np.full(count, 100, np.float32),
        )  # fmt: skip

    def clear(self, where: np.ndarray) -> None:
        """Set what was read of some rows to zero: nothing is guessed."""
        for values in (self.buttons, self.button_confidence, self.sticks, self.stick_confidence):
            values[where] = 0


def list_runs(marks: Bool[np.ndarray, " rows"]) -> list[tuple[int, int]]:
    """List the stretches of rows that are marked."""
    edges = valid_runs(marks)
    return list(zip(edges[::2], edges[1::2], strict=True))
