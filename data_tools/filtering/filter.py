"""A data set to a smaller one, whose records are the same bytes.

manifest ─► judge each clip (worker processes) ─► drop copies ─► copy the kept records
"""

import contextlib
import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from data_tools.filtering.judging import Shards, iter_verdicts, judge_shards
from data_tools.filtering.settings import COPY, DAMAGED, FilterSettings
from data_tools.shards.encode_clip import EncodedClip
from data_tools.shards.part import ALL, Part
from data_tools.shards.plan import Plan
from data_tools.shards.planned import Dropped
from data_tools.shards.report import DatasetReport, make_report
from data_tools.shards.write import read_finished, write_plan
from nitrogen_train.data.files import check_folder
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.data.records import read_record
from nitrogen_train.data.schema import SPLITS
from nitrogen_train.data.storage import Storage

_JUDGED = ".judged"


def filter_dataset(
    dataset_dir: Path,
    *,
    out_dir: Path | None,
    settings: FilterSettings,
    clips_per_shard: int = 64,
    part: Part = ALL,
    workers: int,
) -> DatasetReport:
    """Copy the clips that break no rule to a new data set, or finish one.

    Args:
        dataset_dir: Where the clips are.
        out_dir: The new data set's folder; None: only say what would be kept.
        settings: The rules.
        clips_per_shard: Of the new data set.
        part: Which of the shards are this process's; all of them.
        workers: Processes.

    Returns:
        What was kept and dropped; a clip's reason is the rule that it breaks.

    Raises:
        FileNotFoundError: If there is no data set.
        ShardError: If it breaks the contract, `out_dir` holds another data set, or no clip is left.
        ValueError: If copies are to be found by a process that sees only a part.
    """
    _check(out_dir, settings, clips_per_shard=clips_per_shard, part=part)
    if out_dir is not None:
        check_folder(out_dir)
    manifest = read_manifest(dataset_dir)
    shards = _take_shards(manifest.rows(), part)
    facts = [manifest.hash, asdict(settings), clips_per_shard, part.count]
    asked = json.loads(json.dumps(asdict(settings) | {"clips_per_shard": clips_per_shard}))
    settings_digest = _digest(facts)
    digest = _digest([*facts, part.index])
    if out_dir is not None:
        finished = read_finished(
            out_dir, is_ours=lambda made, _: made == digest, part=part, settings=asked
        )
        if finished is not None:
            shutil.rmtree(out_dir / _JUDGED, ignore_errors=True)
            return finished
    with _verdict_folder(out_dir, digest) as folder:
        judge_shards(dataset_dir, shards, settings=settings, folder=folder, workers=workers)
        kept, dropped = _divide(shards, settings=settings, folder=folder)
    if out_dir is None:
        return make_report(kept, dropped)
    plan = Plan(
        digest=digest,
        settings_digest=settings_digest,
        part=part,
        shards=_lay_out(kept, clips_per_shard),
        dropped=dropped,
        settings=asked,
    )
    copy = partial(copy_record, dataset_dir)
    report = write_plan(plan, encode=copy, out_dir=out_dir, workers=workers)
    _clear_verdicts(out_dir, digest, part)
    return report


def copy_record(dataset_dir: Path, row: ManifestRow) -> EncodedClip:
    """Read a record's bytes as they are, and its row.

    Raises:
        ShardError: If they are not what the manifest says.
    """
    data = read_record(
        Storage(str(dataset_dir)),
        row.shard,
        offset=row.offset,
        size=row.size,
        sha256=row.sha256,
        decode=bytes,
    )
    return data, row


def _check(
    out_dir: Path | None, settings: FilterSettings, *, clips_per_shard: int, part: Part
) -> None:
    if clips_per_shard < 1:
        raise ValueError(f"clips-per-shard must be at least 1, got {clips_per_shard}")
    if part.count > 1 and COPY in settings.on:
        raise ValueError(
            "copies are found among all clips, not in a part: give --off copy with --part, and "
            "after `merge` filter the result once more, with all rules off but copy"
        )
    if part.count > 1 and out_dir is None:
        raise ValueError("a dry run is not made in parts; leave --part out")


def _take_shards(rows: list[ManifestRow], part: Part) -> Shards:
    shards: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        shards[row.shard].append(row)
    return {name: shards[name] for name in part.take(sorted(shards))}


@contextlib.contextmanager
def _verdict_folder(out_dir: Path | None, digest: str) -> Iterator[Path]:
    if out_dir is not None:
        yield out_dir / _JUDGED / digest[:16]
        return
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _clear_verdicts(out_dir: Path, digest: str, part: Part) -> None:
    if part.count == 1:
        # With what was left of tries with other rules.
        shutil.rmtree(out_dir / _JUDGED)
        return
    shutil.rmtree(out_dir / _JUDGED / digest[:16], ignore_errors=True)
    with contextlib.suppress(OSError):
        # Not while another part needs it.
        (out_dir / _JUDGED).rmdir()


def _divide(
    shards: Shards, *, settings: FilterSettings, folder: Path
) -> tuple[list[ManifestRow], list[Dropped]]:
    kept: list[ManifestRow] = []
    dropped: list[Dropped] = []
    for row, verdict in iter_verdicts(shards, settings=settings, folder=folder):
        if verdict.rule is None:
            kept.append(row)
            continue
        dropped.append(
            Dropped(
                name=row.clip_id,
                game=row.game,
                seconds=row.num_frames / row.fps,
                reason=verdict.rule,
                detail=verdict.detail,
                is_fault=verdict.rule == DAMAGED,
            )
        )
    return kept, dropped


def _lay_out(rows: list[ManifestRow], per_shard: int) -> list[list[ManifestRow]]:
    splits = ([row for row in rows if row.split == split] for split in SPLITS)
    return [
        # No shard mixes splits: who trains reads training shards whole.
        clips[first : first + per_shard]
        for clips in splits
        for first in range(0, len(clips), per_shard)
    ]


def _digest(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
