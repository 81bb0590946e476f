"""The files of an exported data set's `meta` that are written once, at its end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.lerobot.layout import (
    CODEBASE_VERSION,
    DATA_PATH,
    INFO_PATH,
    STATISTICS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    FileLimits,
)
from data_tools.lerobot.rows import describe_features
from data_tools.lerobot.statistics import Statistics
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.files import sync

INDEX_FEATURES = ("frame_index", "episode_index", "index", "task_index")
"""Whole numbers that LeRobot wants in every row, besides `timestamp`."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What all frames have in common."""

    camera: str
    """The feature."""
    height: int
    width: int
    codec: str
    pixels: str
    """FFmpeg's name of their format."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much was written; the episodes for training come first."""

    num_train: int
    num_episodes: int
    num_frames: int
    num_tasks: int

    def describe_splits(self) -> dict[str, str]:
        """Name the splits' episodes as LeRobot does, `FIRST:END`."""
        splits = {"train": (0, self.num_train), "val": (self.num_train, self.num_episodes)}
        return {name: f"{start}:{stop}" for name, (start, stop) in splits.items() if start < stop}


def write_info(
    root: Path,
    *,
    space: ActionSpace,
    picture: Picture,
    counts: Counts,
    fps: float,
    limits: FileLimits,
) -> None:
    """Write `info.json`.

    Args:
        root: The data set's folder.
        space: Layout of the actions.
        picture: What the video's feature says.
        counts: Of all that was written.
        fps: Frames per second.
        limits: When files were full.
    """
    one = {"shape": [1], "names": None}
    info = {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": space.name,
        "total_episodes": counts.num_episodes,
        "total_frames": counts.num_frames,
        "total_tasks": counts.num_tasks,
        "chunks_size": limits.files_per_chunk,
        "data_files_size_in_mb": _whole(limits.data_mb),
        "video_files_size_in_mb": _whole(limits.video_mb),
        "fps": _whole(fps),
        "splits": counts.describe_splits(),
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": {
            picture.camera: _describe_video(picture, fps),
            **describe_features(space),
            "timestamp": {"dtype": "float32", **one},
            **{name: {"dtype": "int64", **one} for name in INDEX_FEATURES},
        },
    }
    _write_json(root / INFO_PATH, info)


def write_statistics(root: Path, statistics: Mapping[str, Statistics]) -> None:
    """Write `stats.json`: of all episodes, by feature."""
    values = {
        name: {key: value.tolist() for key, value in item.items()}
        for name, item in statistics.items()
    }
    _write_json(root / STATISTICS_PATH, values)


def write_tasks(root: Path, tasks: Sequence[str]) -> None:
    """Write `tasks.parquet` as pandas does with the tasks as its index, by which LeRobot looks."""
    index = "__index_level_0__"
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: list(tasks)})
    keys = ("name", "field_name", "pandas_type", "numpy_type", "metadata")
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            dict(zip(keys, ("task_index", "task_index", "int64", "int64", None), strict=True)),
            dict(zip(keys, (None, index, "unicode", "object", None), strict=True)),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    path = root / TASKS_PATH
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
    sync(path)


def _describe_video(picture: Picture, fps: float) -> dict[str, object]:
    return {
        "dtype": "video",
        "shape": [picture.height, picture.width, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": picture.height,
            "video.width": picture.width,
            "video.codec": picture.codec,
            "video.pix_fmt": picture.pixels,
            "video.is_depth_map": False,
            "video.fps": _whole(fps),
            "video.channels": 3,
            "has_audio": False,
        },
    }


def _whole(number: float) -> float | int:
    """LeRobot writes whole numbers as such."""
    return int(number) if float(number).is_integer() else number


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    sync(path)
