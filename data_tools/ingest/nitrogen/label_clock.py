"""Find when in its video each row of a piece is, and which frame is shown then.

    piece, video ─► one clock if the labels' and the video's agree ─► row i ─► time ─► frame
                 └► two clocks ─► the pad in the picture as a witness ─► the right one, or no piece

A piece names its first row twice: by a frame (`start_frame`) and by a time (`start_time`), which
one who measured found to be `start_frame` / 60 exactly. Where a video lacks frames, rows are not
its frames in order: one of 235,382 frames has 414,000 rows. So rows are paired by time stamps.

    the labels' clock     start_time + i / rows per second
    the video's own       (start_frame + i) / the rate that its frames follow

For most videos the two clocks are one. They differ where the rates differ a little: 29.97 labelled
as 30 is 3.6 s an hour. Nobody knows which clock the labels mean then. The pad in the picture, from
which the labels were read, may tell: it changes when they do. The change from row to row is laid
beside the change of the pad's picture, at every shift around the starts in question. A start is
believed only if the best shift of all is there and stands out; otherwise such a piece is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.ingest.nitrogen.labelled_piece import LabelledPiece, place_boxes
from data_tools.shards.recording_clips import find_shown
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionRows
from nitrogen_train.data.schema import Box, ShardError

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
"""Lead of the best shift's correlation over the next best's; 1200 rows reach 0.1 by chance."""
_LEAST_MOVE = 0.05
"""Least way of a stick: less is noise."""


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


Clock = Literal["labels", "video"]

_STEADY_TOLERANCE = 0.03
"""Share of the labels' rate by which that of a steady video may be off."""
_VARYING_TOLERANCE = 0.25
"""Share by which a piece may have fewer or more frames than rows."""
_OWN_RATE_TOLERANCE = 0.005
"""Share of the labels' rate: so near, the rate of a video that lacks frames may be its own."""
MAX_STAY_S = 0.1
"""A row whose frame is older may not be learned from."""
_LATEST_START_S = 0.5
_SAME_FRAMES = 1.0
"""Clocks that differ by no more are one."""
_TELLING_FRAMES = 5.0
"""So far apart two starts can be told apart in the picture."""
_MOST_APART_S = 60.0
"""All between two starts is decoded, and a stranger may name any."""
_MAX_WITNESSES = 3


@dataclass(frozen=True, kw_only=True)
class LabelledVideo:
    """A video, and the rate that its frames follow."""

    video: SourceVideo
    fps: float
    """Frames per second, but for those that are missing."""


@dataclass(frozen=True, kw_only=True)
class RowTimes:
    """The times of a piece's rows."""

    first_s: float
    """Time of the first row, from the video's first frame on."""
    fps: float
    """Rows per second."""


def find_rate(video: SourceVideo, labels_fps: float) -> LabelledVideo:
    """Find the rate that a video's frames follow.

    Args:
        video: The whole file.
        labels_fps: Rows per second.

    Raises:
        ShardError: If it has a steady rate that is not the labels' (cause `rate`), or does not
            begin at its beginning (cause `start`).
    """
    begins_s = float(video.ticks[0] * video.time_base)
    if begins_s > _LATEST_START_S:
        raise ShardError(
            f"the first frame of {video.path.name} is at {begins_s:.2f} s, as in a section of a "
            "video, and labels count from its beginning; get all of it",
            cause="start",
        )
    usual = sorted((labels_fps, labels_fps / 1.001), key=lambda rate: abs(rate - video.fps))
    for fps in (*usual, video.fps):
        if replace(video, fps=fps).find_unsteady() is None:
            _check_rate(video, fps, labels_fps, _STEADY_TOLERANCE)
            return LabelledVideo(video=video, fps=fps)
    # Frames are missing, or come at any time.
    is_own = abs(video.fps / labels_fps - 1) <= _OWN_RATE_TOLERANCE
    return LabelledVideo(video=video, fps=video.fps if is_own else labels_fps)


