"""Read the episodes of a LeRobotDataset v3.0, of our own exports and of anybody else's.

    meta ─► facts and episodes, each checked ─► which numbers are which controls of our layout
      ─► rows and frames of an episode ─► clip

The files may come from a stranger: every value is checked before it is used.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from data_tools.lerobot.layout import (
    CLIP_COLUMN,
    CODEBASE_VERSION,
    EPISODES_DIR,
    INFO_PATH,
    TASKS_PATH,
    TRIGGER_CONTROLS,
    EpisodeClip,
    FilePlace,
    describe_features,
    fill_template,
    read_column_names,
    read_episode_rows,
    read_rows,
    read_table_rows,
)
from data_tools.names import is_hidden
from data_tools.shards.planned_clips import PlannedClip
from data_tools.shards.recording_clips import Stretch, cut_stretch
from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.action_file import ClipActions
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import MAX_METADATA_BYTES, ShardError, parse_json_object
from nitrogen_train.data.values import as_number, as_whole_number, to_booleans, to_vectors

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


_ACTION = "action"
_VALID = "valid"


@dataclass(frozen=True, kw_only=True)
class MappedControl:
    """One control, and where its values are."""

    control: str
    feature: str
    width: int
    """Width of the feature."""
    place: int
    """Place of the number in the feature."""
    sign: float


@dataclass(frozen=True, kw_only=True)
class ActionMap:
    """All controls that a data set has; the others are released or centred."""

    space: ActionSpace
    controls: tuple[MappedControl, ...]
    has_valid: bool
    """True if a feature `valid` of one value says which rows may be learned from."""

    @property
    def features(self) -> list[str]:
        """Return the columns that are read."""
        mapped = {item.feature for item in self.controls}
        return sorted(mapped | ({_VALID} if self.has_valid else set()))

    def read_actions(self, table: pa.Table, *, what: str) -> ClipActions:
        """Read an episode's rows.

        Args:
            table: With the columns of `features`.
            what: Whose it is, for messages.

        Raises:
            ShardError: If a column is no such vector, or a value is out of range.
        """
        values = np.zeros((table.num_rows, self.space.action_dim), dtype=np.float32)
        for item in self.controls:
            column = to_vectors(
                table[item.feature], what=f"{what}, {item.feature}", width=item.width
            )
            values[:, self.space.index(item.control)] = item.sign * column[:, item.place]
        try:
            rows = self.space.rows_from_values(values)
        except ValueError as error:
            raise ShardError(f"{what}: {error}", cause="an action is out of range") from error
        mapped = {item.control for item in self.controls}
        triggers: dict[str, Any] = {}
        for name, control in TRIGGER_CONTROLS.items():
            if control in mapped:
                pull = values[:, self.space.index(control)]
                if not np.isin(pull, (0, 1)).all():
                    triggers[name] = pull.clip(0, 1)
        valid = np.ones(len(rows), dtype=bool)
        if self.has_valid:
            valid = to_booleans(table[_VALID], what=f"{what}, {_VALID}")
        return ClipActions(rows=rows, valid=valid, **triggers)


def build_action_map(
    folder: LeRobotFolder,
    space: ActionSpace,
    *,
    text: str | None,
    stick_y_axis: Literal["up", "down"] | None,
) -> ActionMap:
    """Find the controls in a data set's features.

    Args:
        folder: The data set.
        space: The layout that the controls belong to.
        text: `NAME=CONTROL,...`: a name inside `action`, or a feature of one value; if None, the
            names inside `action` that are controls.
        stick_y_axis: Where positive y points in the data set.

    Raises:
        ShardError: If a name or a control is unknown or comes twice, none is found, or it is not
            known where y points.
    """
    known = _list_numbers(folder)
    pairs = _parse_pairs(text) if text else {name: name for name in known if name in space.controls}
    if not pairs:
        raise ShardError(
            f"no name inside the action of {folder.root} is a control of {space.name!r}: say by "
            f"--map NAME=CONTROL,... which is which; the names are {_list(known)}, the controls "
            f"{_list(space.controls)}"
        )
    controls: list[MappedControl] = []
    for name, control in pairs.items():
        if name not in known:
            raise ShardError(f"--map: there is no {name!r} among the actions: {_list(known)}")
        try:
            space.index(control)
        except ValueError as error:
            raise ShardError(f"--map: {error}") from error
        if control in {item.control for item in controls}:
            raise ShardError(f"--map names the control {control} twice")
        feature, width, place = known[name]
        sign = 1.0
        if control.endswith("_STICK_Y"):
            if stick_y_axis is None:
                raise ShardError(f"--stick-y-axis must say where {name!r} points when positive")
            sign = -1.0 if stick_y_axis == "up" else 1.0
        controls.append(
            MappedControl(control=control, feature=feature, width=width, place=place, sign=sign)
        )
    return ActionMap(
        space=space,
        controls=tuple(controls),
        has_valid=_VALID in folder.features and _is_number(folder.features[_VALID]),
    )


def list_names(feature: Mapping[str, Any]) -> list[str]:
    """List the names inside a vector; their places if it has none."""
    shape = feature.get("shape")
    width = as_whole_number(shape[0]) if isinstance(shape, list) and len(shape) == 1 else None
    if width is None or not 0 < width <= 10_000:
        return []
    names = cast("Any", feature.get("names"))
    if isinstance(names, dict):
        # `{"motors": [...]}`, or a place for each name.
        lists = [item for item in names.values() if isinstance(item, list)]
        names = lists[0] if len(lists) == 1 else list(names)
    if isinstance(names, list) and len(names) == width and len({*map(str, names)}) == width:
        return [str(name) for name in names]
    return [str(place) for place in range(width)]


def _is_number(feature: Mapping[str, Any]) -> bool:
    return feature["dtype"] not in ("video", "image", "string") and len(list_names(feature)) == 1


def _list_numbers(folder: LeRobotFolder) -> dict[str, tuple[str, int, int]]:
    """Find what can be mapped: name to feature, its width, and the place in it."""
    known: dict[str, tuple[str, int, int]] = {}
    for key, feature in folder.features.items():
        if _is_number(feature):
            known[key] = (key, 1, 0)
    if _ACTION in folder.features:
        names = list_names(folder.features[_ACTION])
        known |= {name: (_ACTION, len(names), place) for place, name in enumerate(names)}
    return known


def _parse_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, _, control = part.rpartition("=")
        if not name or not control or name in pairs:
            raise ShardError(
                f"--map is written NAME=CONTROL,NAME=CONTROL with each name once, got {part!r}"
            )
        pairs[name.strip()] = control.strip()
    return pairs


def _list(names: object) -> str:
    return ", ".join(cast("Any", names))[:600] or "none"


@dataclass(frozen=True, kw_only=True)
class ShownEpisode:
    """An episode whose every row has its frame."""

    row: EpisodeRow
    table: pa.Table
    """Its rows, in order."""
    video: SourceVideo
    """Just its frames."""
    frames: Int64[np.ndarray, " rows"]
    """Places of these frames in the whole file."""
    origin: str
    """The file's path in the data set."""


