"""Find the ends of presses where a program lets released buttons fade.

    how far each button is pressed ─► frames that rises and falls take ─► falls are longer: a fade
      ─► each press ends where its fade began

Some programs show a released button less and less, for a quarter of a second. Each press would end
half of that too late.
"""

import numpy as np
from jaxtyping import Float32, Int64

_HALF = 0.5
_LOW, _HIGH = 0.15, 0.85
"""Between them a button is neither released nor pressed."""
_FEWEST_FALLS = 6
_LEAST_FRAMES = 2.5
"""A shorter fade is what codecs and displays make of a release."""
_JUMP = 0.25
"""From one frame to the next: a button is pressed anew while it fades."""


def undo_fades(values: Float32[np.ndarray, "f c"]) -> tuple[Float32[np.ndarray, "f c"], float]:
    """Let presses end where their fades begin.

    Args:
        values: How far each button is shown as pressed in frames that follow each other.

    Returns:
        How far each is pressed, and the frames that a fade takes: 0 where nothing fades.
    """
    frames = _measure_fade(values)
    if not frames:
        return values, 0.0
    mended = values.copy()
    for shown, column in zip(values.T, mended.T, strict=True):
        is_down = shown > _HALF
        for end in np.flatnonzero(is_down[:-1] & ~is_down[1:]) + 1:
            part = (shown[end - 1] - _HALF) / (shown[end - 1] - shown[end])
            begin = round(float(end - 1 + part) - frames / 2 + 1)
            column[_keep_onset(is_down, begin, int(end)) : end] = 0
        for again in np.flatnonzero((np.diff(shown) > _JUMP) & is_down[:-1]) + 1:
            begin = round(float(again) - (1 - shown[again - 1]) * frames)
            column[_keep_onset(is_down, begin, int(again)) : again] = 0
    return mended, frames


def _keep_onset(is_down: np.ndarray, begin: int, end: int) -> int:
    """Return where a fade begins that ends at a row: a press lasts a row at least."""
    ups = np.flatnonzero(~is_down[:end])
    onset = int(ups[-1]) + 1 if len(ups) else 0
    return min(max(begin, onset + 1), end)


def _measure_fade(values: Float32[np.ndarray, "f c"]) -> float:
    """Measure how many frames longer falls take than rises; 0 where they do not."""
    falls, rises = (
        np.concatenate([_measure_edges(each) for each in shown.T])
        for shown in (values, values[::-1])
    )
    if min(len(falls), len(rises)) < _FEWEST_FALLS:
        return 0.0
    frames = float(np.median(falls) - np.median(rises)) / (_HIGH - _LOW)
    return frames if frames >= _LEAST_FRAMES else 0.0


def _measure_edges(shown: Float32[np.ndarray, " f"]) -> Int64[np.ndarray, " n"]:
    """Count the frames that each fall spends between released and pressed."""
    between = (shown > _LOW) & (shown < _HIGH)
    counts = []
    for end in np.flatnonzero((shown[:-1] > _HALF) & (shown[1:] <= _HALF)) + 1:
        before, after = between[:end][::-1], between[end:]
        counts.append(
            sum(len(each) if each.all() else int(each.argmin()) for each in (before, after))
        )
    return np.array(counts, np.int64)
