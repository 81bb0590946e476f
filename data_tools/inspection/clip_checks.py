"""Check one clip, and count what its controls do.

    record ─► bytes, members, video against the manifest ─► faults
    rows ─► sums, added up over a session ─► lines on play that looks like a wrong layout
    rows, frames ─► correlation at each lag ─► how long after an input the picture changes

The lines on play are asked of each game of a data set as a whole; where the whole is inconspicuous,
of each session that lasts long enough.

Where a player's input changes, many games' pictures change more than elsewhere: turning, walking,
jumping. The correlation of both over many rows has its peak at the lag where the picture answers
the input. Row t covers the time from frame t on, so an immediate answer is lag 0.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from jaxtyping import Bool, Float64, Int64, UInt8

from data_tools.action_rows import CORNERS, corner_rows, hash_actions, hash_video, stick_pairs
from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.data.clip_record import ClipActions, Record, idle_rows
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow, describe_record
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.stored_clips import ForeignClip, decode_clip
from nitrogen_train.data.video import PyAVDecoder
from nitrogen_train.runtime.atomic_files import describe_error

_HALF_TOLERANCE = 0.02

MAX_LAG = 20
"""Largest lag in rows, to either side."""
_STEP_PX = 4
"""Step between the pixels that count: enough to see motion."""
_NEAR = 3
"""Lags this near belong to the same peak."""
_FEWEST_CHANGES = 30
# Chance gives a correlation of 1 / sqrt(rows), at some lag about three times that.
_CHANCE_FACTOR = 6.0
# A player also reacts to what has changed, two rows after it: in recordings of doom_gather that is
# a peak of 0.18 at -2, in those of doom_defend the answer to the input is one of 0.54 at 1.
_LOWEST_PEAK = 0.3
_RIVAL_SHARE = 0.5

_LONGEST_GROUP_SECONDS = 2
# What rounded times may do to the mean rate of a short clip.
_RATE_TOLERANCE = 0.005

SHORTEST_S = 30.0
"""Less play says nothing of a controller."""
_ALWAYS = 0.99
_MODEL_SPACE_SHARE = 0.5
_FEWEST_HALF_AXES = 2
_FIRST_LAG = -1
"""First lag in rows: an answer before the input is a mistake, but for one row of rounding."""
_SLOWEST_ANSWER_S = 0.15
_FEWEST_LATE_ROWS = 3


@dataclass(frozen=True, kw_only=True)
class ControlFacts:
    """Counts of valid rows."""

    seconds: float
    num_rows: int
    num_changes: int
    """Number of valid rows with another input than the valid row before."""
    pressed: Int64[np.ndarray, " n"]
    """Rows with each button down."""
    corners: Int64[np.ndarray, "pairs 4"]
    """Rows with each stick in each of its corners, see `corner_rows`."""
    negative: Int64[np.ndarray, " s"]
    """Rows with each axis below 0."""
    half: Int64[np.ndarray, " s"]
    """Rows with each axis at 0.5, the centre in model space."""

    def __add__(self, other: "ControlFacts") -> "ControlFacts":
        values = {
            item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)
        }
        return ControlFacts(**values)


def describe_controls(actions: ClipActions, space: ActionSpace, *, fps: float) -> ControlFacts:
    """Count what the controls of a clip do in its valid rows."""
    sticks, buttons = actions.rows.sticks[actions.valid], actions.rows.buttons[actions.valid]
    has_changed = np.diff(np.concatenate([buttons, sticks], axis=1), axis=0).any(axis=1)
    corners = [corner_rows(sticks[:, axes]).sum(axis=0) for axes in stick_pairs(space).values()]
    return ControlFacts(
        seconds=len(buttons) / fps,
        num_rows=len(buttons),
        num_changes=int(has_changed.sum()),
        pressed=buttons.sum(axis=0),
        corners=np.array(corners, dtype=np.int64).reshape(-1, 4),
        negative=(sticks < 0).sum(axis=0),
        half=(np.abs(sticks - 0.5) <= _HALF_TOLERANCE).sum(axis=0),
    )


@dataclass(frozen=True, kw_only=True)
class OffsetSums:
    """The sums from which an offset is estimated; sums of many clips tell it better than one."""

    products: Float64[np.ndarray, " lags"]
    """Products of normalized input change and picture change, from `-MAX_LAG` to `MAX_LAG`."""
    num_rows: int
    num_changes: int
    """Rows with another input than the row before."""

    def __add__(self, other: "OffsetSums") -> "OffsetSums":
        return OffsetSums(
            products=self.products + other.products,
            num_rows=self.num_rows + other.num_rows,
            num_changes=self.num_changes + other.num_changes,
        )


NO_OFFSET = OffsetSums(products=np.zeros(2 * MAX_LAG + 1), num_rows=0, num_changes=0)


@dataclass(frozen=True, kw_only=True)
class OffsetEstimate:
    """The lag at which the picture answers the input."""

    lag: int
    """Rows from an input to the change of the picture; negative: the picture is first."""
    correlation: float


def measure_offset(
    frames: UInt8[np.ndarray, "f h w 3"], rows: ActionRows, valid: Bool[np.ndarray, " f"]
) -> OffsetSums:
    """Correlate a clip's changes of input and picture at each lag; nothing if one never changes."""
    small = frames[:, ::_STEP_PX, ::_STEP_PX].astype(np.int16)
    # From row to row: the picture's change from t to t+1 answers row t.
    picture = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))[1:]
    buttons = np.logical_xor(rows.buttons[1:], rows.buttons[:-1]).sum(axis=1)
    inputs = (buttons + np.abs(np.diff(rows.sticks, axis=0)).sum(axis=1))[:-1].astype(np.float64)
    inputs[~valid[1:-1]] = 0.0
    if len(inputs) <= 2 * MAX_LAG:
        return NO_OFFSET
    # A cut of the picture must not outweigh all else.
    picture = np.minimum(picture, np.quantile(picture, 0.95))
    if inputs.std() == 0 or picture.std() < 1e-3:
        return NO_OFFSET
    x, y = ((v - v.mean()) / v.std() for v in (inputs, picture))
    middle = len(x) - 1
    products = np.correlate(y, x, "full")[middle - MAX_LAG : middle + MAX_LAG + 1]
    return OffsetSums(products=products, num_rows=len(x), num_changes=int(np.count_nonzero(inputs)))


