"""Episodes whose rows and frames are found to clips: of our own exports, and of anybody else's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from data_tools.lerobot.action_map import ActionMap
from data_tools.lerobot.clip_facts import ClipFacts
from data_tools.lerobot.dataset import EpisodeRow
from data_tools.lerobot.rows import describe_features, read_rows
from data_tools.shards.cutting import Stretch, cut_stretch
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import PlannedClip
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionSpace
from nitrogen_train.data.encode import frame_rate
from nitrogen_train.data.schema import ShardError


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
        """The columns that it reads."""
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
        """As `EpisodeReader` says."""
        return list(describe_features(self.space))

    def name(self, episode: EpisodeRow) -> str:
        """As `EpisodeReader` says."""
        facts = episode.facts
        return f"episode-{episode.index:06d}" if facts is None else facts.metadata.clip_id

    def game(self, episode: EpisodeRow) -> str:
        """As `EpisodeReader` says."""
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

    def _check(self, facts: ClipFacts, shown: ShownEpisode, what: str) -> None:
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
        """As `EpisodeReader` says."""
        return self.actions.features

    def name(self, episode: EpisodeRow) -> str:
        """As `EpisodeReader` says."""
        return f"{self.source}-episode-{episode.index:06d}"

    def game(self, episode: EpisodeRow) -> str:
        """As `EpisodeReader` says."""
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
