"""Plan what will be written where, and check every input before anything is written.

    recordings, settings ─► checked ─► clips by split ─► shards ─► the part of this process

Several processes, on any machines, may make one data set together: each writes one part of the
plan.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, TypeVar

from data_tools.shards.drop_report import add_notes
from data_tools.shards.planned_clips import Dropped, PlannedClip, PlannedUnit
from nitrogen_train.data.schema import MAX_CLIP_SECONDS, SCHEMA_VERSION, ShardError, Split
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track

Unit = TypeVar("Unit")


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


Clip = TypeVar("Clip")


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
    settings_digest = hash_facts(SCHEMA_VERSION, asdict(settings), part.count, sorted(heldout))
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
        settings=asdict(settings),
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


def hash_facts(*facts: object) -> str:
    """Hash what JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
