"""Make a recording of one video and its log.

    log ─► dead zone ─► the video's clock: offset and drift ─► cut to the video's time ─► recording
                                     └► is the rest of a longer log still of this video?

A radial dead zone sets a stick that rests to its centre. OBS stops its video while it is paused,
and begins another file where it splits one, while a program that writes down inputs continues. Then
the log is longer than the video and its rows lie apart from the pictures, which is found out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from data_tools.ingest.recording.clock_fit import (
    MAX_DRIFT,
    ClockFit,
    ClockMap,
    UnknownClockError,
    measure_clock,
    measure_end,
)
from data_tools.ingest.recording.controls import ButtonLabels, Conventions
from data_tools.ingest.recording.read_log import (
    LoggedPlay,
    is_input_rec,
    is_own_log,
    keep_changes,
    read_input_rec,
    read_own_log,
    read_table_log,
)
from data_tools.recordings.input_log import InputLog, Track
from data_tools.recordings.recording import RecordingFacts
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.actions import GAMEPAD, ActionSpace
from nitrogen_train.data.schema import ShardError

LogFormat = Literal["auto", "own", "input-rec", "table"]

_LEAST_SHARE = 0.5
_TOO_SHORT = 100
"""So many times shorter than its video a log is in another unit; those are 1000 apart."""

Intervals = tuple[tuple[int, int], ...]

_ROOM_S = 1.0
"""Time that a recorder may take to start and stop: input-rec's log lasts from OBS's word that it
has started to its word that it will stop, some frames more or less than the video. A shorter pause
is not seen."""
_LARGEST_JUMP_S = 0.25
"""Between the whole video's lag, where it is measured, and that of its end."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """The settings by which logs are read."""

    format: LogFormat = "auto"
    conventions: Conventions
    columns: dict[str, str]
    """Controls by column; empty: by the columns' names."""
    time_column: str | None = None
    labels: ButtonLabels | None = None
    """Whose names A, B, X and Y are; None: as the other columns tell."""
    dead_zone: float = 0.0
    """Radius, of 1."""


@dataclass(frozen=True, kw_only=True)
class ClockSettings:
    """The settings by which the logs' times become those of the videos."""

    video_start_s: float | None = None
    """The log's time of the video's first frame, in seconds; None: nobody says, and it is 0."""
    offset_ms: float = 0.0
    """Time by which the picture shows later what the log says, before anything is measured."""
    drift_ppm: float = 0.0
    is_measured: bool = False
    latency_ms: float = 0.0
    """Time that the game takes to answer: this much of a measured lag is left in."""
    keeps_unknown: bool = False
    """True if a log whose lag cannot be measured is taken as it is."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The facts that a recording's files do not state themselves."""

    game: str
    session_id: str | None
    """None: each recording is a session."""
    source: str = "recordings"
    licence: str = "unknown"
    url: str = ""
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class IngestOutcome:
    """The outcome of one video."""

    video: Path
    minutes: float = 0.0
    uncovered_s: float = 0.0
    """Time of the video of which the log says nothing."""
    offset_ms: float = 0.0
    drift_ppm: float = 0.0
    clock: str = ""
    """Source of offset and drift, in words."""
    ignored: tuple[str, ...] = ()
    """Columns of the log that are no controls."""
    notes: tuple[str, ...] = ()
    """Notes on what was assumed, and what was lost."""
    dropped: str = ""
    """Reason why there is no recording; empty if there is one."""


def cut_to_video(log: InputLog, end_ns: int) -> InputLog:
    """Keep what is held from 0 to the video's end; both ends are part of the log."""
    tracks: dict[str, Track] = {}
    for name, track in log.tracks.items():
        inside = (track.times_ns > 0) & (track.times_ns < end_ns)
        at_start = track.at(np.array([0]))
        tracks[name] = Track(
            times_ns=np.append(0, track.times_ns[inside]),
            values=np.append(at_start, track.values[inside]),
        )
    return replace(log, tracks=tracks, first_ns=0, last_ns=end_ns)


