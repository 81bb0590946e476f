"""What clips hold, as counts that add up, so that memory does not grow with a data set."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.sticks import stick_pairs
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions, idle_rows, valid_runs
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.schema import MAX_CLIP_SECONDS, get_space
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip

MAP_SIDE = 33
"""Of a stick's map: odd, so that a centred stick has a cell of its own."""
IDLE_EDGES = np.arange(11) / 10
CLIP_EDGES_S = np.linspace(0, MAX_CLIP_SECONDS, 11)
PRESS_EDGES_S = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, np.inf])


@dataclass(frozen=True, kw_only=True)
class PlayCounts:
    """Of one clip or many."""

    num_clips: int
    num_rows: int
    num_valid_rows: int
    num_idle_rows: int
    seconds: float
    pressed: Int64[np.ndarray, " n"]
    """Rows with each button down."""
    axis_sums: Float64[np.ndarray, " s"]
    """Sums of each axis' absolute value."""
    stick_maps: Int64[np.ndarray, "pairs h w"]
    """Rows with each stick in each cell; y runs down, as the stick does."""
    idle_shares: Int64[np.ndarray, " i"]
    """Clips by their share of idle rows, see `IDLE_EDGES`."""
    clip_lengths: Int64[np.ndarray, " c"]
    """Clips by `CLIP_EDGES_S`."""
    press_lengths: Int64[np.ndarray, " p"]
    """Presses of any button by `PRESS_EDGES_S`."""

    def __add__(self, other: "PlayCounts") -> "PlayCounts":
        values = {
            item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)
        }
        return PlayCounts(**values)


def count_clip(dataset_dir: Path, row: ManifestRow) -> PlayCounts:
    """Read a clip's actions and count.

    Raises:
        ShardError: If the record breaks the contract.
        OSError: If it could not be read now.
    """
    actions = read_clip(Storage(str(dataset_dir)), row).actions
    return count_actions(actions, get_space(row.action_space), fps=row.fps)


def count_actions(actions: ClipActions, space: ActionSpace, *, fps: float) -> PlayCounts:
    """Count what a clip's rows hold, valid or not."""
    rows, is_idle = actions.rows, idle_rows(actions.rows)
    presses = [length for button in rows.buttons.T for length in _run_lengths(button)]
    return PlayCounts(
        num_clips=1,
        num_rows=len(rows),
        num_valid_rows=int(actions.valid.sum()),
        num_idle_rows=int(is_idle.sum()),
        seconds=len(rows) / fps,
        pressed=rows.buttons.sum(axis=0),
        axis_sums=np.abs(rows.sticks).sum(axis=0, dtype=np.float64),
        stick_maps=np.array(
            [_map_stick(rows.sticks[:, axes]) for axes in stick_pairs(space).values()],
            dtype=np.int64,
        ).reshape(-1, MAP_SIDE, MAP_SIDE),
        idle_shares=np.histogram(is_idle.mean(), IDLE_EDGES)[0],
        # A clip may be a row longer than the longest.
        clip_lengths=np.histogram(min(len(rows) / fps, MAX_CLIP_SECONDS), CLIP_EDGES_S)[0],
        press_lengths=np.histogram(np.array(presses) / fps, PRESS_EDGES_S)[0],
    )


def _map_stick(stick: np.ndarray) -> Int64[np.ndarray, "h w"]:
    cells = ((stick + 1) / 2 * (MAP_SIDE - 1)).round().astype(int)
    flat = np.bincount(cells[:, 1] * MAP_SIDE + cells[:, 0], minlength=MAP_SIDE**2)
    return flat.reshape(MAP_SIDE, MAP_SIDE)


def _run_lengths(is_down: Bool[np.ndarray, " rows"]) -> list[int]:
    edges = valid_runs(is_down)
    return [stop - start for start, stop in zip(edges[::2], edges[1::2], strict=True)]
