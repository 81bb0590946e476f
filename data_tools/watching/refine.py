"""Refine a reading by what only the whole video tells.

    Reading ─► looks as this video shows them ─► presses, without flicker and fades
      ─► possible states ─► triggers and sticks, still at rest ─► rate of the display
      ─► Reading, DisplayFacts

A codec weakens what it shows: a press may reach 0.8 of the picture that the skin has of it, in all
of a video. So released and pressed are taken from the values that a control has most of the time.
Presses are never averaged over time: that would move and shorten them. Where a program shows
released buttons less and less, each press would end half of that too late: falls take longer than
rises there.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from data_tools.watching.reading import Reading, list_runs
from nitrogen_train.actions import GAMEPAD

_FEWEST_ROWS = 5
"""Rows in which a button must be seen down before its look is taken from the video."""
_FIRST_MIDDLE = 0.35
_LEAST_APART = 0.3
_STRAY_SHARE = 0.15
"""Values between released and pressed, above which a control is graded and left as it is."""
_DOUBTFUL = 0.2
"""A press or a release of one row that passes the middle by less is flicker."""
_OPPOSITE = (("DPAD_LEFT", "DPAD_RIGHT"), ("DPAD_UP", "DPAD_DOWN"))
_TRIGGERS = ("LEFT_TRIGGER", "RIGHT_TRIGGER")
_WHOLE = frozenset(GAMEPAD.buttons) - set(_TRIGGERS)
"""Controls that are pressed or released; what is graded may go back as slowly as it likes."""
_REST_REACH = 0.12
_REST_SHARE = 0.02
_SMALLEST_REST, _LARGEST_REST = 0.01, 0.06
_FADE_LOW, _FADE_HIGH = 0.15, 0.85
"""Between them a button is neither released nor pressed."""
_FEWEST_FALLS = 6
_LEAST_FADE = 2.5
"""Rows; a shorter fade is what codecs and displays make of a release."""
_SLOW_SHARE = 0.35
"""Of the usual fade: what falls sooner is a release that does not fade."""
_JUMP, _FADE_NOISE = 0.25, 0.05
"""From one row to the next: a button is pressed anew while it fades; what is added to a step."""
_HALF = 0.5
_CHANGE = 0.12
_FEWEST_CHANGES = 20
_HALF_RATE_SHARE = 0.93
_HIGH_RATE = 45.0


@dataclass(frozen=True, kw_only=True)
class DisplayFacts:
    """What a video showed of its display, over all readable rows."""

    down_levels: dict[str, float]
    """The value that a press of a button was read as, where presses were seen."""
    stick_reach: dict[str, float]
    """The 99th percentile of an axis' size."""
    stick_dead_zone: dict[str, float]
    """The smallest value that an axis has besides rest, where smaller ones are missing."""
    display_fps: float | None
    """The rate of the display, if it is half of the video's."""


def refine(reading: Reading) -> tuple[Reading, DisplayFacts]:
    """Return a reading as the whole video explains it, and what it shows of the display."""
    good = reading.readable
    rate = _find_display_rate(reading)
    buttons, levels = reading.buttons.copy(), {}
    for name in sorted(reading.drawn & set(GAMEPAD.buttons)):
        column = GAMEPAD.buttons.index(name)
        values, level = _rescale(buttons[:, column], good, is_graded=name in _TRIGGERS)
        if level is not None:
            levels[name] = level
        if name in _TRIGGERS:
            values = _drop_touches(values)
        buttons[:, column] = _drop_flicker(values, good)
    shown = [GAMEPAD.buttons.index(name) for name in sorted(reading.drawn & _WHOLE)]
    buttons[:, shown], _ = undo_fades(buttons[:, shown], good)
    _part_opposites(buttons)
    sticks, reach, dead = reading.sticks.copy(), {}, {}
    for column, name in enumerate(GAMEPAD.sticks):
        if name in reading.drawn and good.any():
            sticks[:, column] = _settle(sticks[:, column], good)
            size = np.abs(sticks[good, column])
            reach[name] = float(np.percentile(size, 99))
            dead[name] = _find_dead_zone(size)
    refined = replace(reading, buttons=buttons, sticks=sticks, display_fps=rate)
    facts = DisplayFacts(
        down_levels=levels, stick_reach=reach, stick_dead_zone=dead, display_fps=rate
    )
    return refined, facts


