"""A few moments of each game, with the pad as it was held."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.data.action_file import ClipActions, idle_rows
from nitrogen_train.data.decode import choose_decoder
from nitrogen_train.data.manifest import Manifest
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.overlay import draw_controls
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip

_WIDTH_PX = 400


def choose_clips(rows: Sequence[ManifestRow], *, number: int) -> dict[str, list[ManifestRow]]:
    """Choose clips of each game, from as many sessions as there are."""
    sessions: dict[str, dict[str, list[ManifestRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        sessions[row.game][row.session_id].append(row)
    chosen: dict[str, list[ManifestRow]] = {}
    for game, clips in sessions.items():
        middles = [session[len(session) // 2] for session in clips.values()]
        if len(middles) < number:
            middles = [row for session in clips.values() for row in session]
        places = np.linspace(0, len(middles) - 1, min(number, len(middles))).round().astype(int)
        chosen[game] = [middles[place] for place in places]
    return chosen


def draw_thumbnail(
    dataset_dir: Path, manifest: Manifest, row: ManifestRow
) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
    """Draw a moment of a clip in which something is pressed, if there is one.

    Args:
        dataset_dir: The data set's folder.
        manifest: Of the data set.
        row: The clip.

    Returns:
        The picture with its pad below it, and which row it shows.

    Raises:
        ShardError: If the clip cannot be read.
    """
    clip = read_clip(Storage(str(dataset_dir)), row)
    moment = _choose_moment(clip.actions)
    (frame,) = choose_decoder().decode(clip.video, indices=[moment])
    picture = draw_controls(
        frame,
        [("", manifest.action_space.controls_at(clip.actions.rows, moment))],
        space=manifest.action_space,
        width=_WIDTH_PX,
        aspect=row.source_width / row.source_height,
    )
    return picture, moment


def _choose_moment(actions: ClipActions) -> int:
    """Find the active row that is nearest to the middle, or the middle."""
    middle, active = len(actions) // 2, np.flatnonzero(~idle_rows(actions.rows))
    return int(active[np.abs(active - middle).argmin()]) if len(active) else middle
