"""Recordings to a data set: shards of clips, and their manifest.

    recordings ─► plan: all is checked, clips cut, splits chosen ─► clips: decode, squash, encode
      ─► shard-NNNNNN.tar, one after the other ─► manifest.parquet, which makes it a data set

What a run has finished a next one keeps: a shard that has its name is whole. Until the manifest is
written, `.progress` holds the plan's digest and the rows of the finished shards.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from data_tools.recordings.recording import find_recordings
from data_tools.shards.clip_video import encode_stretch
from data_tools.shards.plan import Plan, PlannedClip, ShardSettings, make_plan
from data_tools.workers import map_in_order
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    read_manifest_table,
    write_manifest,
)
from nitrogen_train.data.manifest_row import ManifestRow, describe_record
from nitrogen_train.data.records import SHARD_END, Record, encode_record
from nitrogen_train.data.schema import ShardError

EncodedClip = tuple[bytes, ManifestRow]
"""A record and its row, whose place in a shard is still open."""


def shard_recordings(
    folders: list[Path], *, out_dir: Path, settings: ShardSettings, workers: int
) -> Manifest:
    """Make a data set of recordings, or finish one.

    Args:
        folders: Where the recordings lie.
        out_dir: The data set's folder.
        settings: How to cut and store.
        workers: Processes.

    Raises:
        FileNotFoundError: If a folder or a file of a recording is missing.
        ShardError: If a recording breaks the contract, or `out_dir` holds another data set.
    """
    plan = make_plan(find_recordings(folders), settings, workers=workers)
    progress_dir = out_dir / ".progress"
    if not (out_dir / MANIFEST_NAME).exists():
        _claim(out_dir, progress_dir, plan)
        rows = _write_shards(out_dir, progress_dir, plan, workers=workers)
        write_manifest(out_dir, rows, metadata={"plan": plan.digest})
    elif (read_manifest_table(out_dir).schema.metadata or {}).get(b"plan") != plan.digest.encode():
        raise ShardError(
            f"{out_dir} is a data set of other recordings or settings; "
            "choose another --out, or remove it"
        )
    shutil.rmtree(progress_dir, ignore_errors=True)
    return read_manifest(out_dir)


def encode_clip(clip: PlannedClip) -> EncodedClip:
    """Decode a clip's stretch of its recording, and store it as a record."""
    metadata = clip.metadata
    video = encode_stretch(
        clip.video,
        fps=metadata.fps,
        size=metadata.width,
        masked_boxes=metadata.masked_boxes,
        area=metadata.area,
    )
    record = Record(metadata=metadata, actions=clip.actions, video=video)
    data = encode_record(record)
    return data, describe_record(record, data, shard="", offset=0, split=clip.split)


def _claim(out_dir: Path, progress_dir: Path, plan: Plan) -> None:
    """Take the folder for this plan, or find that an interrupted run of it has.

    Raises:
        ShardError: If it holds something else.
    """
    plan_path = progress_dir / "plan"
    if plan_path.exists():
        if plan_path.read_text() != plan.digest:
            raise ShardError(
                f"{out_dir} holds an unfinished data set of other recordings or settings; "
                "choose another --out, or remove it"
            )
    elif any(out_dir.glob("*.tar")):
        raise ShardError(f"{out_dir} holds tars of unknown origin; choose another --out")
    else:
        with write_atomically(plan_path) as path:
            path.write_text(plan.digest)


def _write_shards(
    out_dir: Path, progress_dir: Path, plan: Plan, *, workers: int
) -> list[ManifestRow]:
    names = [f"shard-{number:06d}.tar" for number in range(len(plan.shards))]
    todo = {
        name: clips
        for name, clips in zip(names, plan.shards, strict=True)
        if not (out_dir / name).exists()
    }
    clips = [clip for shard in todo.values() for clip in shard]
    # One stream of clips through all shards: no worker waits for a shard's end.
    encoded = map_in_order(encode_clip, clips, workers=workers)
    with contextlib.closing(encoded), tqdm(total=len(clips), desc="shard", unit="clip") as progress:
        for name, shard in todo.items():
            _write_shard(out_dir / name, progress_dir, islice(encoded, len(shard)))
            progress.update(len(shard))
    return [
        ManifestRow(**values)
        for name in names
        for values in json.loads(_rows_path(progress_dir, name).read_bytes())
    ]


def _write_shard(path: Path, progress_dir: Path, clips: Iterator[EncodedClip]) -> None:
    rows: list[ManifestRow] = []
    with write_atomically(path) as temporary:
        with temporary.open("wb") as file:
            for data, row in clips:
                rows.append(replace(row, shard=path.name, offset=file.tell()))
                file.write(data)
            file.write(SHARD_END)
        # Before the shard has its name: from then on it is never opened again.
        with write_atomically(_rows_path(progress_dir, path.name)) as rows_path:
            rows_path.write_text(json.dumps([asdict(row) for row in rows]))


def _rows_path(progress_dir: Path, shard: str) -> Path:
    return progress_dir / f"{shard}.json"
