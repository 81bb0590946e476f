"""Plan what will be written where, and check every input before anything is written.

    recordings, settings ─► checked ─► clips by split ─► shards ─► the part of this process

Several processes, on any machines, may make one data set together: each writes one part of the
plan.
"""

import contextlib
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from data_tools.shards.drop_report import Dropped, add_notes
from data_tools.shards.hidden_boxes import Filling
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions import ActionRows
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import (
    MAX_CLIP_SECONDS,
    SCHEMA_VERSION,
    ClipMetadata,
    ShardError,
    Split,
)
from nitrogen_train.runtime.atomic_files import describe_error, hash_file
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track

Unit = TypeVar("Unit")
Clip = TypeVar("Clip")

_TRIGGERS = ("left_trigger_value", "right_trigger_value")


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """A clip that is known but for its video."""

    metadata: ClipMetadata
    split: Split = "train"
    is_squashed: bool = False
    """True if the video shows what `masked_boxes` and `area` leave of the original, not all."""
    filling: Filling = "black"
    """What is put where `masked_boxes` are."""
    _video: SourceVideo = field(repr=False)
    """Without its times."""
    _packed: bytes = field(repr=False)
    """Rows and times, a tenth of their size: a plan may hold a hundred thousand clips."""

    @classmethod
    def pack(
        cls,
        *,
        metadata: ClipMetadata,
        actions: ClipActions,
        video: SourceVideo,
        is_squashed: bool = False,
        filling: Filling = "black",
    ) -> "PlannedClip":
        """Make one of its rows and just its frames."""
        arrays: dict[str, Any] = {
            "buttons": np.packbits(actions.rows.buttons, axis=0),
            "sticks": actions.rows.sticks,
            "valid": np.packbits(actions.valid),
            # Most differences are alike.
            "ticks": np.diff(video.ticks, prepend=0),
        }
        for name in _TRIGGERS:
            if (values := getattr(actions, name)) is not None:
                arrays[name] = values
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return cls(
            metadata=metadata,
            is_squashed=is_squashed,
            filling=filling,
            _video=replace(video, ticks=np.zeros(0, np.int64)),
            _packed=buffer.getvalue(),
        )

    @property
    def actions(self) -> ClipActions:
        """Return one row per frame."""
        num_rows = self.metadata.num_frames
        with np.load(io.BytesIO(self._packed)) as arrays:
            buttons = np.unpackbits(arrays["buttons"], axis=0, count=num_rows)
            return ClipActions(
                rows=ActionRows(buttons=buttons.astype(bool), sticks=arrays["sticks"]),
                valid=np.unpackbits(arrays["valid"], count=num_rows).astype(bool),
                **{name: arrays[name] for name in _TRIGGERS if name in arrays},
            )

    @property
    def video(self) -> SourceVideo:
        """Return just the clip's frames."""
        with np.load(io.BytesIO(self._packed)) as arrays:
            return replace(self._video, ticks=np.cumsum(arrays["ticks"]))


