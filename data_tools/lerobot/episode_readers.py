"""Turn the episodes of a LeRobotDataset v3.0 into rows and clips, whoever has written them.

    features ─► `ActionMap`: which numbers are which controls of a layout of ours ─┐
    episode ───────────────────────────────────────────────────────────────────────┴─► rows ─► clips

Our own exports keep rows bit by bit and need no map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from data_tools.lerobot.layout import (
    TRIGGER_CONTROLS,
    EpisodeClip,
    describe_features,
    read_rows,
)
from data_tools.lerobot.read_lerobot import EpisodeRow, LeRobotFolder
from data_tools.shards.shard_plan import PlannedClip, ShardSettings
from data_tools.shards.shard_recordings import Stretch, cut_stretch
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.values import as_whole_number, to_booleans, to_vectors

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


def _list_names(feature: Mapping[str, Any]) -> list[str]:
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
    return feature["dtype"] not in ("video", "image", "string") and len(_list_names(feature)) == 1


def _list_numbers(folder: LeRobotFolder) -> dict[str, tuple[str, int, int]]:
    """Find what can be mapped: name to feature, its width, and the place in it."""
    known: dict[str, tuple[str, int, int]] = {}
    for key, feature in folder.features.items():
        if _is_number(feature):
            known[key] = (key, 1, 0)
    if _ACTION in folder.features:
        names = _list_names(folder.features[_ACTION])
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
