"""Everything that a data set promises, checked clip by clip."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from data_tools.workers import map_in_order
from nitrogen_train.data.action_file import idle_rows
from nitrogen_train.data.decoders.pyav_decoder import PyAVDecoder
from nitrogen_train.data.manifest import Manifest, read_manifest
from nitrogen_train.data.manifest_row import ManifestRow, describe_record
from nitrogen_train.data.records import SHARD_END, Record, decode_record, read_record_bytes
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.storage import Storage

_LONGEST_GROUP_SECONDS = 2
# Other writers of tars fill up to this size with zeros.
_TAR_RECORD_BYTES = 10_240


def verify_dataset(dataset_dir: Path, *, workers: int) -> list[str]:
    """Check a data set: manifest, shards, records, videos, splits.

    Args:
        dataset_dir: The data set's folder.
        workers: Processes.

    Returns:
        A line for each fault, which says what to do; empty if there is none.
    """
    try:
        manifest = read_manifest(dataset_dir)
    except (ShardError, FileNotFoundError) as error:
        return [f"{error}; nothing else can be checked"]
    faults = [*_check_splits(manifest), *_check_shards(dataset_dir, manifest)]
    check = partial(verify_clip, dataset_dir)
    rows = manifest.rows()
    for found in tqdm(
        map_in_order(check, rows, workers=workers), total=len(rows), desc="verify", unit="clip"
    ):
        faults += found
    return faults


def verify_clip(dataset_dir: Path, row: ManifestRow) -> list[str]:
    """Check a clip's bytes, its members, its video, and the manifest's word on it."""
    try:
        storage = Storage(str(dataset_dir))
        data = read_record_bytes(storage, row.shard, offset=row.offset, size=row.size)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            return [f"clip {row.clip_id}: checksum differs; copy {row.shard} again, or shard again"]
        record = decode_record(data)
        found = describe_record(record, data, shard=row.shard, offset=row.offset, split=row.split)
        faults = [*_compare(row, found), *_check_idle(record), *_check_video(row, record.video)]
    except ShardError as error:
        faults = [str(error)]
    return [f"clip {row.clip_id}: {fault}; shard its recording again" for fault in faults]


def _compare(row: ManifestRow, found: ManifestRow) -> Iterator[str]:
    for item in fields(ManifestRow):
        said, is_so = getattr(row, item.name), getattr(found, item.name)
        if said != is_so:
            yield f"{item.name} is {is_so!r} in the record and {said!r} in the manifest"


def _check_idle(record: Record) -> Iterator[str]:
    idle = float(idle_rows(record.actions.rows).mean())
    if abs(idle - record.metadata.idle_share) > 1e-6:
        yield f"idle_share is {record.metadata.idle_share:.4f}, by the actions it is {idle:.4f}"


def _check_video(row: ManifestRow, video: bytes) -> Iterator[str]:
    # One backend on every machine: it reads every file, and damage crashes none of it.
    frames = PyAVDecoder().decode(video)
    if frames.shape != (row.num_frames, row.height, row.width, 3):
        yield (
            f"the video has {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, expected "
            f"{row.num_frames} of {row.width}x{row.height}"
        )
    yield from _check_format(video)


def _check_format(video: bytes) -> Iterator[str]:
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        found = (codec.name, stream.pix_fmt, bool(codec.has_b_frames))
        # Here: once the container is closed, PyAV reads its freed memory.
        rate = float(stream.average_rate or 1)
        keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
    if found != ("h264", "yuv420p", False):
        yield f"the video is (codec, pixels, B-frames) {found}, expected h264, yuv420p, none"
    gap = int(np.diff(np.flatnonzero([*keys, True])).max(initial=0))
    if not keys[0] or gap > _LONGEST_GROUP_SECONDS * rate:
        yield f"the video has {gap} frames between key frames, too many to seek in"


def _check_splits(manifest: Manifest) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in manifest.rows():
        splits[row.session_id].add(row.split)
    return [
        f"session {session_id} is in {' and '.join(sorted(names))}: a policy would be measured on "
        "what it learned from; give the session one split"
        for session_id, names in splits.items()
        if len(names) > 1
    ]


def _check_shards(dataset_dir: Path, manifest: Manifest) -> Iterator[str]:
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
        with path.open("rb") as file:
            file.seek(end)
            tail = file.read(_TAR_RECORD_BYTES + 1)
        if len(tail) not in range(len(SHARD_END), _TAR_RECORD_BYTES + 1) or any(tail):
            yield f"{path} does not end after its last record; copy it again or shard again"
