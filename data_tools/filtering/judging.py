"""All clips judged, one file of verdicts per shard, so that an interrupted run goes on."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_tools.filtering.picture_rules import are_same
from data_tools.filtering.settings import COPY, FilterSettings
from data_tools.filtering.verdict import Verdict, judge_clip
from data_tools.workers import map_in_order
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.manifest_row import ManifestRow
from nitrogen_train.progress import Progress

Shards = Mapping[str, Sequence[ManifestRow]]
"""The rows of each shard, by its name."""


def judge_shards(
    dataset_dir: Path, shards: Shards, *, settings: FilterSettings, folder: Path, workers: int
) -> None:
    """Judge the clips of all shards that have no file of verdicts yet.

    Args:
        dataset_dir: Where the shards lie.
        shards: What is in them.
        settings: The rules.
        folder: Where the verdicts go, of just this data set and these rules.
        workers: Processes.

    Raises:
        ShardError: If a shard is missing.
    """
    todo = {name: rows for name, rows in shards.items() if not _path(folder, name).exists()}
    rows = [row for shard in todo.values() for row in shard]
    verdicts = map_in_order(partial(judge_clip, dataset_dir, settings), rows, workers=workers)
    with (
        contextlib.closing(verdicts),
        Progress(total=len(rows), label="judge", unit="clip") as progress,
    ):
        judged = progress.count(verdicts)
        for name, shard in todo.items():
            found = [asdict(verdict) for verdict in islice(judged, len(shard))]
            with write_atomically(_path(folder, name)) as path:
                path.write_text(json.dumps(found))


def iter_verdicts(
    shards: Shards, *, settings: FilterSettings, folder: Path
) -> Iterator[tuple[ManifestRow, Verdict]]:
    """Read the verdicts, and drop copies: of clips that are the same, the first is kept.

    Only clips whose actions come more than once are held in memory.
    """
    repeated = _find_repeated(shards, folder) if COPY in settings.on else set()
    kept: dict[int, list[tuple[Verdict, UInt8[np.ndarray, " k"]]]] = {}
    for row, verdict in _read(shards, folder):
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


def _find_repeated(shards: Shards, folder: Path) -> set[int]:
    seen: set[int] = set()
    repeated: set[int] = set()
    for _, verdict in _read(shards, folder):
        if verdict.rule is None:
            key = _key(verdict)
            (repeated if key in seen else seen).add(key)
    return repeated


def _key(verdict: Verdict) -> int:
    return int(verdict.actions_hash[:16] or "0", 16)


def _read(shards: Shards, folder: Path) -> Iterator[tuple[ManifestRow, Verdict]]:
    for name, rows in shards.items():
        values = json.loads(_path(folder, name).read_bytes())
        yield from zip(rows, (Verdict(**value) for value in values), strict=True)


def _path(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.json"