def estimate_offset(sums: OffsetSums) -> OffsetEstimate | None:
    """Find the peak, None where there is no clear one.

    A clear one stands out of what chance makes, and no other lag comes to half of it.
    """
    if sums.num_changes < _FEWEST_CHANGES:
        return None
    correlation = sums.products / sums.num_rows
    correlation = correlation - np.median(correlation)
    peak = int(correlation.argmax())
    far = np.abs(np.arange(len(correlation)) - peak) > _NEAR
    height = float(correlation[peak])
    lowest = max(_LOWEST_PEAK, _CHANCE_FACTOR / np.sqrt(sums.num_rows))
    if height < lowest or correlation[far].max() > _RIVAL_SHARE * height:
        return None
    return OffsetEstimate(lag=peak - MAX_LAG, correlation=height)


@dataclass(frozen=True, kw_only=True)
class CheckedClip:
    """The facts by which clips are compared and summed up."""

    controls: ControlFacts
    offset: OffsetSums
    actions_hash: str
    video_hash: str


@dataclass(frozen=True, kw_only=True)
class ClipExam:
    """The findings in one clip."""

    faults: list[str]
    facts: CheckedClip | None
    """None if the clip cannot be read."""


def examine_clip(dataset: Dataset, row: ManifestRow, *, is_foreign: bool = False) -> ClipExam:
    """Check a clip, and decode all of it.

    Args:
        dataset: Whose clip it is.
        row: What its manifest says.
        is_foreign: Whether another writer has laid the record out, and a manifest was made for it.
    """
    try:
        data = dataset.read_bytes(row)
        record = decode_clip(data, get_space(row.action_space))
        if isinstance(record, ForeignClip):
            return _examine_foreign(row, record)
        assert isinstance(record, Record)  # noqa: S101 - there is no third layout
        found = describe_record(record, data, shard=row.shard, offset=row.offset, split=row.split)
        faults = [*_compare(row, found), *_check_idle(record)]
    except (ShardError, OSError) as error:
        is_changed = isinstance(error, ShardError) and error.cause == "checksum"
        if is_foreign or is_changed:
            reason = "checksum differs" if is_changed else describe_error(error)
            again = f"copy {row.shard} again, or {'index' if is_foreign else 'shard'} again"
            return ClipExam(faults=[f"clip {row.clip_id}: {reason}; {again}"], facts=None)
        return ClipExam(faults=_name(row, [describe_error(error)]), facts=None)
    try:
        # One backend on every machine: it reads every file, and damage crashes none of it.
        frames = PyAVDecoder().decode(record.video)
        faults += [*_check_frames(row, frames), *_check_format(row, record.video)]
    except ShardError as error:
        return ClipExam(faults=_name(row, [*faults, str(error)]), facts=None)
    facts = None
    if len(frames) == len(record.actions):
        facts = _describe(record, frames)
    return ClipExam(faults=_name(row, faults), facts=facts)


