"""Logs that already keep the contract: rows of `t_ns` and `controls`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.ingest.recording.conventions import Conventions
from data_tools.ingest.recording.logged_play import LoggedPlay, check_size
from data_tools.names import has_suffix
from data_tools.recordings.input_log import read_input_log
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.schema import ShardError


def is_own_log(path: Path) -> bool:
    """Say whether a file looks like one."""
    if has_suffix(path, (".jsonl",)):
        return True
    try:
        is_parquet = has_suffix(path, (".parquet",))
        return is_parquet and {"t_ns", "controls"} <= set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False


def read_own_log(path: Path, space: ActionSpace, conventions: Conventions) -> LoggedPlay:
    """Read `.jsonl` or `.parquet`.

    Raises:
        ShardError: If it breaks the contract, or nothing says where its y axis points.
    """
    check_size(path.stat().st_size, str(path))
    if conventions.stick_y_axis is None:
        raise ShardError(
            f"{path}: nothing says where positive y points; give --stick-y up (XInput) or "
            "--stick-y down (SDL, evdev, browsers)"
        )
    log = read_input_log(path, space, stick_y_axis=conventions.stick_y_axis)
    return LoggedPlay(log=log, notes=(log.lost,) if log.lost else ())
