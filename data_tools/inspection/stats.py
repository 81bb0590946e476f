"""What a data set holds, per game and split."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nitrogen_train.actions import ActionRows, ActionSpace
from nitrogen_train.data.action_file import idle_rows
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import read_clip


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


def compute_stats(dataset_dir: Path) -> list[GroupStats]:
    """Read all actions of a data set and count.

    Args:
        dataset_dir: The data set's folder.

    Raises:
        FileNotFoundError: If it has no manifest.
        ShardError: If a record breaks the contract.
    """
    manifest, storage = read_manifest(dataset_dir), Storage(str(dataset_dir))
    groups: dict[tuple[str, str], list[tuple[ManifestRow, ActionRows]]] = defaultdict(list)
    for row in tqdm(manifest.rows(), desc="stats", unit="clip"):
        groups[row.game, row.split].append((row, read_clip(storage, row).actions.rows))
    return [
        _count(game, split, clips, manifest.action_space)
        for (game, split), clips in sorted(groups.items())
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


def _count(
    game: str, split: str, clips: list[tuple[ManifestRow, ActionRows]], space: ActionSpace
) -> GroupStats:
    rows = ActionRows(
        buttons=np.concatenate([actions.buttons for _, actions in clips]),
        sticks=np.concatenate([actions.sticks for _, actions in clips]),
    )
    pressed, moved = rows.buttons.mean(axis=0), np.abs(rows.sticks).mean(axis=0)
    return GroupStats(
        game=game,
        split=split,
        num_clips=len(clips),
        num_sessions=len({row.session_id for row, _ in clips}),
        hours=sum(row.num_frames / row.fps for row, _ in clips) / 3600,
        valid_share=sum(row.num_valid_rows for row, _ in clips) / len(rows),
        idle_share=float(idle_rows(rows).mean()),
        press_rates=_used(space.buttons, pressed),
        axis_means=_used(space.sticks, moved),
    )


def _used(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True) if value > 0}