def choose_clock(pieces: Sequence[LabelledPiece], labelled: LabelledVideo) -> Clock | None:
    """Choose the clock of a video's pieces; `None` if they part and nothing tells which counts.

    Args:
        pieces: Of one video.
        labelled: The video.
    """
    most = _MOST_APART_S * labelled.fps
    telling = [
        piece for piece in pieces if _TELLING_FRAMES <= _measure_gap(piece, labelled) <= most
    ]
    telling.sort(key=lambda piece: (piece.idle_share, piece.name))
    for piece in telling[:_MAX_WITNESSES]:
        if (clock := _ask_picture(piece, labelled)) is not None:
            return clock
    return None


def time_rows(piece: LabelledPiece, labelled: LabelledVideo, clock: Clock | None) -> RowTimes:
    """Find when the rows of a piece are.

    Raises:
        ShardError: If the clocks part, and which one counts is not known (cause `clock`).
    """
    times = _time_rows(piece, labelled)
    if _measure_gap(piece, labelled) <= _SAME_FRAMES:
        return times["video"]
    if clock is None:
        raise ShardError(
            f"by its frames the piece begins at {times['video'].first_s:.2f} s of "
            f"{labelled.video.path.name} ({labelled.fps:.2f} frames per second), by its times at "
            f"{times['labels'].first_s:.2f} s, and the pad in the picture does not tell which is "
            "right",
            cause="clock",
        )
    return times[clock]


def show_rows(
    times: RowTimes, labelled: LabelledVideo, count: int
) -> tuple[Int64[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """Find the frame of each row, and whether it is there in time.

    Returns:
        Places in the whole video, and False where the frame has stayed for too long.

    Raises:
        ShardError: If the video ends before (cause `short`), or shows fewer or more frames there
            than it should (cause `rate`).
    """
    video = labelled.video
    frames = find_shown(video, first_s=times.first_s, fps=times.fps, count=count)
    seconds = (video.ticks - video.ticks[0]) * float(video.time_base)
    wanted = times.first_s + np.arange(count) / times.fps
    if wanted[-1] - seconds[-1] > 0.5 / times.fps:
        raise ShardError(
            f"the labels are of {wanted[0]:.2f} to {wanted[-1]:.2f} s, the last frame of "
            f"{video.path.name} is at {seconds[-1]:.2f} s"
            + (f"; {video.loss.words}" if video.loss else ""),
            cause="short",
        )
    num_shown = int(frames[-1] - frames[0]) + 1
    _check_rate(video, num_shown / count * times.fps, times.fps, _VARYING_TOLERANCE)
    return frames, wanted - seconds[frames] <= MAX_STAY_S


def _check_rate(video: SourceVideo, fps: float, labels_fps: float, tolerance: float) -> None:
    if abs(fps / labels_fps - 1) > tolerance:
        raise ShardError(
            f"the labels have {labels_fps:g} rows per second, {video.path.name} shows {fps:.2f} "
            "frames per second there; get it at the labels' rate",
            cause="rate",
        )


def _time_rows(piece: LabelledPiece, labelled: LabelledVideo) -> dict[Clock, RowTimes]:
    metadata = piece.metadata
    return {
        "labels": RowTimes(first_s=metadata.start_s, fps=metadata.exact_fps),
        "video": RowTimes(first_s=metadata.start_frame / labelled.fps, fps=labelled.fps),
    }


def _measure_gap(piece: LabelledPiece, labelled: LabelledVideo) -> float:
    """Measure how far the clocks part within a piece, in frames."""
    times = _time_rows(piece, labelled)
    first = times["labels"].first_s - times["video"].first_s
    step = 1 / times["labels"].fps - 1 / times["video"].fps
    return max(abs(first), abs(first + (len(piece.actions) - 1) * step)) * labelled.fps


def _ask_picture(piece: LabelledPiece, labelled: LabelledVideo) -> Clock | None:
    video, times = labelled.video, _time_rows(piece, labelled)
    try:
        boxes = place_boxes(
            piece.metadata, width=video.width, height=video.height, crops_to_game=False
        )
        told = tell_start(
            video,
            boxes.masked[0],
            piece.actions.rows,
            fps=piece.metadata.exact_fps,
            starts_s=[each.first_s for each in times.values()],
        )
    except ShardError:
        # The pad cannot be found, or the video is damaged there: another piece may tell.
        return None
    return None if told is None else list(times)[told]