def _examine_foreign(row: ManifestRow, clip: ForeignClip) -> ClipExam:
    """Check what training needs of a record that is not ours."""
    space = get_space(row.action_space)
    try:
        frames = PyAVDecoder().decode(clip.video)
    except ShardError as error:
        return ClipExam(faults=[f"clip {row.clip_id}: {error}; leave it out"], facts=None)
    faults = [f"clip {row.clip_id}: {fault}; index again" for fault in _check_frames(row, frames)]
    if faults or len(clip.actions) != row.num_frames:
        faults = faults or [f"clip {row.clip_id}: {len(clip.actions)} rows of actions; index again"]
        return ClipExam(faults=faults, facts=None)
    facts = CheckedClip(
        controls=describe_controls(clip.actions, space, fps=row.fps),
        offset=measure_offset(frames, clip.actions.rows, clip.actions.valid),
        actions_hash=hash_actions(clip.actions, row.fps),
        video_hash=hash_video(clip.video),
    )
    return ClipExam(faults=[], facts=facts)


def _name(row: ManifestRow, faults: list[str]) -> list[str]:
    return [f"clip {row.clip_id}: {fault}; shard its recording again" for fault in faults]


def _describe(record: Record, frames: UInt8[np.ndarray, "f h w 3"]) -> CheckedClip:
    actions, metadata = record.actions, record.metadata
    return CheckedClip(
        controls=describe_controls(actions, get_space(metadata.action_space), fps=metadata.fps),
        offset=measure_offset(frames, actions.rows, actions.valid),
        actions_hash=hash_actions(actions, metadata.fps),
        video_hash=hash_video(record.video),
    )


def _compare(row: ManifestRow, found: ManifestRow) -> Iterator[str]:
    for item in fields(ManifestRow):
        said, is_so = getattr(row, item.name), getattr(found, item.name)
        if said != is_so:
            yield f"{item.name} is {is_so!r} in the record and {said!r} in the manifest"


def _check_idle(record: Record) -> Iterator[str]:
    idle = float(idle_rows(record.actions.rows).mean())
    if abs(idle - record.metadata.idle_share) > 1e-6:
        yield f"idle_share is {record.metadata.idle_share:.4f}, by the actions it is {idle:.4f}"


def _check_frames(row: ManifestRow, frames: UInt8[np.ndarray, "f h w 3"]) -> Iterator[str]:
    if frames.shape != (row.num_frames, row.height, row.width, 3):
        yield (
            f"the video has {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, expected "
            f"{row.num_frames} of {row.width}x{row.height}"
        )


def _check_format(row: ManifestRow, video: bytes) -> Iterator[str]:
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        codec: VideoCodecContext = stream.codec_context
        found = (codec.name, stream.pix_fmt, bool(codec.has_b_frames))
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [packet.is_keyframe for packet in packets]
        ticks = sorted(packet.pts for packet in packets if packet.pts is not None)
        # Here: once the container is closed, PyAV reads its freed memory.
        rate, time_base = float(stream.average_rate or 1), stream.time_base
    if found != ("h264", "yuv420p", False):
        yield f"the video is (codec, pixels, B-frames) {found}, expected h264, yuv420p, none"
    gap = int(np.diff(np.flatnonzero([*keys, True])).max(initial=0))
    if not keys[0] or gap > _LONGEST_GROUP_SECONDS * rate:
        yield f"the video has {gap} frames between key frames, too many to seek in"
    if len(ticks) > 1 and ticks[-1] > ticks[0] and time_base is not None:
        fps = (len(ticks) - 1) / float((ticks[-1] - ticks[0]) * time_base)
        if abs(fps / row.fps - 1) > _RATE_TOLERANCE:
            yield (
                f"the video shows {fps:.3f} frames per second, its rows are said to last "
                f"1/{row.fps:.3f} s: one of them is wrong"
            )


