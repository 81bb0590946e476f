"""Write the files of a LeRobotDataset v3.0, one episode after the other.

    clip ─► episode: rows as columns, statistics, facts ─► numbered parquet tables, of bounded size
      ─► at the end, once: the files of `meta`

Statistics follow LeRobot's rules: per element of a feature minimum, maximum, mean, standard
deviation, five quantiles and the number of rows; of pictures per channel, in [0, 1], from frames
spread evenly over the episode. A data set's quantiles are the mean of its episodes', weighted by
rows, as LeRobot adds them up: they are no quantiles of all rows.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int64, UInt8

from data_tools.lerobot.layout import (
    CLIP_COLUMN,
    CODEBASE_VERSION,
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    STATISTICS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    EpisodeClip,
    FileLimits,
    FilePlace,
    describe_features,
    fill_template,
    lay_out_rows,
    list_analogue_triggers,
    to_columns,
)
from data_tools.lerobot.lerobot_video import VideoFiles
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.runtime.atomic_files import sync

Statistics = dict[str, Float[np.ndarray, "*shape"] | Int64[np.ndarray, " 1"]]
"""Statistics of one feature: `min`, `max`, `mean`, `std`, `q01` ... `q99`, and `count`."""

_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_MIN_FRAMES, _MAX_FRAMES, _POWER = 100, 10_000, 0.75

CAMERA = "observation.images.screen"
"""The feature that holds the pictures."""

INDEX_FEATURES = ("frame_index", "episode_index", "index", "task_index")
"""Whole numbers that LeRobot wants in every row, besides `timestamp`."""

_EPISODES_PER_WRITE = 100


def choose_frames(num_frames: int) -> list[int]:
    """Choose the frames that stand for an episode: 100 of up to about 500, and few more of more."""
    number = max(min(_MIN_FRAMES, num_frames), min(int(num_frames**_POWER), _MAX_FRAMES))
    return np.linspace(0, num_frames - 1, number).round().astype(int).tolist()


def describe_rows(values: Float[np.ndarray, "rows n"]) -> Statistics:
    """Describe a feature of one axis."""
    quantiles = np.quantile(values, list(_QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
    }


def describe_pictures(frames: UInt8[np.ndarray, "f h w 3"]) -> Statistics:
    """Describe pictures by channel, each value of shape (3, 1, 1)."""
    # A byte has 256 values: their counts tell all, in little memory.
    counts = np.stack([np.bincount(frames[..., c].ravel(), minlength=256) for c in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    variance = ((levels - mean[:, None]) ** 2 * shares).sum(axis=1)
    reached = shares.cumsum(axis=1)
    values = {
        "min": levels[(counts > 0).argmax(axis=1)],
        "max": levels[255 - (counts[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
        # Short of 1 by rounding, the sum might miss the last level.
        **{name: levels[(reached >= q - 1e-12).argmax(axis=1)] for name, q in _QUANTILES.items()},
    }
    return {
        **{name: value.reshape(3, 1, 1) for name, value in values.items()},
        "count": np.array([len(frames)]),
    }


def add_statistics(first: Statistics, second: Statistics) -> Statistics:
    """Join the statistics of one feature in two sets of rows."""
    count = first["count"] + second["count"]
    share = (second["count"] / count).item()
    mean = (1 - share) * first["mean"] + share * second["mean"]
    squares = [
        part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in (first, second)
    ]  # of either's distance from the common mean
    return {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": mean,
        "std": np.sqrt((1 - share) * squares[0] + share * squares[1]),
        "count": count,
        **{name: (1 - share) * first[name] + share * second[name] for name in _QUANTILES},
    }


@dataclass(frozen=True, kw_only=True)
class LeRobotEpisode:
    """A clip, all but its place in the exported data set."""

    facts: EpisodeClip
    features: dict[str, np.ndarray]
    """One entry per row: `action`, `valid`, and the pull of each trigger."""
    statistics: dict[str, Statistics]
    """Statistics of the features and of the pictures."""
    video: bytes


def read_episode(row: ManifestRow, *, dataset: Dataset) -> LeRobotEpisode:
    """Read a clip and describe it.

    Args:
        row: Of the manifest.
        dataset: Whose clip it is.

    Raises:
        ShardError: If the record is damaged, or is not one of ours.
    """
    clip = dataset.read(row)
    if not isinstance(clip, Record):
        raise ShardError(
            f"clip {row.clip_id!r} is a foreign record that was only indexed; export takes data "
            "sets that `nitrogen-data shard` or `ingest` made"
        )
    features = lay_out_rows(clip.actions, get_space(row.action_space))
    frames = choose_decoder().decode(clip.video, indices=choose_frames(row.num_frames))
    statistics = {
        name: describe_rows(values.reshape(len(values), -1).astype(np.float64))
        for name, values in features.items()
    }
    return LeRobotEpisode(
        facts=EpisodeClip(
            metadata=clip.metadata,
            split=row.split,
            analogue_triggers=list_analogue_triggers(clip.actions),
        ),
        features=features,
        statistics={**statistics, CAMERA: describe_pictures(frames)},
        video=clip.video,
    )


@dataclass(frozen=True, kw_only=True)
class EpisodePicture:
    """The facts that all frames have in common."""

    camera: str
    """The feature."""
    height: int
    width: int
    codec: str
    pixels: str
    """FFmpeg's name of their format."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The numbers of what was written; the episodes for training come first."""

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
    picture: EpisodePicture,
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


