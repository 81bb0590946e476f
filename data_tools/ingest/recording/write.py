"""The files of a recording."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.recordings.input_log import InputLog
from nitrogen_train.data.files import write_atomically


def write_log(path: Path, log: InputLog) -> None:
    """Write a log as parquet: a row per change, and an empty one where it ends."""
    every = [track.times_ns for track in log.tracks.values()]
    times_ns = np.unique(np.concatenate([*every, [log.first_ns, log.last_ns]]))
    columns: dict[str, pa.Array] = {}
    for name in sorted(log.tracks):
        track = log.tracks[name]
        values = np.zeros(len(times_ns))
        unsaid = np.ones(len(times_ns), dtype=bool)
        places = np.searchsorted(times_ns, track.times_ns)
        values[places], unsaid[places] = track.values, False
        columns[name] = pa.array(values, mask=unsaid)
    controls = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    with write_atomically(path) as temporary:
        pq.write_table(pa.table({"t_ns": times_ns, "controls": controls}), temporary)


def place_video(source: Path, target: Path, *, copy: bool) -> None:
    """Copy a video, or link to it: a second name of the file, or where that cannot be a symlink.

    Raises:
        OSError: If there is no room, or no permission.
    """
    with write_atomically(target) as temporary:
        temporary.unlink(missing_ok=True)
        if copy:
            shutil.copyfile(source, temporary)
            return
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            temporary.symlink_to(source.resolve())
