"""A data set of ours to a LeRobotDataset v3.0, each clip an episode.

    shards ─► workers: read a record, describe it ─► in order: packets to videos, rows to tables
      ─► folder beside the final one, which takes its name once all is on disk

No picture is encoded again. A run that was interrupted starts afresh: its folder is removed.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from data_tools.lerobot.episode import (
    CAMERA,
    Episode,
    describe_features,
    read_episode,
    to_columns,
)
from data_tools.lerobot.layout import (
    CLIP_COLUMN,
    CODEBASE_VERSION,
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    STATISTICS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    FileLimits,
)
from data_tools.lerobot.statistics import Statistics, add_statistics, describe_rows
from data_tools.lerobot.table_files import TableFiles
from data_tools.lerobot.video_files import VideoFiles
from data_tools.workers import map_in_order
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.files import sync
from nitrogen_train.data.manifest import Manifest, read_manifest
from nitrogen_train.data.schema import SPLITS, ShardError

_INDEX_FEATURES = ("frame_index", "episode_index", "index", "task_index")
_EPISODES_PER_WRITE = 100


@dataclass(frozen=True, kw_only=True)
class ExportCounts:
    """What was written."""

    num_episodes: int
    num_frames: int
    games: list[str]


def export_lerobot(
    dataset_dir: Path,
    *,
    out_dir: Path,
    games: Sequence[str] | None,
    limits: FileLimits,
    workers: int,
) -> ExportCounts:
    """Write a LeRobotDataset; the folder appears whole, or not at all.

    Args:
        dataset_dir: A data set that `shard` or `ingest` made.
        out_dir: The folder to write.
        games: Which to take; all if None.
        limits: When a file is full.
        workers: Processes.

    Raises:
        FileExistsError: If `out_dir` holds something.
        ShardError: If clips differ in frame rate or size, or one is damaged.
    """
    manifest = read_manifest(dataset_dir).filter(games=games)
    fps = _find_common(manifest, "fps", "frame rates")
    for side in ("width", "height"):
        _find_common(manifest, side, "picture sizes")
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise FileExistsError(f"{out_dir} exists: choose another --out, or remove it")
    splits = np.array([SPLITS.index(split) for split in manifest.table["split"].to_pylist()])
    order = np.argsort(splits, kind="stable").tolist()
    temporary = out_dir.with_name(f".{out_dir.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with ExitStack() as stack:
            writer = _Writer(temporary, manifest, fps=fps, limits=limits, stack=stack)
            read = partial(read_episode, dataset=str(dataset_dir))
            rows = (manifest.row(index) for index in order)
            episodes = stack.enter_context(closing(map_in_order(read, rows, workers=workers)))
            for episode in tqdm(episodes, total=len(order), desc="export", unit="episode"):
                writer.append(episode)
            writer.flush_episodes()
        writer.write_facts(num_train=int((splits == SPLITS.index("train")).sum()))
        temporary.replace(out_dir)
        sync(out_dir.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return ExportCounts(
        num_episodes=writer.num_episodes, num_frames=writer.num_frames, games=writer.tasks
    )


def _find_common(manifest: Manifest, column: str, what: str) -> Any:  # noqa: ANN401 - of a column
    values = sorted(manifest.table[column].unique().to_pylist())
    if len(values) > 1:
        games = sorted(manifest.table["game"].unique().to_pylist())
        raise ShardError(
            f"a LeRobotDataset holds clips of one {column}, the data set has the {what} "
            f"{values[:5]}; choose some of its games by --game: {', '.join(games)[:400]}"
        )
    return values[0]


class _Writer:
    """The files of one exported data set."""

    def __init__(
        self, root: Path, manifest: Manifest, *, fps: float, limits: FileLimits, stack: ExitStack
    ) -> None:
        self._root, self._limits, self._space = root, limits, manifest.action_space
        self._side = (manifest.row(0).height, manifest.row(0).width)
        self._rate = frame_rate(fps)
        self._videos = stack.enter_context(
            VideoFiles(root, camera=CAMERA, rate=self._rate, limits=limits)
        )
        self._data = stack.enter_context(TableFiles(root, DATA_PATH, limits))
        self._episodes = stack.enter_context(TableFiles(root, EPISODES_PATH, limits))
        self._pending: list[dict[str, object]] = []
        self._statistics: dict[str, Statistics] = {}
        self.tasks: list[str] = []
        self.num_episodes = self.num_frames = 0

    def append(self, episode: Episode) -> None:
        metadata = episode.facts.metadata
        if metadata.game not in self.tasks:
            self.tasks.append(metadata.game)
        features = {**episode.features, **self._index_rows(metadata.num_frames, metadata.game)}
        statistics = {
            **episode.statistics,
            **{
                name: describe_rows(features[name][:, None].astype(np.float64))
                for name in ("timestamp", *_INDEX_FEATURES)
            },
        }
        table = pa.table(to_columns(features))
        data = self._data.choose_place(table)
        self._data.append(table)
        video = self._videos.append(
            episode.video, num_frames=metadata.num_frames, what=metadata.clip_id
        )
        self._pending.append(
            {
                "episode_index": self.num_episodes,
                "tasks": [metadata.game],
                "length": metadata.num_frames,
                "data/chunk_index": data.chunk_index,
                "data/file_index": data.file_index,
                "dataset_from_index": self.num_frames,
                "dataset_to_index": self.num_frames + metadata.num_frames,
                f"videos/{CAMERA}/chunk_index": video.file.chunk_index,
                f"videos/{CAMERA}/file_index": video.file.file_index,
                f"videos/{CAMERA}/from_timestamp": video.from_s,
                f"videos/{CAMERA}/to_timestamp": video.to_s,
                CLIP_COLUMN: episode.facts.to_json(),
                **{
                    f"stats/{name}/{key}": value.tolist()
                    for name, values in statistics.items()
                    for key, value in values.items()
                },
            }
        )
        for name, values in statistics.items():
            known = self._statistics.get(name)
            self._statistics[name] = values if known is None else add_statistics(known, values)
        self.num_episodes += 1
        self.num_frames += metadata.num_frames
        if len(self._pending) == _EPISODES_PER_WRITE:
            self.flush_episodes()

    def flush_episodes(self) -> None:
        """Write the rows of the episodes that have none yet."""
        if not self._pending:
            return
        place = self._episodes.choose_place(pa.Table.from_pylist(self._pending))
        for row in self._pending:
            row["meta/episodes/chunk_index"] = place.chunk_index
            row["meta/episodes/file_index"] = place.file_index
        self._episodes.append(pa.Table.from_pylist(self._pending))
        self._pending.clear()

    def write_facts(self, *, num_train: int) -> None:
        """Write what is known only at the end."""
        splits = {"train": (0, num_train), "val": (num_train, self.num_episodes)}
        info = {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self._space.name,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": len(self.tasks),
            "chunks_size": self._limits.files_per_chunk,
            "data_files_size_in_mb": self._limits.data_mb,
            "video_files_size_in_mb": self._limits.video_mb,
            "fps": _whole(float(self._rate)),
            "splits": {
                name: f"{start}:{stop}" for name, (start, stop) in splits.items() if start < stop
            },
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": {**self._describe_video(), **self._describe_rows()},
        }
        statistics = {
            name: {key: value.tolist() for key, value in values.items()}
            for name, values in self._statistics.items()
        }
        _write_tasks(self._root / TASKS_PATH, self.tasks)
        _write_json(self._root / STATISTICS_PATH, statistics)
        _write_json(self._root / INFO_PATH, info)

    def _index_rows(self, num_rows: int, game: str) -> dict[str, np.ndarray]:
        index = np.arange(num_rows)
        return {
            "timestamp": (index / float(self._rate)).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(num_rows, self.num_episodes),
            "index": self.num_frames + index,
            "task_index": np.full(num_rows, self.tasks.index(game)),
        }

    def _describe_rows(self) -> dict[str, object]:
        one = {"shape": [1], "names": None}
        return {
            **describe_features(self._space),
            "timestamp": {"dtype": "float32", **one},
            **{name: {"dtype": "int64", **one} for name in _INDEX_FEATURES},
        }

    def _describe_video(self) -> dict[str, object]:
        height, width = self._side
        return {
            CAMERA: {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": self._videos.codec,
                    "video.pix_fmt": self._videos.pixels,
                    "video.is_depth_map": False,
                    "video.fps": _whole(float(self._rate)),
                    "video.channels": 3,
                    "has_audio": False,
                },
            }
        }


def _whole(number: float) -> float | int:
    """LeRobot writes whole numbers as such."""
    return int(number) if number.is_integer() else number


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    sync(path)


def _write_tasks(path: Path, tasks: list[str]) -> None:
    """Write them as pandas does with the tasks as its index, which LeRobot looks them up by."""
    name = "__index_level_0__"
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), name: tasks})
    columns = [
        ("task_index", "task_index", "int64", "int64"),
        (None, name, "unicode", "object"),
    ]
    pandas = {
        "index_columns": [name],
        "column_indexes": [],
        "columns": [
            dict(
                zip(("name", "field_name", "pandas_type", "numpy_type"), column, strict=True),
                metadata=None,
            )
            for column in columns
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
    sync(path)
