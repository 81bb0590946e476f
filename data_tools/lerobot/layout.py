"""Where a LeRobotDataset v3.0 keeps what.

    meta/info.json, stats.json, tasks.parquet, episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                   rows of many episodes
    videos/CAMERA/chunk-000/file-000.mp4              pictures of many episodes

A table of the episodes says which file holds one, and from when to when. The last two paths are
templates in `info.json`, which may come from a stranger.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from nitrogen_train.data.schema import ShardError

CODEBASE_VERSION = "v3.0"
INFO_PATH = "meta/info.json"
STATISTICS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_DIR = "meta/episodes"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

CLIP_COLUMN = "nitrogen_train"
"""Of the table of episodes: what LeRobot has no place for; see `clip_facts`."""

_FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
_MIB = 1024**2


class FilePlace(NamedTuple):
    """Which file of a kind: `chunk-CHUNK/file-FILE`."""

    chunk_index: int
    file_index: int


@dataclass(frozen=True, kw_only=True)
class FileLimits:
    """When a file is full; LeRobot's own defaults."""

    data_mb: float = 100.0
    """Of a table, in MiB."""
    video_mb: float = 200.0
    """Of a video, in MiB."""
    files_per_chunk: int = 1000

    def __post_init__(self) -> None:
        if not (self.data_mb > 0 and self.video_mb > 0 and self.files_per_chunk >= 1):
            raise ValueError(
                f"file sizes and files per chunk must lie above 0, got {self.data_mb} MiB, "
                f"{self.video_mb} MiB and {self.files_per_chunk}"
            )

    @property
    def data_bytes(self) -> int:
        """As `data_mb`."""
        return int(self.data_mb * _MIB)

    @property
    def video_bytes(self) -> int:
        """As `video_mb`."""
        return int(self.video_mb * _MIB)

    def place(self, number: int) -> FilePlace:
        """Find where the `number`-th file of a kind lies."""
        return FilePlace(*divmod(number, self.files_per_chunk))


def fill_template(template: str, place: FilePlace, *, video_key: str = "") -> str:
    """Find a file's path inside the data set's folder.

    Args:
        template: Such as `VIDEO_PATH`.
        place: Which file.
        video_key: Which camera, if it is a video.

    Raises:
        ShardError: If the template has other fields, or leads out of the folder.

    Example:
        >>> fill_template(DATA_PATH, FilePlace(0, 12))
        'data/chunk-000/file-012.parquet'
    """
    # Not `str.format`: a stranger's template may ask it for attributes, or for a gigabyte of zeros.
    values = {
        "chunk_index": str(place.chunk_index),
        "file_index": str(place.file_index),
        "video_key": video_key,
    }

    def fill(field: re.Match[str]) -> str:
        name, width = field[1], int(field[2] or 0)
        if name not in values:
            raise ShardError(
                f"the path {template[:200]!r} has a field {name!r}, expected {', '.join(values)}"
            )
        return values[name].zfill(width) if width else values[name]

    filled = _FIELD.sub(fill, template)
    path = PurePosixPath(filled)
    if (
        not filled.isprintable()
        or any(brace in filled for brace in "{}\\")
        or path.is_absolute()
        or ".." in path.parts
        or not 0 < len(filled) <= 500
    ):
        raise ShardError(
            f"the path {template[:200]!r} must lead to a file inside the data set's folder, "
            f"got {filled[:200]!r}"
        )
    return filled
