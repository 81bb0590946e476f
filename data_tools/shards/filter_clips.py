"""Copy the clips of a data set that are worth learning from, as the same bytes.

manifest ─► judge each clip (worker processes) ─► drop copies ─► copy the kept records

Verdicts are kept in a ledger, so that an interrupted run continues. The report counts, game by
game, what each rule has dropped.
"""

import contextlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import UInt8

from data_tools.shards.clip_rules import Verdict, are_same, judge_clip
from data_tools.shards.drop_report import Dropped, DropReport, format_length, make_report
from data_tools.shards.filter_settings import COPY, DAMAGED, FilterSettings
from data_tools.shards.shard_plan import ALL, Part, Plan, hash_facts
from data_tools.shards.shard_writer import StoredClip, read_finished, write_plan
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow
from nitrogen_train.data.schema import SPLITS
from nitrogen_train.runtime.atomic_files import check_folder
from nitrogen_train.runtime.ledger import Ledger
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress, format_table

_LINES_AT_ONCE = 64
"""Verdicts that wait for the disk once."""

_JUDGED = ".judged"


def judge_clips(
    dataset: Dataset,
    rows: Sequence[ManifestRow],
    *,
    settings: FilterSettings,
    ledger: Ledger[Verdict],
    workers: int,
) -> None:
    """Judge the clips that have no verdict yet.

    Args:
        dataset: Where the shards lie.
        rows: The clips.
        settings: The rules.
        ledger: Where the verdicts go, in the order of the clips.
        workers: Processes.

    Raises:
        ShardError: If a shard is missing.
    """
    known = {verdict.clip_id for verdict in ledger}
    todo = [row for row in rows if row.clip_id not in known]
    verdicts = map_in_order(partial(judge_clip, dataset, settings), todo, workers=workers)
    with (
        contextlib.closing(verdicts),
        Progress(total=len(todo), label="judge", unit="clip") as progress,
    ):
        judged = progress.count(verdicts)
        while found := list(islice(judged, _LINES_AT_ONCE)):
            ledger.add(*found)


def iter_verdicts(
    rows: Sequence[ManifestRow], *, settings: FilterSettings, ledger: Ledger[Verdict]
) -> Iterator[tuple[ManifestRow, Verdict]]:
    """Read the verdicts, and drop copies: of clips that are the same, the first is kept.

    Only clips whose actions come more than once are held in memory.
    """
    repeated = _find_repeated(ledger) if COPY in settings.on else set()
    kept: dict[int, list[tuple[Verdict, UInt8[np.ndarray, " k"]]]] = {}
    for row, verdict in _read(rows, ledger):
        key = _key(verdict)
        if verdict.rule is not None or key not in repeated:
            yield row, verdict
            continue
        look = np.frombuffer(bytes.fromhex(verdict.signature), dtype=np.uint8)
        others = kept.setdefault(key, [])
        original = next((v for v, known in others if are_same(look, known, settings)), None)
        if original is None:
            others.append((verdict, look))
            yield row, verdict
            continue
        what = "bytes" if original.video_hash == verdict.video_hash else "looks"
        detail = f"has the actions and the {what} of {original.clip_id}"
        yield row, replace(verdict, rule=COPY, detail=detail)


def _read(
    rows: Sequence[ManifestRow], ledger: Ledger[Verdict]
) -> Iterator[tuple[ManifestRow, Verdict]]:
    # Two processes that judge the same clips have each written a line.
    left = {row.clip_id: row for row in rows}
    for verdict in ledger:
        if (row := left.pop(verdict.clip_id, None)) is not None:
            yield row, verdict


def _find_repeated(ledger: Ledger[Verdict]) -> set[int]:
    seen: set[int] = set()
    repeated: set[int] = set()
    for verdict in ledger:
        if verdict.rule is None:
            key = _key(verdict)
            (repeated if key in seen else seen).add(key)
    return repeated


def _key(verdict: Verdict) -> int:
    return int(verdict.actions_hash[:16] or "0", 16)


def filter_dataset(
    dataset: Dataset,
    *,
    out_dir: Path | None,
    settings: FilterSettings,
    clips_per_shard: int = 64,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Copy the clips that break no rule to a new data set, or finish one.

    Args:
        dataset: Where the clips are.
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
    manifest = dataset.manifest
    rows = _take_rows(manifest.rows(), part)
    facts = [manifest.hash, asdict(settings), clips_per_shard, part.count]
    asked = json.loads(json.dumps(asdict(settings) | {"clips_per_shard": clips_per_shard}))
    settings_digest = hash_facts(*facts)
    digest = hash_facts(*facts, part.index)
    if out_dir is not None:
        finished = read_finished(
            out_dir, is_ours=lambda made, _: made == digest, part=part, settings=asked
        )
        if finished is not None:
            shutil.rmtree(out_dir / _JUDGED, ignore_errors=True)
            return finished
    with _open_ledger(out_dir, digest) as ledger:
        judge_clips(dataset, rows, settings=settings, ledger=ledger, workers=workers)
        kept, dropped = _divide(rows, settings=settings, ledger=ledger)
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
    copy = partial(copy_record, dataset)
    report = write_plan(plan, encode=copy, out_dir=out_dir, workers=workers)
    _clear_verdicts(out_dir, digest, part)
    return report


def copy_record(dataset: Dataset, row: ManifestRow) -> StoredClip:
    """Read a record's bytes as they are, and its row.

    Raises:
        ShardError: If they are not what the manifest says.
    """
    return dataset.read_bytes(row), row


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


def _take_rows(rows: list[ManifestRow], part: Part) -> list[ManifestRow]:
    shards: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in rows:
        shards[row.shard].append(row)
    return [row for name in part.take(sorted(shards)) for row in shards[name]]


@contextlib.contextmanager
def _open_ledger(out_dir: Path | None, digest: str) -> Iterator[Ledger[Verdict]]:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) if out_dir is None else out_dir / _JUDGED / digest[:16]
        ledger = Ledger(folder / "verdicts.jsonl", Verdict, of=digest, earlier="*.tar.json")
        with ledger.hold():
            yield ledger


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
    rows: Sequence[ManifestRow], *, settings: FilterSettings, ledger: Ledger[Verdict]
) -> tuple[list[ManifestRow], list[Dropped]]:
    kept: list[ManifestRow] = []
    dropped: list[Dropped] = []
    for row, verdict in iter_verdicts(rows, settings=settings, ledger=ledger):
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


def format_rules(report: DropReport, rules: tuple[str, ...]) -> str:
    """Lay a filter's report out: a line for each game and rule that dropped some of it.

    Args:
        report: Its reasons are rules.
        rules: Those that were asked, in order.
    """
    lost: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for item in report.dropped:
        lost[item.game, item.reason].append(item.seconds)
    rows: list[tuple[str, ...]] = []
    for game in report.games:
        left = game.kept_s + game.dropped_s
        rows.append((game.game, "", "", "", format_length(left)))
        for rule in rules:
            if dropped := lost[game.game, rule]:
                seconds = math.fsum(dropped)
                left -= seconds
                lengths = (format_length(seconds), format_length(left))
                rows.append(("", rule, str(len(dropped)), *lengths))
    came_in = math.fsum(game.kept_s + game.dropped_s for game in report.games)
    kept = math.fsum(game.kept_s for game in report.games)
    head = ("game", "rule", "clips dropped", "dropped", "left")
    asked = f"rules: {', '.join(rules)}; those that dropped nothing are not shown"
    total = f"{format_length(kept)} of {format_length(came_in)} are kept"
    return f"{format_table(head, rows)}\n\n{asked}\n{total}"