def _rescale(
    values: Float32[np.ndarray, " rows"], good: Bool[np.ndarray, " rows"], *, is_graded: bool
) -> tuple[Float32[np.ndarray, " rows"], float | None]:
    """Set the usual released value to 0 and the usual pressed one to 1.

    A control that may be graded stays as it is where it is seen to be.
    """
    seen, middle = values[good], _FIRST_MIDDLE
    up, down, high = 0.0, 0.0, seen
    for _ in range(3):
        low, high = seen[seen < middle], seen[seen >= middle]
        if len(high) < _FEWEST_ROWS or len(low) < _FEWEST_ROWS:
            return values, None
        up, down = float(np.median(low)), float(np.median(high))
        middle = (up + down) / 2
    if down - up < _LEAST_APART:
        return values, None
    share = (seen - up) / (down - up)
    between = float(np.mean((share > 0.2) & (share < 0.8)))
    if is_graded and between > _STRAY_SHARE * min(1, len(high) / len(seen) + 0.05):
        return values, down
    return np.where(good, np.clip((values - up) / (down - up), 0, 1), 0).astype(np.float32), down


def _drop_flicker(
    values: Float32[np.ndarray, " rows"], good: Bool[np.ndarray, " rows"]
) -> Float32[np.ndarray, " rows"]:
    """Take back presses and releases of one row that hardly pass the middle."""
    pressed = values > 0.5
    alone = np.zeros(len(values), bool)
    alone[1:-1] = (pressed[1:-1] != pressed[:-2]) & (pressed[1:-1] != pressed[2:])
    alone[1:-1] &= good[:-2] & good[2:]
    alone &= np.abs(values - 0.5) < _DOUBTFUL
    return np.where(alone, np.where(pressed, 0.5, 0.51), values).astype(np.float32)


def undo_fades(
    values: Float32[np.ndarray, "rows c"], good: Bool[np.ndarray, " rows"]
) -> tuple[Float32[np.ndarray, "rows c"], float]:
    """Let presses end where their fades begin.

    Args:
        values: How far each button is shown as pressed.
        good: The rows that can be read.

    Returns:
        How far each is pressed, and the rows that a fade takes: 0 where nothing fades.
    """
    rows = _measure_fade(values, good)
    if not rows:
        return values, 0.0
    mended = values.copy()
    for shown, column in zip(values.T, mended.T, strict=True):
        ups = np.flatnonzero(shown <= _HALF)

        def release(begin: int, end: int, column: np.ndarray, ups: np.ndarray) -> None:
            """Release from a row on, but for the first one of the press."""
            before = int(np.searchsorted(ups, end))
            onset = int(ups[before - 1]) + 1 if before else 0
            column[min(max(begin, onset + 1), end) : end] = 0

        for end, length in zip(*_list_falls(shown, good), strict=True):
            # What falls at once has not faded.
            if length >= _SLOW_SHARE * rows:
                part = (shown[end - 1] - _HALF) / (shown[end - 1] - shown[end])
                release(round(float(end - 1 + part) - rows / 2 + 1), int(end), column, ups)
        steps = np.diff(shown, prepend=shown[:1])
        again = (steps > _JUMP) & (np.roll(shown, 1) > _HALF)
        faded = (np.roll(steps, 1) < 0) & (np.roll(steps, 1) > -2 / rows - _FADE_NOISE)
        for start in np.flatnonzero(again & faded):
            release(round(start - (1 - float(shown[start - 1])) * rows), int(start), column, ups)
    return mended, rows