def find_uncovered(
    log: InputLog, gaps_ns: Sequence[tuple[int, int]], *, end_ns: int, frame_ns: int, what: str
) -> Intervals:
    """Find the times of the video that the log says nothing of.

    Args:
        log: On the video's clock, not yet cut.
        gaps_ns: On the same clock, times in which no pad was there.
        end_ns: The video's.
        frame_ns: What is missing at either end is passed over if it is not longer.
        what: Log and video, for messages.

    Raises:
        ShardError: If it says nothing of most of the video.
    """
    found = [
        (max(0, start), min(stop, end_ns)) for start, stop in gaps_ns if start < end_ns and stop > 0
    ]
    if log.first_ns > frame_ns:
        found.insert(0, (0, min(log.first_ns, end_ns)))
    if log.last_ns < end_ns - 2 * frame_ns:
        found.append((max(0, log.last_ns), end_ns))
    missing = sum(stop - start for start, stop in found)
    if missing > (1 - _LEAST_SHARE) * end_ns:
        raise ShardError(
            f"{what}: the log lasts from {log.first_ns / 1e9:.1f} to {log.last_ns / 1e9:.1f} s of "
            f"the video's clock, the video from 0 to {end_ns / 1e9:.1f} s, expected them to share "
            "most of it; check --time-unit, --video-start and --offset-ms"
        )
    return tuple(found)


def check_overlap(log: InputLog, end_ns: int, *, begins_ns: int, what: str) -> None:
    """Refuse a log none of which is of the video's time, with what its times suggest.

    Args:
        log: On the video's clock, not yet cut.
        end_ns: The video's.
        begins_ns: The log's first time, on its own clock.
        what: Log and video, for messages.

    Raises:
        ShardError: If nothing of it, or next to nothing, is of the video's time.
    """
    lasts_ns = log.last_ns - log.first_ns
    is_short = 0 < lasts_ns * _TOO_SHORT < end_ns
    if log.first_ns < end_ns and log.last_ns > 0 and not is_short:
        return
    text = (
        f"{what}: the log lasts from {log.first_ns / 1e9:.6g} to {log.last_ns / 1e9:.6g} s of the "
        f"video's clock, the video from 0 to {end_ns / 1e9:.6g} s"
    )
    if is_short:
        raise ShardError(f"{text}: over {_TOO_SHORT} times as long; check --time-unit")
    raise ShardError(
        f"{text}: they share nothing; if both began together, give --video-start "
        f"{begins_ns / 1e9:.9g}; else check --time-unit, --video-start and --offset-ms"
    )


def release_in_gaps(log: InputLog, gaps_ns: Sequence[tuple[int, int]]) -> InputLog:
    """Let go of everything while the pad is not there."""
    tracks: dict[str, Track] = {}
    for name, track in log.tracks.items():
        times_ns, values = track.times_ns, track.values
        for start, stop in gaps_ns:
            outside = (times_ns < start) | (times_ns >= stop)
            edges = np.array([start, stop])
            held = np.append(0.0, track.at(edges[1:]))
            order = np.argsort(np.append(times_ns[outside], edges), kind="stable")
            times_ns = np.append(times_ns[outside], edges)[order]
            values = np.append(values[outside], held)[order]
        tracks[name] = Track(times_ns=times_ns, values=values)
    return replace(log, tracks=tracks)


def apply_dead_zone(log: InputLog, radius: float, space: ActionSpace) -> InputLog:
    """Take the sticks of a log to rest within a circle, and stretch what is outside to fill it.

    A stick at distance r from its rest, of 1, goes to (r - radius) / (1 - radius) in its direction,
    so that there is no jump at the circle, and a full stick stays full.

    Args:
        log: Both axes of a stick are taken together, also where they changed at different times.
        radius: In [0, 1); 0 changes nothing.
        space: Says which controls are axes.

    Raises:
        ValueError: If the radius is out of range.
    """
    if not 0 <= radius < 1:
        raise ValueError(f"dead-zone is a radius in [0, 1), got {radius}")
    if radius == 0:
        return log
    tracks = dict(log.tracks)
    for x in space.sticks:
        y = x.removesuffix("_X") + "_Y"
        names = [name for name in (x, y) if name in tracks]
        if not x.endswith("_X") or not names:
            continue
        times_ns = np.unique(np.concatenate([tracks[name].times_ns for name in names]))
        values = np.stack([tracks[name].at(times_ns) for name in names])
        distance = np.hypot.reduce(values, axis=0)
        scale = (distance - radius).clip(0) / (1 - radius) / np.maximum(distance, radius)
        for name, moved in zip(names, (values * scale).clip(-1, 1), strict=True):
            tracks[name] = keep_changes(Track(times_ns=times_ns, values=moved))
    return replace(log, tracks=tracks)