def _describe_video(picture: EpisodePicture, fps: float) -> dict[str, object]:
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
    """Write whole numbers as such, as LeRobot does."""
    return int(number) if float(number).is_integer() else number


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    sync(path)


class TableFiles:
    """Tables one after the other, each as a row group; a full file is followed by the next."""

    def __init__(self, root: Path, template: str, limits: FileLimits) -> None:
        """Remember where; nothing is written before the first table.

        Args:
            root: The data set's folder.
            template: Of the files' paths in it.
            limits: When a file is full.
        """
        self._root, self._template, self._limits = root, template, limits
        self._open = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._number = 0
        self._num_bytes = 0

    def choose_place(self, table: pa.Table) -> FilePlace:
        """Choose the file for a table of this size: the last one, or the next if it would be full.

        A table that is larger than a file may be has one to itself.
        """
        if self._num_bytes and self._num_bytes + table.nbytes > self._limits.data_bytes:
            self.close()
            self._number += 1
        return self._limits.place(self._number)

    def append(self, table: pa.Table) -> None:
        """Write a table to the file that was chosen."""
        if self._writer is None:
            path = self._root / fill_template(self._template, self._limits.place(self._number))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open.callback(sync, path)
            self._file = self._open.enter_context(path.open("wb"))
            self._writer = self._open.enter_context(pq.ParquetWriter(self._file, table.schema))
        self._writer.write_table(table)
        self._num_bytes = self._file.tell()

    def close(self) -> None:
        """Close the last file."""
        self._open.close()
        self._writer, self._num_bytes = None, 0


class DatasetWriter:
    """The files of one exported data set; its `with` block closes all but those of `meta`."""

    def __init__(
        self,
        root: Path,
        *,
        space: ActionSpace,
        side: tuple[int, int],
        fps: float,
        limits: FileLimits,
    ) -> None:
        """Remember what all episodes have in common.

        Args:
            root: The folder to write.
            space: Layout of the actions.
            side: Height and width of the pictures, in pixels.
            fps: Frames per second.
            limits: When a file is full.
        """
        self._root, self._space, self._side, self._limits = root, space, side, limits
        self._rate = frame_rate(fps)
        self._videos = VideoFiles(root, camera=CAMERA, rate=self._rate, limits=limits)
        self._data = TableFiles(root, DATA_PATH, limits)
        self._episodes = TableFiles(root, EPISODES_PATH, limits)
        self._open = ExitStack()
        self._pending: list[dict[str, object]] = []
        self._statistics: dict[str, Statistics] = {}
        self.tasks: list[str] = []
        self.num_episodes = self.num_frames = 0

    def __enter__(self) -> "DatasetWriter":
        for files in (self._videos, self._data, self._episodes):
            self._open.callback(files.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._open:
            if error is None:
                self._flush_episodes()

    def append(self, episode: LeRobotEpisode) -> None:
        """Write an episode behind the others.

        Raises:
            UnevenVideoError: If its video is no clip's; nothing is written then.
            ShardError: If its video cannot be copied.
        """
        metadata = episode.facts.metadata
        # First: a video that is refused leaves no rows behind.
        video = self._videos.append(
            episode.video, num_frames=metadata.num_frames, what=metadata.clip_id
        )
        if metadata.game not in self.tasks:
            self.tasks.append(metadata.game)
        features = {**episode.features, **self._index_rows(metadata.num_frames, metadata.game)}
        statistics = {
            **episode.statistics,
            **{
                name: describe_rows(features[name][:, None].astype(np.float64))
                for name in ("timestamp", *INDEX_FEATURES)
            },
        }
        table = pa.table(to_columns(features))
        data = self._data.choose_place(table)
        self._data.append(table)
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
            self._flush_episodes()

    def _flush_episodes(self) -> None:
        if not self._pending:
            return
        place = self._episodes.choose_place(pa.Table.from_pylist(self._pending))
        for row in self._pending:
            row["meta/episodes/chunk_index"] = place.chunk_index
            row["meta/episodes/file_index"] = place.file_index
        self._episodes.append(pa.Table.from_pylist(self._pending))
        self._pending.clear()

    def write_facts(self, *, num_train: int) -> None:
        """Write what is known only at the end.

        Args:
            num_train: Episodes for training, which came first.
        """
        height, width = self._side
        write_info(
            self._root,
            space=self._space,
            picture=EpisodePicture(
                camera=CAMERA,
                height=height,
                width=width,
                codec=self._videos.codec,
                pixels=self._videos.pixels,
            ),
            counts=Counts(
                num_train=num_train,
                num_episodes=self.num_episodes,
                num_frames=self.num_frames,
                num_tasks=len(self.tasks),
            ),
            fps=float(self._rate),
            limits=self._limits,
        )
        write_statistics(self._root, self._statistics)
        write_tasks(self._root, self.tasks)

    def _index_rows(self, num_rows: int, game: str) -> dict[str, np.ndarray]:
        index = np.arange(num_rows)
        return {
            "timestamp": (index / float(self._rate)).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(num_rows, self.num_episodes),
            "index": self.num_frames + index,
            "task_index": np.full(num_rows, self.tasks.index(game)),
        }
