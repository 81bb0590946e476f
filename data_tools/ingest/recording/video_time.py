"""A log on its video's clock, cut to the time of the video."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.data.schema import ShardError

_LEAST_SHARE = 0.5
_TOO_SHORT = 100
"""So many times shorter than its video a log is in another unit; those are 1000 apart."""

Intervals = tuple[tuple[int, int], ...]


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
