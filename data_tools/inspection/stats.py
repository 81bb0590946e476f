"""What a data set holds, per game and split."""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_tools.inspection.play_counts import PlayCounts, count_clip
from data_tools.workers import map_in_order
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.manifest import Manifest, read_manifest
from nitrogen_train.progress import track


@dataclass(frozen=True, kw_only=True)
class GroupStats:
    """A game's clips of one split."""

    game: str
    split: str
    num_clips: int
    num_sessions: int
    hours: float
    valid_share: float
    """Of the rows."""
    idle_share: float
    """Of the rows, with no button down and every axis near its centre."""
    press_rates: dict[str, float]
    """Share of the rows with the button down, for the buttons that are used at all."""
    axis_means: dict[str, float]
    """Mean of the absolute value, for the axes that are used at all."""


@dataclass(frozen=True, kw_only=True)
class DatasetCounts:
    """All clips of a data set, counted."""

    manifest: Manifest
    groups: dict[tuple[str, str, str], PlayCounts]
    """By game, source and split."""
    sessions: dict[tuple[str, str], set[str]]
    """By game and split."""

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
