"""One video and its log to a recording."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.alignment.clock_fit import ClockFit, UnknownClockError
from data_tools.alignment.clock_map import ClockMap
from data_tools.alignment.measure import measure_clock
from data_tools.ingest.recording.dead_zone import apply_dead_zone
from data_tools.ingest.recording.end_check import check_end, describe_surplus
from data_tools.ingest.recording.input_rec import is_input_rec, read_input_rec
from data_tools.ingest.recording.logged_play import LoggedPlay
from data_tools.ingest.recording.own_log import is_own_log, read_own_log
from data_tools.ingest.recording.settings import (
    ClockSettings,
    Description,
    LogSettings,
    Outcome,
)
from data_tools.ingest.recording.table_log import read_table_log
from data_tools.ingest.recording.video_time import (
    check_overlap,
    cut_to_video,
    find_uncovered,
    release_in_gaps,
)
from data_tools.recordings.input_log import InputLog
from data_tools.recordings.recording import RecordingFacts
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A recording that is not written yet."""

    outcome: Outcome
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
    outcome = Outcome(
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
    return given.then(measured), _describe(fit)


def _describe(fit: ClockFit) -> str:
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
