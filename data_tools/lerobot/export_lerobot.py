"""Export a data set of ours as a LeRobotDataset v3.0, each clip an episode.

    shards ─► workers: read a record, describe it ─► in order: packets to videos, rows to tables
      ─► folder beside the final one, which takes its name once all is on disk

No picture is encoded again. A run that was interrupted starts afresh: its folder is removed.
"""

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from data_tools.lerobot.layout import FileLimits
from data_tools.lerobot.lerobot_video import UnevenVideoError
from data_tools.lerobot.write_lerobot import DatasetWriter, LeRobotEpisode, read_episode
from data_tools.shards.drop_report import Dropped, format_faults
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.schema import SPLITS, ShardError
from nitrogen_train.runtime.atomic_files import check_folder, sync
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track


@dataclass(frozen=True, kw_only=True)
class ExportCounts:
    """The counts of what was written."""

    num_episodes: int
    num_frames: int
    games: list[str]
    faults: list[Dropped]
    """Faults of the clips that were left out."""


def export_lerobot(
    dataset: Dataset,
    *,
    out_dir: Path,
    games: Sequence[str] | None,
    limits: FileLimits,
    workers: int,
) -> ExportCounts:
    """Write a LeRobotDataset; the folder appears whole, or not at all.

    Args:
        dataset: One that `shard` or `ingest` made.
        out_dir: The folder to write.
        games: Which to take; all if None.
        limits: When a file is full.
        workers: Processes.

    Raises:
        FileExistsError: If `out_dir` holds something.
        ShardError: If clips differ in frame rate or size, or none can be read.
    """
    manifest = dataset.manifest if games is None else dataset.manifest.keep_games(games)
    for column in ("fps", "width", "height"):
        _check_common(manifest, column)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise FileExistsError(f"{out_dir} exists: choose another --out, or remove it")
    check_folder(out_dir)
    splits = np.array([SPLITS.index(split) for split in manifest.table["split"].to_pylist()])
    order = np.argsort(splits, kind="stable").tolist()
    temporary = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    faults: list[Dropped] = []
    num_train = 0
    try:
        row = manifest.row(0)
        with DatasetWriter(
            temporary,
            space=manifest.action_space,
            side=(row.height, row.width),
            fps=row.fps,
            limits=limits,
        ) as writer:
            read = partial(_try_episode, dataset=dataset)
            rows = (manifest.row(index) for index in order)
            with closing(map_in_order(read, rows, workers=workers)) as episodes:
                for episode in track(episodes, label="export", unit="episode", total=len(order)):
                    fault = episode if isinstance(episode, Dropped) else _append(writer, episode)
                    if fault:
                        faults.append(fault)
                    elif cast("LeRobotEpisode", episode).facts.split == "train":
                        num_train += 1
            if not writer.num_episodes:
                raise ShardError(
                    f"no clip of {dataset} can be exported: {format_faults(faults[:1])}"
                )
        writer.write_facts(num_train=num_train)
        temporary.replace(out_dir)
        sync(out_dir.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ExportCounts(
        num_episodes=writer.num_episodes,
        num_frames=writer.num_frames,
        games=writer.tasks,
        faults=faults,
    )


def _try_episode(row: ManifestRow, *, dataset: Dataset) -> LeRobotEpisode | Dropped:
    """Read a clip, or say what is wrong with it."""
    try:
        return read_episode(row, dataset=dataset)
    except ShardError as error:
        return _drop(row.clip_id, row.game, row.num_frames / row.fps, error)


def _append(writer: DatasetWriter, episode: LeRobotEpisode) -> Dropped | None:
    try:
        writer.append(episode)
    except UnevenVideoError as error:
        clip = episode.facts.metadata
        return _drop(clip.clip_id, clip.game, clip.num_frames / clip.fps, error)
    return None


def _drop(name: str, game: str, seconds: float, error: ShardError) -> Dropped:
    return Dropped(name=name, game=game, seconds=seconds, reason=error.cause, detail=str(error))


def _check_common(manifest: Manifest, column: str) -> None:
    values = manifest.table[column].unique().to_pylist()
    if column == "fps":
        # Two recorders may have written one rate with other last digits.
        values = [float(rate) for rate in {frame_rate(fps) for fps in values}]
    if len(values) > 1:
        games = sorted(manifest.table["game"].unique().to_pylist())
        some = sorted(values)[:5]
        raise ShardError(
            f"a LeRobotDataset holds clips of one {column}, the data set's have {some}; "
            f"choose some of its games by --game: {', '.join(games)[:400]}"
        )
