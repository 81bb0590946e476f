"""Count what a data set holds, per game and split.

Clips go in one by one, and counts that add up come out, so memory does not grow with a data set.
"""

from collections import defaultdict
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.action_rows import stick_pairs
from data_tools.workers import map_in_order
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions, idle_rows, valid_runs
from nitrogen_train.data.manifest import Manifest, ManifestRow, read_manifest
from nitrogen_train.data.schema import MAX_CLIP_SECONDS, get_space
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip
from nitrogen_train.runtime.progress import track

MAP_SIDE = 33
"""Side of a stick's map: odd, so that a centred stick has a cell of its own."""
IDLE_EDGES = np.arange(11) / 10
CLIP_EDGES_S = np.linspace(0, MAX_CLIP_SECONDS, 11)
PRESS_EDGES_S = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, np.inf])


@dataclass(frozen=True, kw_only=True)
class PlayCounts:
    """The counts of one clip or many."""

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


@dataclass(frozen=True, kw_only=True)
class GroupStats:
    """A game's clips of one split."""

    game: str
    split: str
    num_clips: int
    num_sessions: int
    hours: float
    valid_share: float
    """Share of the rows that are valid."""
    idle_share: float
    """Share of the rows with no button down and every axis near its centre."""
    press_rates: dict[str, float]
    """Share of the rows with the button down, for the buttons that are used at all."""
    axis_means: dict[str, float]
    """Mean of the absolute value, for the axes that are used at all."""


@dataclass(frozen=True, kw_only=True)
class DatasetCounts:
    """All clips of a data set, counted."""

    manifest: Manifest
    groups: dict[tuple[str, str, str], PlayCounts]
    """Counts by game, source and split."""
    sessions: dict[tuple[str, str], set[str]]
    """Sessions by game and split."""

    def sum_by(self, *names: str) -> dict[tuple[str, ...], PlayCounts]:
        """Add the groups up, by some of `game`, `source` and `split`; in order."""
        places = [("game", "source", "split").index(name) for name in names]
        sums: dict[tuple[str, ...], PlayCounts] = {}
        for key, counts in sorted(self.groups.items()):
            short = tuple(key[place] for place in places)
            sums[short] = sums[short] + counts if short in sums else counts
        return dict(sorted(sums.items()))


def count_dataset(dataset_dir: Path, *, workers: int = 1) -> DatasetCounts:
    """Read all actions of a data set and count.

    Args:
        dataset_dir: The data set's folder.
        workers: Processes.

    Raises:
        FileNotFoundError: If it has no manifest.
        ShardError: If a record breaks the contract.
    """
    manifest = read_manifest(dataset_dir)
    rows = manifest.rows()
    groups: dict[tuple[str, str, str], PlayCounts] = {}
    sessions: dict[tuple[str, str], set[str]] = defaultdict(set)
    counted = map_in_order(partial(count_clip, dataset_dir), rows, workers=workers)
    progress = track(counted, label="stats", unit="clip", total=len(rows))
    for row, counts in zip(rows, progress, strict=True):
        key = (row.game, row.source, row.split)
        groups[key] = groups[key] + counts if key in groups else counts
        sessions[row.game, row.split].add(row.session_id)
    return DatasetCounts(manifest=manifest, groups=groups, sessions=sessions)


def compute_stats(counts: DatasetCounts) -> list[GroupStats]:
    """Turn the counts into numbers, per game and split."""
    space = counts.manifest.action_space
    return [
        _describe(game, split, group, len(counts.sessions[game, split]), space)
        for (game, split), group in counts.sum_by("game", "split").items()
    ]


def format_stats(groups: list[GroupStats]) -> str:
    """Lay the numbers out as a table, and the controls in use below it."""
    head = ("game", "split", "clips", "sessions", "hours", "valid", "idle")
    lines = ["{:<20} {:<6} {:>7} {:>9} {:>9} {:>7} {:>7}".format(*head)]
    lines += [
        f"{group.game:<20} {group.split:<6} {group.num_clips:>7} {group.num_sessions:>9} "
        f"{group.hours:>9.3f} {group.valid_share:>7.1%} {group.idle_share:>7.1%}"
        for group in groups
    ]
    for group in groups:
        lines.append(f"\n{group.game}, {group.split}: share of rows pressed, mean |axis|")
        lines += [f"  {name:<16} {rate:>7.2%}" for name, rate in group.press_rates.items()]
        lines += [f"  {name:<16} {mean:>7.3f}" for name, mean in group.axis_means.items()]
    return "\n".join(lines)


def _describe(
    game: str, split: str, counts: PlayCounts, num_sessions: int, space: ActionSpace
) -> GroupStats:
    return GroupStats(
        game=game,
        split=split,
        num_clips=counts.num_clips,
        num_sessions=num_sessions,
        hours=counts.seconds / 3600,
        valid_share=counts.num_valid_rows / counts.num_rows,
        idle_share=counts.num_idle_rows / counts.num_rows,
        press_rates=_used(space.buttons, counts.pressed / counts.num_rows),
        axis_means=_used(space.sticks, counts.axis_sums / counts.num_rows),
    )


def _used(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True) if value > 0}
