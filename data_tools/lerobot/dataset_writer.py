"""Episodes to the files of a LeRobotDataset v3.0, one after the other."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from data_tools.lerobot.episode import CAMERA, Episode
from data_tools.lerobot.info_files import (
    INDEX_FEATURES,
    Counts,
    Picture,
    write_info,
    write_statistics,
    write_tasks,
)
from data_tools.lerobot.layout import CLIP_COLUMN, DATA_PATH, EPISODES_PATH, FileLimits
from data_tools.lerobot.rows import to_columns
from data_tools.lerobot.statistics import Statistics, add_statistics, describe_rows
from data_tools.lerobot.table_files import TableFiles
from data_tools.lerobot.video_files import VideoFiles
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.encode import frame_rate

_EPISODES_PER_WRITE = 100


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
            self._open.enter_context(files)
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

    def append(self, episode: Episode) -> None:
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
            picture=Picture(
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