def check_end(
    video: SourceVideo, log: InputLog, settings: ClockSettings, *, what: str
) -> list[str]:
    """Refuse a log that goes on after its video, unless the picture or a person vouches for it.

    Args:
        video: Whose last pictures are followed, if that is needed.
        log: On the video's clock, as far as it is known, not cut.
        settings: Says whether that clock was measured, and whether somebody gave it.
        what: Log and video, for messages.

    Returns:
        What is to be said of it.

    Raises:
        ShardError: If they seem to lie apart.
    """
    end_s = int(video.edges_ns(0)[-1]) / 1e9
    if log.first_ns / 1e9 >= end_s:
        # Another clock altogether, which `find_uncovered` says.
        return []
    surplus_s = log.last_ns / 1e9 - end_s
    is_long = surplus_s > _ROOM_S + MAX_DRIFT * end_s
    is_said = settings.video_start_s is not None
    if not settings.is_measured and (is_said or not is_long):
        return [_describe(surplus_s)] if is_long else []
    try:
        lag_s = measure_end(video, log, GAMEPAD).lag_s
    except UnknownClockError as error:
        if not is_long:
            return []
        if is_said:
            return [_describe(surplus_s)]
        raise ShardError(_refuse(what, surplus_s, end_s, str(error))) from error
    if settings.is_measured and abs(lag_s - settings.latency_ms / 1e3) > _LARGEST_JUMP_S:
        raise ShardError(
            f"{what}: no one offset fits: in its last seconds the picture answers "
            f"{lag_s * 1e3:+.0f} ms from where the rest does; frames were lost, or one of both was "
            "paused: cut the video there"
        )
    if not is_long:
        return []
    return [f"{_describe(surplus_s)}; its last pictures answer the log, so it was not paused"]


def describe_surplus(surplus_s: float) -> str:
    """Say that a log goes on after its video, where that may be why they do not fit; else empty."""
    if surplus_s <= _ROOM_S:
        return ""
    return (
        f"; {_describe(surplus_s)}: was the video paused, or split into several? Then cut log and "
        "video where that was, and ingest the parts"
    )


def _describe(surplus_s: float) -> str:
    return f"the log goes on for {surplus_s:.1f} s after the video's end"


