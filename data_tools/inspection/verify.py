"""The doctor: all that data sets promise, and what looks like a mistake.

manifests ─► splits, shards, rates ─► each clip, in worker processes ─► games and sessions
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from data_tools.foreign.index import is_indexed
from data_tools.inspection.clip_checks import examine_clip
from data_tools.inspection.finding import Finding
from data_tools.inspection.set_checks import (
    check_frame_rates,
    check_game_names,
    check_shards,
    check_splits,
    check_splits_together,
)
from data_tools.inspection.shared_play import SharedPlay
from data_tools.inspection.suspicions import Play, find_suspicions
from data_tools.workers import map_in_order
from nitrogen_train.data.files import describe_error
from nitrogen_train.data.manifest import Manifest, read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.progress import track


def verify_dataset(dataset_dir: Path, *, workers: int) -> list[str]:
    """Check one data set for faults alone.

    Args:
        dataset_dir: The data set's folder.
        workers: Processes.

    Returns:
        A line for each fault, which says what to do; empty if there is none.
    """
    findings = verify_datasets([dataset_dir], workers=workers)
    return [finding.text for finding in findings if finding.level == "fault"]


def verify_datasets(dataset_dirs: Sequence[Path], *, workers: int) -> list[Finding]:
    """Check data sets, each by itself and all together.

    Args:
        dataset_dirs: Their folders; a run would train on all of them.
        workers: Processes.

    Returns:
        Faults and suspicions, each with what to do; empty if there is none.
    """
    findings: list[Finding] = []
    manifests: dict[Path, Manifest] = {}
    for dataset in dataset_dirs:
        try:
            manifests[dataset] = read_manifest(dataset)
        except (ShardError, OSError) as error:
            findings.append(
                _fault(dataset, f"{describe_error(error)}; nothing else can be checked")
            )
    findings += [
        Finding(level="fault", dataset="", text=text) for text in check_splits_together(manifests)
    ]
    findings += [
        Finding(level="suspicion", dataset="", text=text) for text in check_frame_rates(manifests)
    ]
    findings += [
        Finding(level="suspicion", dataset="", text=text) for text in check_game_names(manifests)
    ]
    shared = SharedPlay()
    for dataset, manifest in manifests.items():
        findings += [_fault(dataset, text) for text in check_splits(manifest)]
        if not is_indexed(dataset):
            findings += [_fault(dataset, text) for text in check_shards(dataset, manifest)]
        findings += _check_clips(dataset, manifest, shared, workers=workers)
    return findings


def _check_clips(
    dataset: Path, manifest: Manifest, shared: SharedPlay, *, workers: int
) -> Iterator[Finding]:
    rows = manifest.rows()
    exams = map_in_order(
        partial(examine_clip, dataset, is_foreign=is_indexed(dataset)), rows, workers=workers
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
    for text in find_suspicions(sessions, manifest.action_space):
        yield Finding(level="suspicion", dataset=str(dataset), text=text)


def _fault(dataset: Path, text: str) -> Finding:
    return Finding(level="fault", dataset=str(dataset), text=text)
