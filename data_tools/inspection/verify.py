"""Check whole data sets: what they promise, and what looks like a mistake.

manifests ─► splits, shards, rates ─► each clip, in worker processes ─► games and sessions

Shards, splits and what several data sets share are checked first. Play that is in both splits,
under whatever names, is a suspicion and no fault: a data set promises that sessions are not
divided, and two black screens are the same without being one play.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from data_tools.ingest.tar_index import is_indexed
from data_tools.inspection.clip_checks import CheckedClip, Play, examine_clip, find_suspicions
from nitrogen_train.actions.space import SAME_RATE
from nitrogen_train.data.clip_record import SHARD_END
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import Manifest, ManifestRow
from nitrogen_train.data.schema import ShardError, find_respelt, quote
from nitrogen_train.runtime.atomic_files import describe_error, write_atomically
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import pluralize, track

# Other writers of tars fill up to this size with zeros.
_TAR_RECORD_BYTES = 10_240

# Fewer changes of input may be the same by chance: an idle clip is like any other.
_FEWEST_CHANGES = 8


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A line of the doctor's report."""

    level: Literal["fault", "suspicion"]
    """A fault breaks what a data set promises. A suspicion is for a person to look at."""
    dataset: str
    """Whose it is; empty if several data sets are concerned."""
    text: str
    """Text of the finding: what was expected, what was found, and what to do."""


def write_findings(path: Path, *, datasets: Sequence[Path], findings: Sequence[Finding]) -> None:
    """Write the report as JSON."""
    values = {
        "datasets": [str(dataset) for dataset in datasets],
        "findings": [asdict(finding) for finding in findings],
    }
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def summarize(findings: Sequence[Finding]) -> str:
    """Count the findings in a few words."""
    counts = {
        level: sum(finding.level == level for finding in findings)
        for level in ("fault", "suspicion")
    }
    words = [pluralize(count, level) for level, count in counts.items() if count]
    return ", ".join(words if counts["fault"] else ["sound", *words])


def check_splits(manifest: Manifest) -> Iterator[str]:
    """Find sessions that are in both splits of a data set."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows():
        splits[row.session_id].add(row.split)
    for session_id, names in splits.items():
        if len(names) > 1:
            yield (
                f"session {session_id} is in {' and '.join(sorted(names))}: a policy would be "
                "measured on what it learned from; give the session one split"
            )


def check_splits_together(datasets: Sequence[Dataset]) -> Iterator[str]:
    """Find sessions that one data set trains on and another one validates on."""
    places: dict[tuple[str, str], dict[str, Dataset]] = defaultdict(dict)
    for dataset in datasets:
        for row in dataset.manifest.rows():
            places[row.game, row.session_id].setdefault(row.split, dataset)
    for (game, session_id), splits in places.items():
        if len(set(splits.values())) > 1:
            where = " and ".join(f"{split} in {splits[split]}" for split in sorted(splits))
            yield (
                f"session {session_id} of {game} is {where}: a policy would be measured on what "
                "it learned from; give the session one split, or another name if it is another one"
            )


def check_frame_rates(datasets: Sequence[Dataset]) -> Iterator[str]:
    """Find games that come at several frame rates."""
    rates: dict[str, dict[float, str]] = defaultdict(dict)
    for dataset in datasets:
        for row in dataset.manifest.rows():
            rates[row.game].setdefault(row.fps, f"clip {row.clip_id} of {dataset}")
    for game, examples in sorted(rates.items()):
        if max(examples) > SAME_RATE * min(examples):
            found = ", ".join(f"{fps:.4g} ({where})" for fps, where in sorted(examples.items()))
            yield (
                f"{game} has rows at several rates per second: {found}; if one is a mistake, shard "
                "again, else train with action_hz or permit it"
            )


def check_game_names(datasets: Sequence[Dataset]) -> Iterator[str]:
    """Find a game under several names."""
    games = [game for each in datasets for game in each.manifest.table["game"].unique().to_pylist()]
    for names in find_respelt(games):
        yield (
            f"{quote(names)} differ in their spelling alone, and are learned as different games; "
            "if they are one, make the data set again with one name"
        )


def check_shards(dataset_dir: Path, manifest: Manifest) -> Iterator[str]:
    """Check that each shard is its records, one after the other, and a tar's end mark."""
    shards: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in manifest.rows():
        shards[row.shard].append(row)
    for path in sorted(dataset_dir.glob("*.tar")):
        if path.name not in shards:
            yield f"{path} is not in the manifest; remove it, or shard again"
    for name, rows in shards.items():
        path = dataset_dir / name
        if not path.is_file():
            yield f"{path} is missing; copy it again or shard again"
            continue
        end = 0
        for row in sorted(rows, key=lambda row: row.offset):
            if row.offset != end:
                yield (
                    f"clip {row.clip_id} is at byte {row.offset} of {name}, expected {end}; "
                    "shard again"
                )
            end = row.offset + row.size
        try:
            with path.open("rb") as file:
                file.seek(end)
                tail = file.read(_TAR_RECORD_BYTES + 1)
        except OSError as error:
            yield f"a shard cannot be read: {describe_error(error)}"
            continue
        if len(tail) not in range(len(SHARD_END), _TAR_RECORD_BYTES + 1) or any(tail):
            yield f"{path} does not end after its last record; copy it again or shard again"


