"""Whether a log that goes on after its video is still of the video's time.

OBS stops its video while it is paused, and begins another file where it splits one; a program that
writes down inputs goes on. Then the log is longer, and its rows lie apart from the pictures.
"""

from data_tools.alignment.clock_fit import MAX_DRIFT, UnknownClockError
from data_tools.alignment.measure import measure_end
from data_tools.ingest.recording.settings import ClockSettings
from data_tools.recordings.input_log import InputLog
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError

_ROOM_S = 1.0
"""What starting and stopping a recorder may cost: input-rec's log lasts from OBS's word that it has
started to its word that it will stop, some frames more or less than the video. A shorter pause is
not seen."""
_LARGEST_JUMP_S = 0.25
"""Between the whole video's lag, where it is measured, and that of its end."""


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
