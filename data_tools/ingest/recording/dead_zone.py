"""A radial dead zone: a stick that rests is at rest."""

from dataclasses import replace

import numpy as np

from data_tools.ingest.recording.logged_play import keep_changes
from data_tools.recordings.input_log import InputLog, Track
from nitrogen_train.actions import ActionSpace


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