class SharedPlay:
    """Remembers what was in which split: a few bytes per clip."""

    def __init__(self) -> None:
        self._videos: dict[int, tuple[str, str]] = {}
        self._actions: dict[int, tuple[str, str]] = {}

    def look_at(self, dataset: str, row: ManifestRow, facts: CheckedClip) -> Iterator[str]:
        """Compare a clip with those before it.

        Args:
            dataset: Whose clip it is.
            row: The clip.
            facts: What it holds.
        """
        name = f"{row.clip_id} of {dataset}"
        clip = f"clip {row.clip_id} ({row.split})"
        other = _find(self._videos, facts.video_hash, row.split, name)
        if other is not None:
            yield (
                f"{clip} has the picture of {other}, byte by byte: a policy would be measured on "
                "what it learned from; remove one of them"
            )
            return
        if facts.controls.num_changes < _FEWEST_CHANGES:
            return
        other = _find(self._actions, facts.actions_hash, row.split, name)
        if other is not None:
            yield (
                f"{clip} has the actions of {other}, row by row; look at both: if they are the "
                "same play, remove one of them"
            )


def _find(known: dict[int, tuple[str, str]], digest: str, split: str, name: str) -> str | None:
    """Name the clip of the other split with this hash, if there is one."""
    first_split, first_name = known.setdefault(int(digest[:16], 16), (split, name))
    return f"{first_name} ({first_split})" if first_split != split else None


def verify_datasets(dataset_dirs: Sequence[Path], *, workers: int) -> list[Finding]:
    """Check data sets, each by itself and all together.

    Args:
        dataset_dirs: Their folders; a run would train on all of them.
        workers: Processes.

    Returns:
        Faults and suspicions, each with what to do; empty if there is none.
    """
    findings: list[Finding] = []
    datasets: list[Dataset] = []
    for dataset in map(Dataset, dataset_dirs):
        try:
            dataset.manifest  # noqa: B018 - reads it
            datasets.append(dataset)
        except (ShardError, OSError) as error:
            findings.append(
                _fault(dataset, f"{describe_error(error)}; nothing else can be checked")
            )
    findings += [
        Finding(level="fault", dataset="", text=text) for text in check_splits_together(datasets)
    ]
    findings += [
        Finding(level="suspicion", dataset="", text=text)
        for check in (check_frame_rates, check_game_names)
        for text in check(datasets)
    ]
    shared = SharedPlay()
    for dataset in datasets:
        folder = Path(str(dataset))
        findings += [_fault(dataset, text) for text in check_splits(dataset.manifest)]
        is_foreign = is_indexed(folder)
        if not is_foreign:
            findings += [_fault(dataset, text) for text in check_shards(folder, dataset.manifest)]
        findings += _check_clips(dataset, shared, is_foreign=is_foreign, workers=workers)
    return findings


def _check_clips(
    dataset: Dataset, shared: SharedPlay, *, is_foreign: bool, workers: int
) -> Iterator[Finding]:
    rows = dataset.manifest.rows()
    exams = map_in_order(
        partial(examine_clip, dataset, is_foreign=is_foreign), rows, workers=workers
    )
    sessions: dict[str, dict[str, Play]] = defaultdict(dict)
    for row, exam in zip(
        rows, track(exams, label="verify", unit="clip", total=len(rows)), strict=True
    ):
        yield from (_fault(dataset, text) for text in exam.faults)
        if exam.facts is None:
            continue
        for text in shared.look_at(str(dataset), row, exam.facts):
            yield Finding(level="suspicion", dataset=str(dataset), text=text)
        play, known = Play.of_clip(exam.facts, row.fps), sessions[row.game]
        known[row.session_id] = known[row.session_id] + play if row.session_id in known else play
    for text in find_suspicions(sessions, dataset.manifest.action_space):
        yield Finding(level="suspicion", dataset=str(dataset), text=text)


def _fault(dataset: Dataset, text: str) -> Finding:
    return Finding(level="fault", dataset=str(dataset), text=text)
