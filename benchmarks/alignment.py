"""`python -m benchmarks.alignment FOLDER...`: how exact the estimate of a clock is.

Each folder holds recordings of one game, whose logs are exact. They are taken as one session, one
after the other; known offsets and drifts are put into its log and measured. The error is the worst
over the session, against what is measured where nothing was put in: that is the game's own time to
answer. The last row asks for what cannot be known: the log's halves have changed places.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.ingest.recording.clock_fit import (
    MAX_WINDOWS,
    ClockFit,
    ClockMap,
    UnknownClockError,
    fit_windows,
    read_windows,
)
from data_tools.ingest.recording.lag import PictureMotion
from data_tools.recordings.input_log import InputLog, Track, read_input_log
from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import read_video_table
from nitrogen_train.actions import GAMEPAD

_OFFSETS_S = (0.0, 0.05, 0.1, 0.25)
_DRIFTS = (0.0, 100e-6)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Recordings of one game, one after the other."""

    game: str
    windows: list[PictureMotion]
    log: InputLog
    frame_s: float
    length_s: float

    def measure(self, log: InputLog) -> ClockFit:
        """Measure a log against the session's video."""
        return fit_windows(self.windows, log, GAMEPAD, frame_s=self.frame_s)


def read_session(folder: Path, *, num_recordings: int | None) -> Session:
    """Read a folder's recordings, or the first few of them.

    Raises:
        FileNotFoundError: If there are none.
        ShardError: If one breaks the contract.
    """
    windows: list[PictureMotion] = []
    logs: list[InputLog] = []
    start_s, frame_s, game = 0.0, 1.0, ""
    for recording in find_recordings([folder])[:num_recordings]:
        facts, video = recording.read_facts(), read_video_table(recording.video_path)
        log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis=facts.stick_y_axis)
        shift = ClockMap(offset_s=start_s - facts.video_start_ns / 1e9)
        logs.append(shift.move(log))
        windows += [
            replace(window, starts_s=window.starts_s + start_s, stops_s=window.stops_s + start_s)
            for window in read_windows(video)
        ]
        game, frame_s = facts.game, 1 / video.fps
        start_s += len(video) / video.fps
    places = np.linspace(0, len(windows) - 1, min(len(windows), MAX_WINDOWS)).round().astype(int)
    windows = [windows[place] for place in np.unique(places)]
    return Session(game=game, windows=windows, log=_join(logs), frame_s=frame_s, length_s=start_s)


def measure_errors(session: Session) -> list[str]:
    """Put offsets and drifts into a session's log; returns rows of a table."""
    own = session.measure(session.log)
    injected = [(offset_s, drift) for offset_s in _OFFSETS_S for drift in _DRIFTS]
    return [_measure_error(session, own, offset_s, drift) for offset_s, drift in injected]


def _measure_error(session: Session, own: ClockFit, offset_s: float, drift: float) -> str:
    name = (f"{offset_s * 1e3:.0f}", f"{drift * 1e6:.0f}")
    # The log reads early by the offset, and falls behind by the drift.
    inverse = ClockMap(offset_s=-offset_s / (1 - drift), drift=-drift / (1 - drift))
    try:
        fit = session.measure(inverse.move(session.log))
    except UnknownClockError as error:
        return _row(session, *name, str(error))
    lag_s, growth = fit.lag_s - own.lag_s - offset_s, fit.drift - own.drift - drift
    worst_s = max((lag_s, lag_s + growth * session.length_s), key=abs)
    return _row(
        session,
        *name,
        f"{fit.lag_s * 1e3:.0f} ± {fit.lag_error_s * 1e3:.0f}",
        f"{fit.drift * 1e6:.0f} ± {fit.drift_error * 1e6:.0f}",
        f"{worst_s * 1e3:+.0f}",
        f"{abs(worst_s) / session.frame_s:.2f}",
        f"{fit.confidence:.0%}",
        f"{fit.evidence:.0f}",
    )


def measure_strangers(session: Session) -> str:
    """Ask for the clock of a log that belongs to another time; returns a row of a table."""
    half_s = session.length_s / 2
    late, early = (
        ClockMap(offset_s=half_s).move(session.log),
        ClockMap(offset_s=-half_s).move(session.log),
    )
    stranger = _join([_cut(early, 0.0, half_s), _cut(late, half_s, session.length_s)])
    try:
        fit = session.measure(stranger)
    except UnknownClockError as error:
        return _row(session, "stranger", "", f"unknown: {error}")
    return _row(session, "stranger", "", f"WRONG: {fit}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--recordings", type=int, help="of each folder; all")
    options = parser.parse_args(arguments)
    names = ("game", "offset ms", "drift ppm", "measured ms", "measured ppm", "worst error ms")
    names += ("in frames", "confidence", "evidence")
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for folder in options.folders:
        session = read_session(folder, num_recordings=options.recordings)
        for row in [*measure_errors(session), measure_strangers(session)]:
            print(row, flush=True)


def _row(session: Session, *cells: str) -> str:
    minutes = f"{session.length_s / 60:.1f} min, {1 / session.frame_s:.1f} fps"
    return f"| {session.game}, {minutes} | " + " | ".join(cells) + " |"


def _cut(log: InputLog, start_s: float, stop_s: float) -> InputLog:
    start, stop = round(start_s * 1e9), round(stop_s * 1e9)
    tracks: dict[str, Track] = {}
    for name, track in log.tracks.items():
        inside = (track.times_ns >= start) & (track.times_ns < stop)
        tracks[name] = Track(times_ns=track.times_ns[inside], values=track.values[inside])
    return InputLog(tracks=tracks, first_ns=start, last_ns=stop)


def _join(logs: list[InputLog]) -> InputLog:
    tracks: dict[str, Track] = {}
    for name in sorted({name for log in logs for name in log.tracks}):
        parts = [log.tracks[name] for log in logs if name in log.tracks]
        tracks[name] = Track(
            times_ns=np.concatenate([part.times_ns for part in parts]),
            values=np.concatenate([part.values for part in parts]),
        )
    return InputLog(tracks=tracks, first_ns=logs[0].first_ns, last_ns=logs[-1].last_ns)


if __name__ == "__main__":
    main()
