"""Read what a LeRobotDataset v3.0 says of itself and of its episodes, each value checked.

The files may come from a stranger; `episode_readers.py` turns the episodes into clips.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from data_tools.lerobot.layout import (
    CLIP_COLUMN,
    CODEBASE_VERSION,
    EPISODES_DIR,
    INFO_PATH,
    TASKS_PATH,
    EpisodeClip,
    FilePlace,
    fill_template,
    read_column_names,
    read_episode_rows,
    read_table_rows,
)
from data_tools.names import is_hidden
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import MAX_METADATA_BYTES, ShardError, parse_json_object
from nitrogen_train.data.values import as_number, as_whole_number

_CONVERTER = "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=..."
_MAX_INDEX = 10**9
_MIN_FPS, _MAX_FPS = 0.001, 1000


@dataclass(frozen=True, kw_only=True)
class LeRobotFolder:
    """`meta/info.json`."""

    root: Path
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    data_path: str
    video_path: str

    @property
    def cameras(self) -> list[str]:
        """Return the features that are videos."""
        return [name for name, item in self.features.items() if item["dtype"] == "video"]

    def locate_data(self, place: FilePlace) -> Path:
        """Find a table of rows."""
        return self.root / fill_template(self.data_path, place)

    def locate_video(self, place: FilePlace, *, camera: str) -> Path:
        """Find a video of one camera."""
        return self.root / fill_template(self.video_path, place, video_key=camera)


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """One row of the table of episodes."""

    index: int
    num_rows: int
    task: str
    """The first one, if there are several; empty if none is named."""
    data: FilePlace
    video: FilePlace
    from_s: float
    """Time at which its first frame is shown in its video."""
    facts: EpisodeClip | None
    """Facts of the clip that the episode was, if it was one of ours."""


def open_folder(root: Path) -> LeRobotFolder:
    """Read `meta/info.json`.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is of another version, or breaks the layout.
    """
    path = root / INFO_PATH
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: is {root} a LeRobotDataset?")
    with path.open("rb") as file:
        info = parse_json_object(file.read(MAX_METADATA_BYTES + 1), str(path))
    _check_version(info.get("codebase_version"), path)
    fps = as_number(info.get("fps"))
    if fps is None or not _MIN_FPS <= fps <= _MAX_FPS:
        raise ShardError(
            f"{path}: fps must be a number from {_MIN_FPS} to {_MAX_FPS}, got {info.get('fps')!r}"
        )
    templates = {name: info.get(name) for name in ("data_path", "video_path")}
    for name, template in templates.items():
        if not isinstance(template, str):
            raise ShardError(
                f"{path}: {name} must be a path, got {template!r}; only data sets with videos "
                "are read, pictures inside tables are not"
            )
        try:
            fill_template(template, FilePlace(0, 0), video_key="camera")
        except ShardError as error:
            raise ShardError(f"{path}, {name}: {error}") from error
    features = cast("Any", info.get("features"))
    if not isinstance(features, dict) or not all(
        isinstance(item, dict) and isinstance(item.get("dtype"), str) for item in features.values()
    ):
        raise ShardError(f"{path}: features must be objects with a dtype each")
    return LeRobotFolder(
        root=root,
        fps=float(frame_rate(fps)),
        features=features,
        data_path=cast("str", templates["data_path"]),
        video_path=cast("str", templates["video_path"]),
    )


def choose_camera(folder: LeRobotFolder, wanted: str | None) -> str:
    """Find the feature whose pictures become clips.

    Raises:
        ShardError: If there is no such video, or there are several and none is named.
    """
    cameras = folder.cameras
    known = ", ".join(cameras) or "none: pictures inside tables are not read"
    if wanted is None and len(cameras) == 1:
        return cameras[0]
    if wanted not in cameras:
        got = "there is more or less than one" if wanted is None else f"got {wanted!r}"
        raise ShardError(f"--camera must name a video of {folder.root}, {got}; it has {known}")
    return wanted


def read_episodes(folder: LeRobotFolder, *, camera: str) -> list[EpisodeRow]:
    """Read the table of episodes.

    Raises:
        FileNotFoundError: If there is none.
        ShardError: If it is damaged, a column is missing, or a value is out of range.
    """
    found = (folder.root / EPISODES_DIR).glob("*/*.parquet")
    paths = sorted(path for path in found if not is_hidden(path))
    if not paths:
        raise FileNotFoundError(f"{folder.root / EPISODES_DIR} holds no table of episodes")
    episodes: list[EpisodeRow] = []
    for path in paths:
        columns = [
            "episode_index",
            "length",
            "data/chunk_index",
            "data/file_index",
            *(f"videos/{camera}/{name}" for name in ("chunk_index", "file_index")),
            f"videos/{camera}/from_timestamp",
        ]
        optional = {"tasks", CLIP_COLUMN}
        columns += sorted(optional.intersection(read_column_names(path)))
        episodes += [_parse_episode(row, camera, path) for row in read_table_rows(path, columns)]
    episodes.sort(key=lambda episode: episode.index)
    if any(a.index == b.index for a, b in pairwise(episodes)):
        raise ShardError(f"{folder.root / EPISODES_DIR} lists an episode twice")
    if not episodes:
        raise ShardError(f"{folder.root / EPISODES_DIR} lists no episode")
    return _find_tasks(folder, episodes)


def _find_tasks(folder: LeRobotFolder, episodes: list[EpisodeRow]) -> list[EpisodeRow]:
    """Name the tasks that the table of episodes does not: an episode's first row has its number.

    Some official data sets keep tasks there alone (huggingface/lerobot, issue 4519).
    """
    unnamed: defaultdict[FilePlace, set[int]] = defaultdict(set)
    for episode in episodes:
        if not episode.task and episode.facts is None:
            unnamed[episode.data].add(episode.index)
    path = folder.root / TASKS_PATH
    if not unnamed or not path.is_file():
        return episodes
    names = _read_task_names(path)
    found: dict[int, str] = {}
    for place, indices in sorted(unnamed.items()):
        try:
            tables = read_episode_rows(folder.locate_data(place), ["task_index"], indices)
        except ShardError:
            # Its episodes are dropped, with this reason, when their rows are read.
            continue
        for index, table in tables.items():
            number = as_whole_number(table["task_index"][0].as_py())
            found[index] = "" if number is None else names.get(number, "")
    return [
        replace(episode, task=episode.task or found.get(episode.index, "")) for episode in episodes
    ]


def _read_task_names(path: Path) -> dict[int, str]:
    """Read the tasks by number; LeRobot keeps their text as pandas keeps an index.

    Raises:
        ShardError: If the table is damaged, or has no column of numbers and one of texts.
    """
    others = [name for name in read_column_names(path) if name != "task_index"]
    if not others:
        raise ShardError(f"{path} must have a column of texts beside task_index")
    text = "task" if "task" in others else others[-1]
    names: dict[int, str] = {}
    for row in read_table_rows(path, ["task_index", text]):
        number = as_whole_number(row["task_index"])
        if number is None or not isinstance(row[text], str):
            raise ShardError(f"{path}: expected a number and a text, got {str(row)[:200]}")
        names[number] = _clean(row[text])
    return names


def _check_version(version: object, path: Path) -> None:
    if version == CODEBASE_VERSION:
        return
    is_older = isinstance(version, str) and version.startswith(("v1", "v2"))
    advice = (
        f"convert it with LeRobot's own {_CONVERTER}"
        if is_older
        else "update nitrogen-train, if a newer LeRobot wrote it"
    )
    raise ShardError(
        f"{path} has codebase_version {version!r}, {CODEBASE_VERSION} is read; {advice}"
    )


def _parse_episode(row: dict[str, Any], camera: str, path: Path) -> EpisodeRow:
    what = f"{path}, episode {row['episode_index']!r}"
    names = (
        "episode_index",
        "length",
        "data/chunk_index",
        "data/file_index",
        f"videos/{camera}/chunk_index",
        f"videos/{camera}/file_index",
    )
    numbers: list[int] = []
    for name in names:
        number = as_whole_number(row[name])
        if number is None or not 0 <= number < _MAX_INDEX:
            raise ShardError(f"{what}: {name} must be a whole number from 0, got {row[name]!r}")
        numbers.append(number)
    index, num_rows, data_chunk, data_file, video_chunk, video_file = numbers
    started = row[f"videos/{camera}/from_timestamp"]
    from_s = as_number(started)
    if from_s is None or from_s < 0:
        raise ShardError(f"{what}: from_timestamp must be seconds from 0, got {started!r}")
    tasks = row.get("tasks")
    text = row.get(CLIP_COLUMN)
    return EpisodeRow(
        index=index,
        num_rows=num_rows,
        task=_clean(str(tasks[0])) if isinstance(tasks, list) and tasks else "",
        data=FilePlace(data_chunk, data_file),
        video=FilePlace(video_chunk, video_file),
        from_s=from_s,
        facts=None if text is None else EpisodeClip.from_json(str(text), what=what),
    )


def _clean(task: str) -> str:
    """Make a game's name of a sentence, which may have lines."""
    return "".join(letter if letter.isprintable() else " " for letter in task[:500]).strip()