def _measure_fade(values: Float32[np.ndarray, "rows c"], good: Bool[np.ndarray, " rows"]) -> float:
    """Measure how many rows longer falls take than rises; 0 where they do not."""
    falls = [_list_falls(shown, good)[1] for shown in values.T]
    rises = [_list_falls(shown[::-1], good[::-1])[1] for shown in values.T]
    if min(sum(map(len, falls)), sum(map(len, rises))) < _FEWEST_FALLS:
        return 0.0
    longer = float(np.median(np.concatenate(falls)) - np.median(np.concatenate(rises)))
    rows = longer / (_FADE_HIGH - _FADE_LOW)
    return rows if rows >= _LEAST_FADE else 0.0


def _list_falls(
    shown: Float32[np.ndarray, " rows"], good: Bool[np.ndarray, " rows"]
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """List the rows in which a button passes the middle downwards, and the rows of each fall."""
    falls = (shown[:-1] > _HALF) & (shown[1:] <= _HALF) & good[:-1] & good[1:]
    ends = np.flatnonzero(falls) + 1
    is_end = (shown <= _FADE_LOW) | (shown >= _FADE_HIGH)
    still = np.concatenate([[-1], np.flatnonzero(is_end), [len(shown)]])
    after = np.searchsorted(still, ends)
    return ends, still[after] - still[after - 1] - 1


def _drop_touches(values: Float32[np.ndarray, " rows"]) -> Float32[np.ndarray, " rows"]:
    """Release a trigger where it stays near rest: what shines through looks like a small pull."""
    settled = values.copy()
    for start, stop in list_runs(values > 0):
        if values[start:stop].max() < _REST_REACH:
            settled[start:stop] = 0
    return settled


def _part_opposites(buttons: Float32[np.ndarray, "rows b"]) -> None:
    """Release the weaker of two directions that exclude each other."""
    for names in _OPPOSITE:
        one, other = (GAMEPAD.buttons.index(name) for name in names)
        both = (buttons[:, one] > 0.5) & (buttons[:, other] > 0.5)
        is_one = buttons[:, one] >= buttons[:, other]
        buttons[both & is_one, other] = 0
        buttons[both & ~is_one, one] = 0


def _settle(
    values: Float32[np.ndarray, " rows"], good: Bool[np.ndarray, " rows"]
) -> Float32[np.ndarray, " rows"]:
    """Set an axis to 0 where it differs from rest by no more than reading does."""
    if np.abs(values[good]).max() < _LARGEST_REST:
        # Nobody moves it: what is left is the reading's own noise.
        return np.zeros_like(values)
    resting = values[good & (np.abs(values) < _REST_REACH)]
    if len(resting) < max(_FEWEST_ROWS, _REST_SHARE * good.sum()):
        return values
    off = 1.5 * float(np.percentile(np.abs(resting), 75))
    still = np.abs(values) < np.clip(off, _SMALLEST_REST, _LARGEST_REST)
    return np.where(still, 0, np.clip(values, -1, 1)).astype(np.float32)


def _find_dead_zone(size: Float32[np.ndarray, " rows"]) -> float:
    moved = size[size > _LARGEST_REST]
    if len(moved) < _FEWEST_CHANGES:
        return 0.0
    least = float(np.percentile(moved, 1))
    return least if least > 0.15 else 0.0


def _find_display_rate(reading: Reading) -> float | None:
    """Tell whether the display changes in every second row only."""
    if reading.fps < _HIGH_RATE:
        return None
    values = np.concatenate([reading.buttons, reading.sticks], axis=1)
    steps = np.abs(np.diff(values, axis=0)).max(axis=1)
    steps[~(reading.readable[1:] & reading.readable[:-1])] = 0
    changes = np.flatnonzero(steps > _CHANGE)
    if len(changes) < _FEWEST_CHANGES:
        return None
    odd = float(np.mean(changes % 2))
    return reading.fps / 2 if max(odd, 1 - odd) >= _HALF_RATE_SHARE else None
