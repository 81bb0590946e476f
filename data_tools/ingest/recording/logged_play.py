"""What an adapter makes of a log."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from data_tools.ingest.recording.conventions import Conventions, to_control
from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError

MAX_LOG_BYTES = 4 * 2**30
MAX_LOG_ROWS = 100_000_000
"""More than two days at 500 Hz."""


@dataclass(frozen=True, kw_only=True)
class LoggedPlay:
    """A log in our conventions, on its own clock."""

    log: InputLog
    gaps_ns: tuple[tuple[int, int], ...] = ()
    """[start, stop) times in which the pad was not there."""
    ignored: tuple[str, ...] = ()
    """Columns that are no control of ours."""
    device: str = "unknown"
    notes: tuple[str, ...] = ()
    """What was assumed, and what was lost."""


def to_input_log(
    times_ns: Int64[np.ndarray, " rows"],
    columns: Mapping[str, np.ndarray],
    conventions: Conventions,
    space: ActionSpace,
    what: str,
) -> InputLog:
    """Make a log of a table: a row says what is held from its time on, NaN that nothing changed.

    Args:
        times_ns: Not decreasing.
        columns: Values by control.
        conventions: How they are meant.
        space: The controls' layout.
        what: The log's name, for messages.

    Raises:
        ShardError: If a column does not fit its convention.
    """
    tracks: dict[str, Track] = {}
    for control, values in columns.items():
        converted = to_control(control, values, conventions, space, f"{what}, {control}")
        said = ~np.isnan(converted)
        if said.any():
            tracks[control] = keep_changes(Track(times_ns=times_ns[said], values=converted[said]))
    return InputLog(tracks=tracks, first_ns=int(times_ns[0]), last_ns=int(times_ns[-1]))


def keep_changes(track: Track) -> Track:
    """Leave out what repeats the value before."""
    changes = np.diff(track.values, prepend=np.nan) != 0
    return Track(times_ns=track.times_ns[changes], values=track.values[changes])


def check_size(num_bytes: int, what: str) -> None:
    """Refuse a log that is too large to be one.

    Raises:
        ShardError: If it is.
    """
    if num_bytes > MAX_LOG_BYTES:
        raise ShardError(f"{what} has {num_bytes} bytes, a log has up to {MAX_LOG_BYTES}")
