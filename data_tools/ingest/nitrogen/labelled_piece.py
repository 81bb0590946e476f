"""Turn a piece's files into its rows, or into the reason why it has none.

Boxes of the labels, such as the pad's, become pixels of the video that is at hand.
It is found when in its video each row is, and which frame is shown then.

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

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.ingest.nitrogen.label_tar import (
    LabelBox,
    PieceMetadata,
    RawPiece,
    parse_piece_metadata,
    printable,
)
from data_tools.shards.drop_report import Dropped
from data_tools.shards.shard_recordings import find_shown
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.clip_record import ClipActions, decode_actions, idle_rows
from nitrogen_train.data.schema import Box, Labels, ShardError

_ASPECT_TOLERANCE = 0.01
_SMALLEST_AREA_PX = 16

_REASONS = {
    "metadata": "the metadata is not readable",
    "fps": "no plausible frame rate",
    "parquet": "the parquet is damaged or cut short",
    "range": "a label is no value of its range",
}
_FILES: dict[Labels, str] = {
    "processed": "actions_processed.parquet",
    "raw": "actions_raw.parquet",
}

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
class PictureBoxes:
    """The boxes of a video's picture that are masked and kept."""

    masked: tuple[Box, ...]
    area: Box | None


def place_boxes(
    metadata: PieceMetadata, *, width: int, height: int, crops_to_game: bool
) -> PictureBoxes:
    """Find the boxes in a video's picture, clipped to it.

    What is masked is rounded outwards, what is kept inwards.

    Args:
        metadata: With the boxes, and the size of the picture that they were drawn on.
        width: Of the video's picture, in pixels.
        height: As `width`.
        crops_to_game: Whether to keep just the game's area, where the labels name one.

    Raises:
        ShardError: If the picture has another shape than the labels say (cause `size`), or the pad
            cannot be masked (cause `overlay`).
    """
    labelled = _labelled_size(metadata.resolution, width=width, height=height)
    if metadata.overlay is None:
        raise ShardError("the labels do not say where the pad is drawn", cause="overlay")

    def place(box: LabelBox, *, outwards: bool) -> Box | None:
        across, down = (1, 1) if box.is_normalized else labelled
        left, top, right, bottom = box.corners
        first, last = (math.floor, math.ceil) if outwards else (math.ceil, math.floor)
        # A hair of room, for corners that are whole but for a rounding error.
        hair = 1e-6 if outwards else -1e-6
        x = min(max(first(left / across * width + hair), 0), width)
        y = min(max(first(top / down * height + hair), 0), height)
        x_end = min(max(last(right / across * width - hair), 0), width)
        y_end = min(max(last(bottom / down * height - hair), 0), height)
        return (x, y, x_end - x, y_end - y) if x < x_end and y < y_end else None

    overlay = place(metadata.overlay, outwards=True)
    if overlay is None:
        raise ShardError(
            f"the pad's box {metadata.overlay.corners} lies outside of the picture of "
            f"{metadata.resolution[0]} and {metadata.resolution[1]} pixels",
            cause="overlay",
        )
    others = [place(box, outwards=True) for box in metadata.others]
    area = None
    if crops_to_game and metadata.game_area is not None:
        area = place(metadata.game_area, outwards=False)
        if area is None or min(area[2:]) < _SMALLEST_AREA_PX:
            raise ShardError(
                f"the game's area {metadata.game_area.corners} is no part of the picture",
                cause="area",
            )
    return PictureBoxes(masked=(overlay, *(box for box in others if box is not None)), area=area)


def _labelled_size(resolution: tuple[int, int], *, width: int, height: int) -> tuple[int, int]:
    """Find the (width, height) that boxes were drawn on: the card's order is not always kept.

    Raises:
        ShardError: If in neither order the picture has the shape of the video's.
    """
    first, second = resolution
    # In the card's order first: for a picture of the same shape both ways it makes no difference.
    for labelled_height, labelled_width in ((first, second), (second, first)):
        if labelled_height < 1 or labelled_width < 1:
            continue
        ratio = (labelled_width / labelled_height) / (width / height)
        if abs(ratio - 1) <= _ASPECT_TOLERANCE:
            return labelled_width, labelled_height
    raise ShardError(
        f"the labels are of a picture of {first} and {second} pixels, the video has {width}x"
        f"{height}, which is another shape",
        cause="size",
    )


@dataclass(frozen=True, kw_only=True)
class LabelledPiece:
    """A piece whose files agree."""

    name: str
    metadata: PieceMetadata
    actions: ClipActions
    labels: Labels
    """Kind of the file from which the rows are."""
    digest: str
    """Digest of the piece's files."""

    @property
    def idle_share(self) -> float:
        """Share of rows with no button down and both sticks centred."""
        return float(idle_rows(self.actions.rows).mean())


def read_piece(piece: RawPiece) -> LabelledPiece | Dropped:
    """Read a piece: the processed actions if there are any, else the raw ones."""
    if "metadata.json" not in piece.files:
        return Dropped(name=piece.name, reason="no metadata", detail="metadata.json is missing")
    labels: Labels = "processed" if _FILES["processed"] in piece.files else "raw"
    if _FILES[labels] not in piece.files:
        return Dropped(
            name=piece.name,
            reason="no labels",
            detail="neither actions_processed.parquet nor actions_raw.parquet is there",
        )
    try:
        metadata = parse_piece_metadata(piece.files["metadata.json"])
        actions = decode_actions(piece.files[_FILES[labels]], GAMEPAD)
    except ShardError as error:
        reason = _REASONS.get(error.cause, "the labels are not in the card's columns")
        return Dropped(name=piece.name, reason=reason, detail=printable_detail(error))
    if (metadata.video_id, metadata.chunk) != (piece.video_id, piece.chunk):
        return Dropped(
            name=piece.name,
            reason="the metadata is of another piece",
            detail=f"it says {printable(metadata.video_id)}, chunk {metadata.chunk}",
        )
    num_frames = metadata.end_frame - metadata.start_frame
    # One of room: the card does not say whether end_frame is within the piece.
    if len(actions) != metadata.num_rows or not 0 <= len(actions) - num_frames <= 1:
        return Dropped(
            name=piece.name,
            reason="rows and frames differ in number",
            detail=f"{len(actions)} rows, chunk_size {metadata.num_rows}, {num_frames} frames",
        )
    digest = hashlib.sha256()
    for name in ("metadata.json", _FILES[labels]):
        digest.update(hashlib.sha256(piece.files[name]).digest())
    return LabelledPiece(
        name=piece.name,
        metadata=metadata,
        actions=actions,
        labels=labels,
        digest=digest.hexdigest(),
    )


def printable_detail(error: Exception) -> str:
    """Write an error about a stranger's file as one bounded line."""
    return "".join(sign if sign.isprintable() else " " for sign in str(error)[:300])


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
