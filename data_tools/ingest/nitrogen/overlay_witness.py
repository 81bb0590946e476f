"""The pad that is drawn in a picture, as a witness of when its labels begin.

Labels were read from it, so it changes when they do. The change from row to row is laid beside the
change of the pad's picture at every shift around the starts that are in question; a start is
believed only if the best shift of all is there, and stands out.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from data_tools.shards.constant_rate import find_shown
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionRows
from nitrogen_train.data.schema import Box

_AROUND_S = 2.0
"""Shifts that are looked at before the first start and after the last."""
_CELLS = 24
_LEAST_EVENTS = 10
_NEAR_ROWS = 2
"""A start this near the best shift is the right one: the grids of rows and frames differ."""
_PEAK_ROWS = 5
"""Half the width of a peak."""
_LEAST_CORRELATION = 0.2
_LEAST_LEAD = 0.1
"""Of the best shift's correlation over the next best's. By chance 1200 rows reach 0.1 or so."""
_LEAST_MOVE = 0.05
"""Of a stick: less is noise."""


def tell_start(
    video: SourceVideo, box: Box, rows: ActionRows, *, fps: float, starts_s: Sequence[float]
) -> int | None:
    """Tell at which of some times the rows of a piece begin; `None` if the picture does not say.

    Args:
        video: The whole file.
        box: Where the pad is drawn.
        rows: Of the piece.
        fps: Rows per second.
        starts_s: The times, from the video's first frame on.

    Returns:
        The place of the right one in `starts_s`.

    Raises:
        ShardError: If the video is damaged there.
    """
    labelled = _measure_labels(rows)
    if np.count_nonzero(labelled) < _LEAST_EVENTS:
        return None
    first_s = max(0.0, min(starts_s) - _AROUND_S)
    last_s = max(starts_s) + len(rows) / fps + _AROUND_S
    count = round((last_s - first_s) * fps)
    frames = find_shown(video, first_s=first_s, fps=fps, count=count)
    drawn = _measure_pictures(replace(video, ticks=video.ticks[frames]), box)
    agreement = _correlate(labelled, drawn)
    best = int(np.argmax(agreement))
    shifts = np.arange(len(agreement))
    others = agreement[np.abs(shifts - best) > _PEAK_ROWS]
    if agreement[best] < max(_LEAST_CORRELATION, others.max() + _LEAST_LEAD):
        return None
    near = [
        place
        for place, start_s in enumerate(starts_s)
        if abs((start_s - first_s) * fps - best) <= _NEAR_ROWS
    ]
    return near[0] if len(near) == 1 else None


def _measure_labels(rows: ActionRows) -> Float64[np.ndarray, " steps"]:
    """Count the buttons that change from a row to the next, and the axes that move."""
    flips = np.diff(rows.buttons.astype(np.int8), axis=0) != 0
    moves = np.abs(np.diff(rows.sticks, axis=0)) > _LEAST_MOVE
    return flips.sum(axis=1) + moves.sum(axis=1).astype(float)


def _measure_pictures(video: SourceVideo, box: Box) -> Float64[np.ndarray, " steps"]:
    """Measure how the pad's picture changes from a frame to the next."""
    x, y, width, height = box
    side = max(1, min(width, height) // _CELLS)
    changes: list[float] = []
    before: np.ndarray | None = None
    for frame in video.read():
        pad = frame.to_ndarray(format="gray")[y : y + height, x : x + width].astype(np.float32)
        pad = pad[: height // side * side, : width // side * side]
        cells = pad.reshape(height // side, side, width // side, side).mean(axis=(1, 3))
        if before is not None:
            changes.append(float(((cells - before) ** 2).mean()))
        before = cells
    return np.log1p(np.array(changes))


def _correlate(
    labelled: Float64[np.ndarray, " steps"], drawn: Float64[np.ndarray, " more"]
) -> Float64[np.ndarray, " shifts"]:
    """Correlate the labels with each stretch of pictures that is as long; 0 where nothing moves."""
    stretches = np.lib.stride_tricks.sliding_window_view(drawn, len(labelled))
    centred = labelled - labelled.mean()
    around = stretches - stretches.mean(axis=1, keepdims=True)
    size = np.linalg.norm(around, axis=1) * np.linalg.norm(centred)
    return np.where(size > 0, around @ centred / np.maximum(size, 1e-9), 0.0)
