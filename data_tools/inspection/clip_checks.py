"""A clip, checked by itself: bytes, members, video, and the manifest's word on it."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from jaxtyping import UInt8

from data_tools.fingerprint import hash_actions, hash_video
from data_tools.inspection.clip_facts import ControlFacts, describe_controls
from data_tools.inspection.offset import OffsetSums, measure_offset
from nitrogen_train.data.action_file import idle_rows
from nitrogen_train.data.decoders.pyav_decoder import PyAVDecoder
from nitrogen_train.data.files import describe_error
from nitrogen_train.data.manifest_row import ManifestRow, describe_record
from nitrogen_train.data.records import Record, read_record_bytes
from nitrogen_train.data.schema import ShardError, get_space
from nitrogen_train.data.storage import Storage
from nitrogen_train.data.stored_clips import ForeignClip, decode_clip

_LONGEST_GROUP_SECONDS = 2
# What rounded times may do to the mean rate of a short clip.
_RATE_TOLERANCE = 0.005


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What clips are compared by, and summed up over."""

    controls: ControlFacts
    offset: OffsetSums
    actions_hash: str
    video_hash: str


@dataclass(frozen=True, kw_only=True)
class ClipExam:
    """What was found in one clip."""

    faults: list[str]
    facts: ClipFacts | None
    """None if the clip cannot be read."""


def examine_clip(dataset_dir: Path, row: ManifestRow, *, is_foreign: bool = False) -> ClipExam:
    """Check a clip, and decode all of it.

    Args:
        dataset_dir: The data set's folder.
        row: What its manifest says.
        is_foreign: Whether another writer has laid the record out, and a manifest was made for it.
    """
    try:
        storage = Storage(str(dataset_dir))
        data = read_record_bytes(storage, row.shard, offset=row.offset, size=row.size)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            again = "index" if is_foreign else "shard"
            fault = f"checksum differs; copy {row.shard} again, or {again} again"
            return ClipExam(faults=[f"clip {row.clip_id}: {fault}"], facts=None)
        record = decode_clip(data, get_space(row.action_space))
        if isinstance(record, ForeignClip):
            return _examine_foreign(row, record)
        assert isinstance(record, Record)  # noqa: S101 - there is no third layout
        found = describe_record(record, data, shard=row.shard, offset=row.offset, split=row.split)
        faults = [*_compare(row, found), *_check_idle(record)]
    except (ShardError, OSError) as error:
        if is_foreign:
            reason = describe_error(error)
            fault = f"clip {row.clip_id}: {reason}; copy {row.shard} again, or index again"
            return ClipExam(faults=[fault], facts=None)
        return ClipExam(faults=_name(row, [describe_error(error)]), facts=None)
    try:
        # One backend on every machine: it reads every file, and damage crashes none of it.
        frames = PyAVDecoder().decode(record.video)
        faults += [*_check_frames(row, frames), *_check_format(row, record.video)]
    except ShardError as error:
        return ClipExam(faults=_name(row, [*faults, str(error)]), facts=None)
    facts = None
    if len(frames) == len(record.actions):
        facts = _describe(record, frames)
    return ClipExam(faults=_name(row, faults), facts=facts)


def _examine_foreign(row: ManifestRow, clip: ForeignClip) -> ClipExam:
    """Check what training needs of a record that is not ours."""
    space = get_space(row.action_space)
    try:
        frames = PyAVDecoder().decode(clip.video)
    except ShardError as error:
        return ClipExam(faults=[f"clip {row.clip_id}: {error}; leave it out"], facts=None)
    faults = [f"clip {row.clip_id}: {fault}; index again" for fault in _check_frames(row, frames)]
    if faults or len(clip.actions) != row.num_frames:
        faults = faults or [f"clip {row.clip_id}: {len(clip.actions)} rows of actions; index again"]
        return ClipExam(faults=faults, facts=None)
    facts = ClipFacts(
        controls=describe_controls(clip.actions, space, fps=row.fps),
        offset=measure_offset(frames, clip.actions.rows, clip.actions.valid),
        actions_hash=hash_actions(clip.actions, row.fps),
        video_hash=hash_video(clip.video),
    )
    return ClipExam(faults=[], facts=facts)


def _name(row: ManifestRow, faults: list[str]) -> list[str]:
    return [f"clip {row.clip_id}: {fault}; shard its recording again" for fault in faults]


def _describe(record: Record, frames: UInt8[np.ndarray, "f h w 3"]) -> ClipFacts:
    actions, metadata = record.actions, record.metadata
    return ClipFacts(
        controls=describe_controls(actions, get_space(metadata.action_space), fps=metadata.fps),
        offset=measure_offset(frames, actions.rows, actions.valid),
        actions_hash=hash_actions(actions, metadata.fps),
        video_hash=hash_video(record.video),
    )


def _compare(row: ManifestRow, found: ManifestRow) -> Iterator[str]:
    for item in fields(ManifestRow):
        said, is_so = getattr(row, item.name), getattr(found, item.name)
        if said != is_so:
            yield f"{item.name} is {is_so!r} in the record and {said!r} in the manifest"


def _check_idle(record: Record) -> Iterator[str]:
    idle = float(idle_rows(record.actions.rows).mean())
    if abs(idle - record.metadata.idle_share) > 1e-6:
        yield f"idle_share is {record.metadata.idle_share:.4f}, by the actions it is {idle:.4f}"


def _check_frames(row: ManifestRow, frames: UInt8[np.ndarray, "f h w 3"]) -> Iterator[str]:
    if frames.shape != (row.num_frames, row.height, row.width, 3):
        yield (
            f"the video has {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}, expected "
            f"{row.num_frames} of {row.width}x{row.height}"
        )


def _check_format(row: ManifestRow, video: bytes) -> Iterator[str]:
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        codec: VideoCodecContext = stream.codec_context
        found = (codec.name, stream.pix_fmt, bool(codec.has_b_frames))
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [packet.is_keyframe for packet in packets]
        ticks = sorted(packet.pts for packet in packets if packet.pts is not None)
        # Here: once the container is closed, PyAV reads its freed memory.
        rate, time_base = float(stream.average_rate or 1), stream.time_base
    if found != ("h264", "yuv420p", False):
        yield f"the video is (codec, pixels, B-frames) {found}, expected h264, yuv420p, none"
    gap = int(np.diff(np.flatnonzero([*keys, True])).max(initial=0))
    if not keys[0] or gap > _LONGEST_GROUP_SECONDS * rate:
        yield f"the video has {gap} frames between key frames, too many to seek in"
    if len(ticks) > 1 and ticks[-1] > ticks[0] and time_base is not None:
        fps = (len(ticks) - 1) / float((ticks[-1] - ticks[0]) * time_base)
        if abs(fps / row.fps - 1) > _RATE_TOLERANCE:
            yield (
                f"the video shows {fps:.3f} frames per second, its rows are said to last "
                f"1/{row.fps:.3f} s: one of them is wrong"
            )