@dataclass(frozen=True, kw_only=True)
class Play:
    """Some clips, summed up."""

    fps: float
    controls: ControlFacts
    offset: OffsetSums

    @classmethod
    def of_clip(cls, facts: CheckedClip, fps: float) -> "Play":
        """Begin with one clip."""
        return cls(fps=fps, controls=facts.controls, offset=facts.offset)

    def __add__(self, other: "Play") -> "Play":
        return Play(
            fps=self.fps,
            controls=self.controls + other.controls,
            offset=self.offset + other.offset,
        )


def find_suspicions(sessions: dict[str, dict[str, Play]], space: ActionSpace) -> Iterator[str]:
    """Look at each game, and at its sessions.

    Args:
        sessions: By game and session.
        space: Of all of them.
    """
    for game, plays in sorted(sessions.items()):
        whole = sum_plays(list(plays.values()))
        found = dict(_look_at(whole, space))
        yield from (f"{game}: {text}" for text in found.values())
        single: dict[str, list[tuple[str, str]]] = {}
        for session, play in sorted(plays.items()):
            for kind, text in _look_at(play, space):
                if kind not in found:
                    single.setdefault(kind, []).append((session, text))
        for cases in single.values():
            session, text = cases[0]
            more = f" (and {len(cases) - 1} more such)" if len(cases) > 1 else ""
            yield f"{game}, session {session}{more}: {text}"


def sum_plays(plays: list[Play]) -> Play:
    """Add up one or more."""
    total = plays[0]
    for play in plays[1:]:
        total += play
    return total


def _look_at(play: Play, space: ActionSpace) -> Iterator[tuple[str, str]]:
    """Name what is conspicuous: its kind, and what to say of it."""
    if play.controls.seconds < SHORTEST_S or not play.controls.num_rows:
        return
    yield from _look_at_buttons(play.controls, space)
    yield from _look_at_corners(play.controls, space)
    yield from _look_for_model_space(play.controls, space)
    yield from _look_at_offset(play)


def _look_at_buttons(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    for name, share in zip(space.buttons, facts.pressed / facts.num_rows, strict=True):
        if share >= _ALWAYS:
            yield (
                name,
                f"{name} is down in {share:.1%} of the rows; look at a preview: is it inverted, "
                "in another button's place, or stuck?",
            )


def _look_at_corners(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    for name, counts in zip(stick_pairs(space), facts.corners, strict=True):
        share = counts.max() / facts.num_rows
        if share >= _ALWAYS:
            corner = CORNERS[int(counts.argmax())]
            yield (
                name,
                f"{name} is at {corner} in {share:.1%} of the rows; a centred stick is 0 on disk "
                "and 0.5 in model space: was it padded with zeros there, or read from buttons?",
            )


def _look_for_model_space(facts: ControlFacts, space: ActionSpace) -> Iterator[tuple[str, str]]:
    rests_at_half = facts.half / facts.num_rows >= _MODEL_SPACE_SHARE
    if facts.negative.any() or rests_at_half.sum() < _FEWEST_HALF_AXES:
        return
    names = [n for n, is_half in zip(space.sticks, rests_at_half, strict=True) if is_half]
    yield (
        "model space",
        f"no axis is ever negative, and {', '.join(names)} rest at 0.5: model space was stored; "
        "write v * 2 - 1",
    )


def _look_at_offset(play: Play) -> Iterator[tuple[str, str]]:
    estimate = estimate_offset(play.offset)
    if estimate is None:
        return
    latest = max(_FEWEST_LATE_ROWS, round(_SLOWEST_ANSWER_S * play.fps))
    if _FIRST_LAG <= estimate.lag <= latest:
        return
    when = "before" if estimate.lag < 0 else "after"
    yield (
        "offset",
        f"the picture changes most {abs(estimate.lag)} rows ({abs(estimate.lag) / play.fps:.2f} s) "
        f"{when} the input does (correlation {estimate.correlation:.2f}), expected 0 to {latest} "
        "rows after it; look at a preview, and correct the start of the video or the log",
    )