def _refuse(what: str, surplus_s: float, end_s: float, reason: str) -> str:
    return (
        f"{what} differ in length: the log goes on for {surplus_s:.1f} s after the video's end at "
        f"{end_s:.1f} s, expected {_ROOM_S:g} s at most; if the video was paused or split its rows "
        "lie apart from the pictures, and its last pictures do not tell "
        f"({reason}); if you know that it was not paused, say where it begins in the log: "
        f"--video-start SECONDS{'; or check --time-unit' if surplus_s > 100 * end_s else ''}"
    )


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A recording that is not written yet."""

    outcome: IngestOutcome
    facts: RecordingFacts
    log: InputLog


def convert_log(
    video_path: Path,
    log_path: Path,
    *,
    name: str,
    log_settings: LogSettings,
    clock_settings: ClockSettings,
    description: Description,
) -> Converted:
    """Read a log and bring it to its video's clock.

    Args:
        video_path: Is read, not changed.
        log_path: Of any format.
        name: The recording's.
        log_settings: How the log is read.
        clock_settings: How its times become the video's.
        description: What becomes of the facts.

    Raises:
        UnknownClockError: If the lag is to be measured and cannot be.
        ShardError: If a file is damaged or breaks a convention, or the log goes on after the video.
        OSError: If a file cannot be read.
    """
    video = read_video_table(video_path)
    play = _read_log(log_path, log_settings)
    what = f"{log_path} and {video_path.name}"
    clock, how = _find_clock(video, play, clock_settings, what=what)
    log = clock.move(release_in_gaps(play.log, play.gaps_ns))
    gaps_ns = clock.to_video(np.array(play.gaps_ns, dtype=np.int64).reshape(-1, 2)).tolist()
    end_ns, frame_ns = int(video.edges_ns(0)[-1]), round(1e9 / video.fps)
    goes_on = check_end(video, log, clock_settings, what=what)
    uncovered = find_uncovered(
        log,
        [(start, stop) for start, stop in gaps_ns],
        end_ns=end_ns,
        frame_ns=frame_ns,
        what=what,
    )
    outcome = IngestOutcome(
        video=video_path,
        minutes=end_ns / 60e9,
        uncovered_s=sum(stop - start for start, stop in uncovered) / 1e9,
        offset_ms=clock.offset_s * 1e3,
        drift_ppm=clock.drift * 1e6,
        clock=how,
        ignored=play.ignored,
        notes=(*play.notes, *goes_on, *([video.loss.words] if video.loss else [])),
    )
    facts = RecordingFacts(
        video_start_ns=0,
        game=description.game,
        session_id=description.session_id or name,
        stick_y_axis="down",
        device=description.device or play.device,
        source=description.source,
        licence=description.licence,
        url=description.url,
        disturbed_ns=uncovered,
    )
    cut = apply_dead_zone(cut_to_video(log, end_ns), log_settings.dead_zone, GAMEPAD)
    return Converted(outcome=outcome, facts=facts, log=cut)


def _read_log(path: Path, settings: LogSettings) -> LoggedPlay:
    kind = settings.format
    if kind == "auto":
        kind = "own" if is_own_log(path) else "input-rec" if is_input_rec(path) else "table"
    if settings.labels and kind != "table":
        raise ShardError(f"{path}: --button-labels is of tables; this log names its controls")
    if kind == "own":
        return read_own_log(path, GAMEPAD, settings.conventions)
    if kind == "input-rec":
        return read_input_rec(path, GAMEPAD)
    return read_table_log(
        path,
        GAMEPAD,
        settings.conventions,
        columns=settings.columns,
        time_column=settings.time_column,
        labels=settings.labels,
    )


def _find_clock(
    video: SourceVideo, play: LoggedPlay, settings: ClockSettings, *, what: str
) -> tuple[ClockMap, str]:
    given = ClockMap(
        offset_s=settings.offset_ms / 1e3 - (settings.video_start_s or 0.0),
        drift=settings.drift_ppm * 1e-6,
    )
    log = given.move(play.log)
    end_ns = int(video.edges_ns(0)[-1])
    check_overlap(log, end_ns, begins_ns=play.log.first_ns, what=what)
    if not settings.is_measured:
        return given, "as given"
    try:
        fit = measure_clock(video, log, GAMEPAD)
    except UnknownClockError as error:
        if not settings.keeps_unknown:
            raise UnknownClockError(
                f"{video.path}: how its picture and inputs lie to each other cannot be known: "
                f"{error}{describe_surplus((log.last_ns - end_ns) / 1e9)}"
            ) from error
        return given, f"as given; unknown: {error}"
    measured = ClockMap(offset_s=fit.lag_s - settings.latency_ms / 1e3, drift=fit.drift)
    return given.then(measured), _describe_conversion(fit)


def _describe_conversion(fit: ClockFit) -> str:
    drift = (
        f"drift {fit.drift * 1e6:.0f} ± {fit.drift_error * 1e6:.0f} ppm"
        if fit.drift
        else f"no drift beyond ± {3 * fit.drift_error * 1e6:.0f} ppm"
    )
    lag_ms = fit.lag_s * 1e3
    return (
        f"measured: the picture answers {abs(lag_ms):.0f} ± {max(fit.lag_error_s * 1e3, 1):.0f} ms "
        f"{'before' if lag_ms < 0 else 'after'} the log, the game's time to answer included; "
        f"{drift}; {fit.confidence:.0%} of the draws within a frame, "
        f"{fit.evidence:.0f} standard deviations above chance, {fit.num_onsets} onsets in "
        f"{fit.num_windows} windows"
    )
