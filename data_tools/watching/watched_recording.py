"""Say what a recording is made of whose inputs were read from a video that shows a controller.

    Reading ─► controls and rows to learn from ─► log ─► lag ─► log, moved if asked for ─┐
    Reading ─► boxes to black out, facts ────────────────────────────────────────────────┴─►

Frame t has row t: what the controller shows on a frame is the frame's row. What is not learned from
is listed with its reason; no value is guessed for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped

from data_tools.recordings.input_log import InputLog, Track
from data_tools.recordings.recording import MaskedBox, OverlayFacts, RecordingFacts
from data_tools.shards.drop_report import Dropped, format_length
from data_tools.shards.shard_plan import list_loss
from data_tools.shards.source_video import SourceVideo
from data_tools.watching.measure_lag import Lag, measure_lag
from data_tools.watching.overlay_layout import OverlayLayout, check_box
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError, list_runs
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.progress import pluralize
from nitrogen_train.skins.skin import Skin, Trigger

_GROW_PX = 2
_MASK_AROUND_S = 1.0
"""Time by which a box is blacked out before and after the controller was found there: where it
moves, the moment is known to some frames only."""
_SHORTEST_S = 0.25
"""Rows that can be read for a shorter time than that, between others that cannot, are left out."""
_MOST_STRETCHES = 3000
"""More would make the facts larger than a reader takes them."""
_LEAST_CONFIDENCE = 0.25
"""Mean over all controls, below which something else was taken for a controller."""
_LEAST_SURE = 0.05
"""A row with a control of less confidence is not learned from: its picture lies midway between two
states. Of small, thin or transparent controllers this finds up to half of the rows that are read
wrong, for 0 to 5 % of those that are read right."""
_LEAST_MEDIAN = 0.2
"""A control that is less sure in most rows is not told at all; those that are told have 0.4 and
more. All the video would be lost by its rows, so the control is left out."""
_EITHER_SHARE = (0.4, 0.6)
"""Of rows with a press: of a skin that is not known, rest is what is seen most of the time."""
_DIGITS = 3
_NOT_MEASURED = 100.0
"""Residual of a row that was not decoded."""

UNREADABLE = "the controller could not be read there"
DAMAGED = "the video is damaged or changes its size there"
DOUBTFUL = "a control was not sure there"
NOT_TOLD = "a control could not be told"
EITHER_WAY = "a button may be read the wrong way round"

ANY_SKIN = "any"
"""Skin of the facts, where it is not known."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is looked for, and what the recordings say of the play."""

    game: str
    skin: str | None = None
    """What `open_skin` takes, or a folder of presets; a skin that is none of them, or None, is read
    as any skin is."""
    box: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the place of the controller, to a fifth of its size."""
    layout: OverlayLayout | None = None
    """Place of the controller and its controls, by a person; others are not read."""
    corrects_lag: bool = False
    """Move the log by whole rows to be at one with the picture, where the lag can be measured."""
    session_id: str | None = None
    """None: each video is a session."""
    source: str = "recordings"
    licence: str = "unknown"
    url: str = ""

    def __post_init__(self) -> None:
        """Check the box and the game's name.

        Raises:
            ValueError: If the box holds nothing, a layout says another one, or no game is named.
        """
        if not self.game.strip():
            raise ValueError("--game takes the name of what is played, got an empty one")
        if self.box is not None and (min(self.box) < 0 or min(self.box[2:]) < 1):
            got = ",".join(map(str, self.box))
            raise ValueError(f"--box takes X,Y,W,H in pixels, W and H above 0, got {got}")
        if self.box is not None and self.layout is not None:
            raise ValueError("--layout says where the controller is: leave out --box")

    def find_box(self, video: SourceVideo) -> Box | None:
        """Return the place that a person gave by its edges; None if it is to be searched.

        Raises:
            ShardError: If it does not lie in the picture.
        """
        picture = video.width, video.height
        if self.layout is not None:
            if self.layout.picture != picture:
                wide, tall = self.layout.picture
                raise ShardError(
                    f"{video.path}: --layout is of a picture of {wide}x{tall} pixels, the video "
                    f"has {video.width}x{video.height}"
                )
            return self.layout.box
        if self.box is None:
            return None
        x, y, width, height = self.box
        edges = x, y, x + width, y + height
        check_box(edges, picture=picture, what=f"{video.path}: --box")
        return edges


@dataclass(frozen=True, kw_only=True)
class WatchedRecording:
    """A video that has been read, before anything is written."""

    reading: Reading
    """Of the controls that are in the log; rows are the frames that showed them."""
    learned: Bool[np.ndarray, " rows"]
    """True for rows of the log that are learned from."""
    log: InputLog
    facts: RecordingFacts
    seconds: float
    kept_s: float
    place: str
    """Where the controller was, and its lag, in words."""
    lost: tuple[Dropped, ...]
    """What is not learned from."""


def make_recording(
    video: SourceVideo,
    reading: Reading,
    *,
    name: str,
    settings: WatchSettings,
    looks: Mapping[str, str],
    graded: frozenset[str],
) -> WatchedRecording:
    """Make a recording of what was read from a video.

    Args:
        video: All of its frames.
        reading: One row per frame.
        name: The recording's.
        settings: What was asked for.
        looks: The `skin` and the `reader` of its facts on the overlay.
        graded: Triggers that are more than up or down.

    Raises:
        ReadingError: If what was read is no controller, or nothing can be learned from.
    """
    _check_sure(video, reading)
    reading, left_out = leave_unsure(reading)
    edges_ns = video.edges_ns(0)
    unreadable = ~reading.readable
    doubtful = find_doubtful(reading) & ~unreadable
    learned = ~mark_rows(find_unlearned(unreadable | doubtful, fps=video.fps), len(video))
    if not (learned.any() and reading.drawn):
        raise ReadingError(
            f"{video.path}: the controller was found, and can be read in none of its frames"
        )
    masks = tuple(list_masks(reading, edges_ns))
    log = make_log(reading, edges_ns, graded=graded)
    lag = measure_lag(video, log, learned, hidden=[mask.box for mask in masks])
    overlay = _describe_overlay(reading, learned, lag, looks)
    shift = lag.count_rows(video.fps) if settings.corrects_lag else 0
    if shift:
        log = make_log(shift_rows(reading, shift), edges_ns, graded=graded)
        unreadable |= shift_values(unreadable, shift, fill=True)
        learned &= shift_values(learned, shift, fill=False)
    runs = find_unlearned(~learned, fps=video.fps)
    learned = ~mark_rows(runs, len(video))
    if not learned.any():
        raise ReadingError(f"{video.path}: no row is left when its lag is corrected")
    lost = _list_lost(
        reading, edges_ns, unreadable=unreadable, learned=learned, name=name, game=settings.game
    )
    overlay = replace(overlay, shifted_rows=shift, readable=round(float(learned.mean()), _DIGITS))
    return WatchedRecording(
        reading=reading,
        learned=learned,
        log=log,
        facts=replace(
            _describe_play(settings, name=name, layout=reading.layout),
            disturbed_ns=tuple((int(edges_ns[a]), int(edges_ns[b])) for a, b in runs),
            masked_boxes=masks,
            overlay=overlay,
        ),
        seconds=float(edges_ns[-1] / 1e9),
        kept_s=float(np.diff(edges_ns)[learned].sum() / 1e9),
        place=f"{_describe_places(reading.stretches, overlay)}, {lag.describe(shift)}",
        lost=(
            *lost,
            *_list_left_out(left_out, name=name, game=settings.game),
            *(_list_either_way(reading, settings, name) if looks["skin"] == ANY_SKIN else ()),
            *list_loss(video, name=name, game=settings.game),
        ),
    )


def _describe_play(settings: WatchSettings, *, name: str, layout: str) -> RecordingFacts:
    """State what a person says of the play."""
    return RecordingFacts(
        video_start_ns=0,
        game=settings.game,
        session_id=settings.session_id or name,
        stick_y_axis="down",
        device=f"{layout} controller on the video",
        source=settings.source,
        licence=settings.licence,
        url=settings.url,
    )


def _check_sure(video: SourceVideo, reading: Reading) -> None:
    """Refuse what looks most like the controller and is none.

    Raises:
        ReadingError: If its controls are read with hardly any confidence.
    """
    confidence = _join_confidences(reading)
    if not reading.readable.any() or not confidence:
        raise ReadingError(f"{video.path}: the controller was found, and shows no control")
    mean = float(np.mean([values[reading.readable].mean() for values in confidence.values()]))
    if mean < _LEAST_CONFIDENCE:
        raise ReadingError(
            f"{video.path}: what looks most like the controller is none: its controls are read "
            f"with a confidence of {mean:.2f}, expected at least {_LEAST_CONFIDENCE}"
        )


def _join_confidences(reading: Reading) -> dict[str, Float32[np.ndarray, " rows"]]:
    """Find the confidence of each control that is drawn, in the order of their names."""
    every = np.concatenate([reading.button_confidence, reading.stick_confidence], axis=1)
    return {name: every[:, GAMEPAD.index(name)] for name in sorted(reading.drawn)}


def leave_unsure(reading: Reading) -> tuple[Reading, dict[str, float]]:
    """Leave controls out that cannot be told in most rows.

    Returns:
        The reading of the others, and the median confidence of each that was left out.
    """
    medians = {
        name: float(np.median(values[reading.readable]))
        for name, values in _join_confidences(reading).items()
    }
    unsure = {name: median for name, median in medians.items() if median < _LEAST_MEDIAN}
    return replace(reading, drawn=reading.drawn.difference(unsure)), unsure


def find_doubtful(reading: Reading) -> Bool[np.ndarray, " rows"]:
    """Mark the rows in which the least sure control may as well be in another state."""
    least = np.ones(len(reading), np.float32)
    for values in _join_confidences(reading).values():
        np.minimum(least, values, out=least)
    return least < _LEAST_SURE


def find_unlearned(unlearned: Bool[np.ndarray, " rows"], *, fps: float) -> list[tuple[int, int]]:
    """List the stretches of rows that are not learned from, with short ones between them.

    Example:
        >>> find_unlearned(np.array([0, 0, 0, 1, 0, 1, 0, 0], bool), fps=8.0)
        [(3, 6)]
    """
    runs = list_runs(unlearned)
    shortest = _SHORTEST_S * fps
    while True:
        joined: list[tuple[int, int]] = []
        for start, stop in runs:
            if joined and start - joined[-1][1] < shortest:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((start, stop))
        if len(joined) <= _MOST_STRETCHES:
            return joined
        runs, shortest = joined, 2 * shortest


def mark_rows(runs: Sequence[tuple[int, int]], number: int) -> Bool[np.ndarray, " rows"]:
    """Mark the rows of some stretches among `number` rows."""
    marks = np.zeros(number, bool)
    for start, stop in runs:
        marks[start:stop] = True
    return marks


def shift_values(
    values: Shaped[np.ndarray, "rows ..."], rows: int, *, fill: float | int
) -> Shaped[np.ndarray, "rows ..."]:
    """Move rows to later ones, or to earlier ones if `rows` is below 0; `fill` comes in.

    Example:
        >>> shift_values(np.array([1, 2, 3]), -1, fill=0)
        array([2, 3, 0])
    """
    moved = np.full_like(values, fill)
    if abs(rows) < len(values):
        start, stop = max(0, rows), len(values) + min(0, rows)
        moved[start:stop] = values[start - rows : stop - rows]
    return moved


def shift_rows(reading: Reading, rows: int) -> Reading:
    """Move all that was read to later rows, or to earlier ones; what comes in is not readable."""
    fields = ("buttons", "button_confidence", "sticks", "stick_confidence", "readable")
    moved = {name: shift_values(getattr(reading, name), rows, fill=0) for name in fields}
    return replace(reading, **moved)


def list_graded(skin: Skin) -> frozenset[str]:
    """Name the triggers of which a skin shows how far they are pulled."""
    return frozenset(
        element.control
        for element in skin.elements
        if isinstance(element, Trigger) and element.mode != "binary"
    )


def make_log(
    reading: Reading, edges_ns: Int64[np.ndarray, " edges"], *, graded: frozenset[str]
) -> InputLog:
    """Make a log of a reading: an event where a control changes, at the time of its frame.

    Args:
        reading: Of all frames.
        edges_ns: When each frame is shown, and when the last one's row ends.
        graded: Triggers that are more than up or down.
    """
    tracks: dict[str, Track] = {}
    for name in sorted(reading.drawn):
        values = reading.control(name).astype(np.float64).round(_DIGITS)
        if name in GAMEPAD.buttons and name not in graded:
            values = (values > GAMEPAD.trigger_threshold).astype(np.float64)
        new = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        tracks[name] = Track(times_ns=edges_ns[new], values=values[new])
    return InputLog(tracks=tracks, first_ns=int(edges_ns[0]), last_ns=int(edges_ns[-1]))


def list_masks(reading: Reading, edges_ns: Int64[np.ndarray, " edges"]) -> Iterator[MaskedBox]:
    """Grow the boxes of the controller, in the picture and in time; those at one place are one."""
    around_ns = round(_MASK_AROUND_S * 1e9)
    for box in dict.fromkeys(stretch.box for stretch in reading.stretches):
        left, top = (max(0, edge - _GROW_PX) for edge in box[:2])
        right = min(reading.width, box[2] + _GROW_PX)
        bottom = min(reading.height, box[3] + _GROW_PX)
        times = [
            (int(edges_ns[stretch.start]), int(edges_ns[stretch.stop]))
            for stretch in reading.stretches
            if stretch.box == box
        ]
        yield MaskedBox(
            start_ns=max(0, times[0][0] - around_ns),
            stop_ns=times[-1][1] + around_ns,
            box=(left, top, right - left, bottom - top),
        )


def _describe_overlay(
    reading: Reading, learned: Bool[np.ndarray, " rows"], lag: Lag, looks: Mapping[str, str]
) -> OverlayFacts:
    controls = {
        name: round(float(values[learned].mean()), _DIGITS)
        for name, values in _join_confidences(reading).items()
    }
    return OverlayFacts(
        skin=looks["skin"],
        layout=reading.layout,
        opacity=round(float(find_longest(reading.stretches).opacity), _DIGITS),
        readable=round(float(learned.mean()), _DIGITS),
        confidence=round(float(np.mean(list(controls.values()))), _DIGITS),
        controls=controls,
        lag_ms=lag.ms,
        lag_confidence=lag.confidence,
        display_fps=reading.display_fps,
        reader=looks["reader"],
    )


def find_longest(stretches: Sequence[PadStretch]) -> PadStretch:
    """Find the stretch of the most rows."""
    return max(stretches, key=lambda stretch: stretch.stop - stretch.start)


def _describe_places(stretches: Sequence[PadStretch], overlay: OverlayFacts) -> str:
    boxes = list(dict.fromkeys(stretch.box for stretch in stretches))
    left, top, right, bottom = boxes[0]
    words = f"controller of {right - left}x{bottom - top} at {left},{top}"
    if len(boxes) > 1:
        words += f" and {pluralize(len(boxes) - 1, 'other place')}"
    return f"{words}, confidence {overlay.confidence:.2f}"


def _list_lost(
    reading: Reading,
    edges_ns: Int64[np.ndarray, " edges"],
    *,
    unreadable: Bool[np.ndarray, " rows"],
    learned: Bool[np.ndarray, " rows"],
    name: str,
    game: str,
) -> Iterator[Dropped]:
    """List what is not learned from, for the report."""
    # What could not be decoded has no residual that was measured.
    decoded = np.flatnonzero(reading.residual != _NOT_MEASURED)
    is_damaged = np.arange(len(reading)) > (decoded[-1] if len(decoded) else -1)
    # Rows between those that cannot be read are lost with them.
    near = mark_rows(find_unlearned(unreadable, fps=reading.fps), len(reading)) & ~is_damaged
    for reason, where in (
        (UNREADABLE, near),
        (DOUBTFUL, ~(near | is_damaged)),
        (DAMAGED, is_damaged),
    ):
        runs = list_runs(where & ~learned)
        if not runs:
            continue
        times_s = [(float(edges_ns[a] / 1e9), float(edges_ns[b] / 1e9)) for a, b in runs]
        start_s, stop_s = max(times_s, key=lambda time: time[1] - time[0])
        length = format_length(stop_s - start_s)
        yield Dropped(
            name=name,
            game=game,
            seconds=sum(stop - start for start, stop in times_s),
            reason=reason,
            detail=f"{pluralize(len(runs), 'time')}, longest for {length} from {start_s:.1f} s on",
            is_fault=False,
            is_told=True,
        )


def _list_left_out(left_out: Mapping[str, float], *, name: str, game: str) -> Iterator[Dropped]:
    """Name the controls that are not in the log though the controller shows them."""
    if left_out:
        words = ", ".join(f"{control} {median:.2f}" for control, median in left_out.items())
        yield Dropped(
            name=name,
            game=game,
            reason=NOT_TOLD,
            detail=f"left out of the log, with its median confidence: {words}",
            is_fault=False,
            is_told=True,
        )


def _list_either_way(reading: Reading, settings: WatchSettings, name: str) -> Iterator[Dropped]:
    """Name the buttons that are pressed about as long as not, so that rest may be a press."""
    low, high = _EITHER_SHARE
    shares = {
        control: float((reading.control(control)[reading.readable] > 0.5).mean())
        for control in sorted(reading.drawn & set(GAMEPAD.buttons))
    }
    either = {control: share for control, share in shares.items() if low < share < high}
    if either:
        words = ", ".join(f"{control} in {share:.0%}" for control, share in either.items())
        yield Dropped(
            name=name,
            game=settings.game,
            reason=EITHER_WAY,
            detail=f"pressed {words} of the rows; look at the sheet (--sheet), or give --skin",
            is_fault=False,
            is_told=True,
        )
