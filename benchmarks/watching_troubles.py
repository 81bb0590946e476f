"""Cover a pad, take it away and move it for some seconds, and tell whether a reader noticed.

A stream shows alerts, menus and other scenes over a pad. The rows of such stretches are bad: a
reader must not use them. A pad that has moved may be read at its new place instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from data_tools.watching.reading import Box, Reading

_KINDS = ("covered", "vanished", "covered", "moved")
_LEAST_SECONDS, _MOST_SECONDS = 0.4, 2.5
_GAP_SECONDS = 1.5
"""Time between two troubles."""
_LEAST_SHARE = 0.35
"""The least share of the pad's width and height that a panel covers."""
_NEAR_PX = 4
"""A moved pad is found if no edge of its box is further off."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A stretch of rows in which a pad cannot be read where it was."""

    kind: Literal["covered", "vanished", "moved"]
    start: int
    """The first row."""
    stop: int
    """One after the last row."""
    panel: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right and bottom of what covers the pad, as shares of the pad's box."""
    shift: tuple[int, int] = (0, 0)
    """Pixels by which a moved pad lies further right and down."""
    seed: int = 0
    """Chooses the colours of the panel."""


def list_troubles(num_rows: int, *, fps: int, seed: int, box: Box, size: Box) -> list[Trouble]:
    """Choose stretches of all kinds, at random, with good rows between them.

    Args:
        num_rows: Rows of the clip.
        fps: Rows a second.
        seed: Chooses them.
        box: The box of the pad.
        size: The whole picture, as a box.
    """
    rng = np.random.default_rng([14, seed])
    troubles: list[Trouble] = []
    row = round(_GAP_SECONDS * fps)
    while True:
        length = round(rng.uniform(_LEAST_SECONDS, _MOST_SECONDS) * fps)
        if row + length + fps > num_rows:
            return troubles
        left, top = rng.uniform(0, 1 - _LEAST_SHARE, 2)
        right, bottom = rng.uniform(left + _LEAST_SHARE, 1.2), rng.uniform(top + _LEAST_SHARE, 1.2)
        kind = _KINDS[(len(troubles) + seed) % len(_KINDS)]
        troubles.append(
            Trouble(
                kind=kind,
                start=row,
                stop=row + length,
                panel=(left, top, right, bottom),
                shift=_choose_shift(box, size, rng) if kind == "moved" else (0, 0),
                seed=seed + row,
            )
        )
        row += length + round(_GAP_SECONDS * fps)


def _choose_shift(box: Box, size: Box, rng: np.random.Generator) -> tuple[int, int]:
    """Choose a shift by an eighth of the pad's width or more, within the picture."""
    least = (box[2] - box[0]) // 8
    while True:
        x = int(rng.integers(size[0] - box[0], size[2] - box[2] + 1))
        y = int(rng.integers(size[1] - box[1], size[3] - box[3] + 1))
        if max(abs(x), abs(y)) >= least:
            return x, y


def find_trouble(troubles: Sequence[Trouble], row: int) -> Trouble | None:
    """Return the trouble of a row, if it has one."""
    return next((each for each in troubles if each.start <= row < each.stop), None)


def draw_panel(picture: UInt8[np.ndarray, "h w 3"], box: Box, trouble: Trouble) -> None:
    """Draw what covers a pad into a picture: a frame, a plain field, and lines like text."""
    wide, tall = box[2] - box[0], box[3] - box[1]
    left, top, right, bottom = (
        round(low + share * side)
        for low, share, side in zip(
            (box[0], box[1], box[0], box[1]), trouble.panel, (wide, tall, wide, tall), strict=True
        )
    )
    rng = np.random.default_rng(trouble.seed)
    field = picture[max(0, top) : bottom, max(0, left) : right]
    colours = rng.integers(10, 245, (3, 3))
    field[:] = colours[0]
    for step, y in enumerate(range(6, field.shape[0] - 8, 12)):
        letters = rng.random(max(1, field.shape[1] // 6)) < 0.7
        marks = np.repeat(letters, 6)[: field.shape[1] - 8]
        field[y : y + 6, 4 : 4 + len(marks)][:, marks] = colours[1 + step % 2]
    field[:2], field[-2:], field[:, :2], field[:, -2:] = (colours[1],) * 4


def mark_bad_rows(troubles: Sequence[Trouble], num_rows: int) -> Bool[np.ndarray, " rows"]:
    """Mark the rows of all troubles."""
    bad = np.zeros(num_rows, bool)
    for each in troubles:
        bad[each.start : each.stop] = True
    return bad


def mark_found(
    troubles: Sequence[Trouble], reading: Reading, box: Box
) -> Bool[np.ndarray, " rows"]:
    """Mark the rows that were not used where the pad was, or were read where it had moved to."""
    found = ~reading.readable
    for each in troubles:
        if each.kind != "moved":
            continue
        goal = np.array(box) + np.tile(each.shift, 2)
        for stretch in reading.stretches:
            if np.abs(goal - stretch.box).max() <= _NEAR_PX:
                start, stop = max(each.start, stretch.start), min(each.stop, stretch.stop)
                found[start:stop] = True
    return found