@dataclass(frozen=True, kw_only=True)
class PlannedUnit:
    """One recording, published video or episode, whose files have been read and agree."""

    digest: str
    """Digest of all that the unit's clips depend on."""
    clips: Sequence[PlannedClip]
    dropped: Sequence[Dropped] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    """Changes and losses in rows that were kept, in a few words, with how often each happened."""
    earlier_digests: tuple[str, ...] = ()
    """Digests that earlier versions gave a unit that cannot be used, from its error's words."""

    @classmethod
    def unusable(
        cls, dropped: Dropped, error: Exception, *, video_path: Path, small_paths: Sequence[Path]
    ) -> "PlannedUnit":
        """Make one without clips, which stays the same however its error is worded.

        Args:
            dropped: What is reported.
            error: Why.
            video_path: Only its size counts.
            small_paths: Of its other files, whose contents count.
        """
        digest = hashlib.sha256(f"unusable {dropped.name}\n".encode())
        for path in (video_path, *small_paths):
            # What is missing, or may not be read, has neither size nor contents.
            with contextlib.suppress(OSError):
                digest.update(f"{path.stat().st_size if path.is_file() else -1}\n".encode())
                # A named pipe would be read for ever.
                if path in small_paths and path.is_file():
                    digest.update(hash_file(path))
        return cls(
            digest=digest.hexdigest(),
            clips=[],
            dropped=[dropped],
            earlier_digests=tuple(
                f"{dropped.name}: {words}" for words in (error, describe_error(error))
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """The share of the units that one process takes."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= 10_000:
            raise ValueError(
                "a part is I/N with I from 0 to N-1 and N up to 10000, got "
                f"{self.index}/{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `I/N`.

        Raises:
            ValueError: If it is not that.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(f"a part is written I/N, such as 0/16, got {text!r}")
        return cls(index=int(index), count=int(count))

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Choose this part's units."""
        return units[self.index :: self.count]

    @property
    def name(self) -> str:
        """Return the name that sorts the parts' files; empty if there is only one part."""
        return f"part-{self.index:05d}-of-{self.count:05d}" if self.count > 1 else ""

    def shard_name(self, number: int) -> str:
        """Name one of this part's tars."""
        prefix = f"{self.index:05d}-" if self.count > 1 else ""
        return f"shard-{prefix}{number:06d}.tar"


ALL = Part()


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """The settings that shape a data set, besides what goes into it."""

    size: int = 256
    """Side of the stored square picture, in pixels, even."""
    clip_seconds: float = MAX_CLIP_SECONDS
    """Longest clip; a longer stretch is cut evenly."""
    heldout_share: float = 0.15
    """Share of the sessions that goes to `val`."""
    clips_per_shard: int = 64
    filling: Filling = "black"
    """What is put where boxes of the picture are hidden."""

    def __post_init__(self) -> None:
        checks = {
            f"--size must be even and from 16 to 1024, got {self.size}": (
                16 <= self.size <= 1024 and not self.size % 2
            ),
            f"--clip-seconds must lie above 0 and up to {MAX_CLIP_SECONDS}, got "
            f"{self.clip_seconds}": 0 < self.clip_seconds <= MAX_CLIP_SECONDS,
            f"--heldout-share must lie in [0, 1), got {self.heldout_share}": (
                0 <= self.heldout_share < 1
            ),
            f"--clips-per-shard must be at least 1, got {self.clips_per_shard}": (
                self.clips_per_shard >= 1
            ),
        }
        for rule, is_met in checks.items():
            if not is_met:
                raise ValueError(rule)

    def describe(self) -> dict[str, Any]:
        """List the settings by name; what data sets had before it could be chosen is left out."""
        settings = asdict(self)
        if self.filling == "black":
            del settings["filling"]
        return settings


@dataclass(frozen=True, kw_only=True)
class Plan(Generic[Clip]):
    """All clips of a part, in the order of its shards."""

    digest: str
    """Digest of the settings and of all units: the same plan makes the same shards."""
    settings_digest: str
    """Digest of the settings, which all parts share."""
    part: Part
    shards: list[list[Clip]]
    dropped: list[Dropped]
    notes: dict[str, int] = field(default_factory=dict)
    """Sums of the units'."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings by name, for a person who starts again with others; the digest decides."""
    units: list[PlannedUnit] = field(default_factory=list[PlannedUnit])
    """Units of which the digest is made, without clips."""

    def has_made(self, digest: str, dropped: Sequence[Dropped] = ()) -> bool:
        """Tell whether a digest is this plan's, also one that an earlier version wrote.

        There the words of an error stood for what cannot be used, and words change.

        Args:
            digest: Of a data set.
            dropped: What its report says was left out.
        """
        told = {item.name: f"{item.name}: {item.detail}" for item in dropped}

        def choose(unit: PlannedUnit, way: int) -> str:
            if not unit.earlier_digests:
                return unit.digest
            raw, described = unit.earlier_digests
            as_told = told.get(unit.dropped[0].name, raw)
            # An error of the system is told in other words than its own.
            return (raw, described, as_told, as_told if raw == described else raw)[way]

        return digest == self.digest or any(
            digest == _digest_units(self, [choose(unit, way) for unit in self.units])
            for way in range(4)
        )


def list_loss(video: SourceVideo, *, name: str, game: str) -> list[Dropped]:
    """List what a video that was cut off has lost at its end, for the report."""
    if video.loss is None:
        return []
    return [
        Dropped(
            name=name,
            game=game,
            seconds=video.loss.seconds,
            reason="the video is cut off" if video.is_cut_off else "the video's end is damaged",
            detail=video.loss.words,
            is_fault=False,
            is_told=True,
        )
    ]


def make_plan(
    units: Sequence[Unit],
    plan_unit: Callable[[Unit], PlannedUnit],
    *,
    heldout: set[str],
    settings: ShardSettings,
    part: Part,
    workers: int,
    dropped: Sequence[Dropped] = (),
) -> Plan[PlannedClip]:
    """Read and check a part's units, and lay its clips out in shards.

    Args:
        units: Of all parts, in an order that every part finds.
        plan_unit: Reads one, in a worker process.
        heldout: Sessions for validation, of all parts; see `choose_heldout`.
        settings: Of all parts.
        part: Which units to take.
        workers: Processes.
        dropped: What did not become units at all; the first part reports it.

    Raises:
        ShardError: If names collide, or units differ in their action space.
    """
    mine = part.take(units)
    results = map_in_order(plan_unit, mine, workers=workers)
    planned = list(track(results, label="check", unit="recording", total=len(mine)))
    clips = [clip for unit in planned for clip in unit.clips]
    _check_agreement(clips)
    splits: dict[Split, list[PlannedClip]] = {"train": [], "val": []}
    for clip in sorted(clips, key=lambda clip: (clip.metadata.game, clip.metadata.clip_id)):
        split: Split = "val" if clip.metadata.session_id in heldout else "train"
        splits[split].append(replace(clip, split=split))
    per_shard = settings.clips_per_shard
    settings_digest = hash_facts(SCHEMA_VERSION, settings.describe(), part.count, sorted(heldout))
    return Plan(
        digest=hash_facts(settings_digest, part.index, [unit.digest for unit in planned]),
        units=[replace(unit, clips=[]) for unit in planned],
        settings_digest=settings_digest,
        part=part,
        shards=[
            # No shard mixes splits: who trains reads training shards whole.
            clips[first : first + per_shard]
            for clips in splits.values()
            for first in range(0, len(clips), per_shard)
        ],
        dropped=[
            *(dropped if part.index == 0 else ()),
            *(item for unit in planned for item in unit.dropped),
        ],
        notes=add_notes(unit.notes for unit in planned),
        settings=settings.describe(),
    )


def choose_heldout(sessions: Iterable[tuple[str, str]], *, share: float) -> set[str]:
    """Choose the sessions that are kept for validation, by a hash of their ids.

    Each game with two or more sessions keeps at least one on either side, unless the share is 0.

    Args:
        sessions: (game, session id) pairs, repeats allowed.
        share: Of the sessions, in [0, 1).
    """
    by_game: dict[str, set[str]] = defaultdict(set)
    for game, session_id in sessions:
        by_game[game].add(session_id)
    heldout = {s for ids in by_game.values() for s in ids if _unit_hash(s) < share}
    for ids in by_game.values():
        if share and len(ids) > 1:
            if not ids & heldout:
                heldout.add(min(ids, key=_unit_hash))
            elif ids <= heldout:
                heldout.remove(max(ids, key=_unit_hash))
    return heldout


def hash_facts(*facts: object) -> str:
    """Hash what JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _check_agreement(clips: Sequence[PlannedClip]) -> None:
    names = [clip.metadata.clip_id for clip in clips]
    if len(set(names)) < len(names):
        twice = sorted(name for name, number in Counter(names).items() if number > 1)
        raise ShardError(f"recordings would give clips of one name: {twice[:3]}; rename them")
    spaces = sorted({clip.metadata.action_space for clip in clips})
    if len(spaces) > 1:
        raise ShardError(f"a data set holds one action space, the recordings mix {spaces}")


def _unit_hash(session_id: str) -> float:
    digest = hashlib.sha256(session_id.encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _digest_units(plan: Plan[Any], digests: list[str]) -> str:
    return hash_facts(plan.settings_digest, plan.part.index, digests)