@runtime_checkable
class EpisodeReader(Protocol):
    """Makes clips of episodes."""

    @property
    def features(self) -> Sequence[str]:
        """Return the columns that it reads."""
        ...

    def name(self, episode: EpisodeRow) -> str:
        """Name an episode, for clips and reports."""
        ...

    def game(self, episode: EpisodeRow) -> str:
        """Say which game an episode shows."""
        ...

    def make_clips(self, shown: ShownEpisode) -> list[PlannedClip]:
        """Cut an episode.

        Raises:
            ShardError: If its rows break the contract; the cause says how.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ExportReader:
    """Restores clips that were exported, each from its episode."""

    space: ActionSpace
    settings: ShardSettings

    @property
    def features(self) -> list[str]:
        """List the features to read, as `EpisodeReader` says."""
        return list(describe_features(self.space))

    def name(self, episode: EpisodeRow) -> str:
        """Name an episode's clip, as `EpisodeReader` says."""
        facts = episode.facts
        return f"episode-{episode.index:06d}" if facts is None else facts.metadata.clip_id

    def game(self, episode: EpisodeRow) -> str:
        """Name an episode's game, as `EpisodeReader` says."""
        return episode.task if episode.facts is None else episode.facts.metadata.game

    def make_clips(self, shown: ShownEpisode) -> list[PlannedClip]:
        """Restore the clip.

        Raises:
            ShardError: As `EpisodeReader` says.
        """
        facts, what = shown.row.facts, f"episode {shown.row.index}"
        if facts is None:
            raise ShardError(f"{what} was added since", cause="it is not of the export")
        self._check(facts, shown, what)
        size = self.settings.size
        actions = read_rows(
            shown.table, self.space, analogue_triggers=facts.analogue_triggers, what=what
        )
        return [
            PlannedClip.pack(
                metadata=replace(facts.metadata, width=size, height=size),
                actions=actions,
                video=shown.video,
                is_squashed=True,
            )
        ]

    def _check(self, facts: EpisodeClip, shown: ShownEpisode, what: str) -> None:
        metadata = facts.metadata
        expected = (metadata.num_frames, metadata.action_space, frame_rate(metadata.fps))
        got = (len(shown.video), self.space.name, frame_rate(shown.video.fps))
        if got != expected:
            raise ShardError(
                f"{what} was a clip of (rows, action space, fps)={expected}, and is one of {got}",
                cause="it has been changed",
            )


@dataclass(frozen=True, kw_only=True)
class MappedReader:
    """Cuts episodes of any data set, whose numbers are controls by name."""

    actions: ActionMap
    source: str
    only_game: str | None
    """The episode's task if None."""
    licence: str
    settings: ShardSettings

    @property
    def features(self) -> list[str]:
        """List the features to read, as `EpisodeReader` says."""
        return self.actions.features

    def name(self, episode: EpisodeRow) -> str:
        """Name an episode's clip, as `EpisodeReader` says."""
        return f"{self.source}-episode-{episode.index:06d}"

    def game(self, episode: EpisodeRow) -> str:
        """Name an episode's game, as `EpisodeReader` says."""
        return self.only_game or episode.task

    def make_clips(self, shown: ShownEpisode) -> list[PlannedClip]:
        """Cut the episode evenly.

        Raises:
            ShardError: As `EpisodeReader` says, or if no game is known.
        """
        name = self.name(shown.row)
        if not self.game(shown.row):
            raise ShardError(
                f"episode {shown.row.index} has no task, in meta/episodes or by its task_index in "
                "meta/tasks.parquet; say by --game which game it shows",
                cause="it has no task",
            )
        stretch = Stretch(
            name=name,
            original_id=f"{self.source}/{shown.origin}",
            source=self.source,
            game=self.game(shown.row),
            session_id=name,
            video=shown.video,
            frames=shown.frames,
            actions=self.actions.read_actions(shown.table, what=f"episode {shown.row.index}"),
            action_space=self.actions.space.name,
            licence=self.licence,
        )
        return cut_stretch(stretch, self.settings)
