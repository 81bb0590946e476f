"""Write what was read from a video as labels alone, in the layout of NVIDIA's public tarballs.

    WatchedRecording ─► stretches that are learned from ─► pieces of up to 20 s ─► NAME.tar.gz:
    SHARD_0000/NAME/NAME_chunk_NNNN/{actions_raw.parquet, metadata.json}

`ingest nitrogen` reads them back, with videos whose files have the same names. A piece has one row
per frame of a constant rate, and the layout has no mark for rows that are not to be used: these are
left out, and pieces end before them.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data_tools.ingest.video_list import VIDEO_ID
from data_tools.recordings.recording import MaskedBox
from data_tools.shards.shard_recordings import find_shown
from data_tools.shards.source_video import SourceVideo
from data_tools.watching.reading import list_runs
from data_tools.watching.watched_recording import WatchedRecording
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import ClipActions, encode_actions
from nitrogen_train.data.schema import ShardError

LABELS_SUFFIX = ".tar.gz"
_PIECE_S = 20.0
_SHORTEST_S = 1.0
"""A shorter stretch gives no piece: nothing can be learned from it."""
_RATES = (10.0, 150.0)
_MAKER, _HEAD_BYTES = "nitrogen-data-watch", 64
"""The name in the head of our tarballs, by which they are told from others."""


def check_label_name(path: Path) -> None:
    """Make sure that a video's name can be the id by which labels name it.

    Raises:
        ShardError: If it cannot.
    """
    if not VIDEO_ID.fullmatch(path.stem):
        raise ShardError(
            f"{path}: labels name a video by up to 64 of A-Z a-z 0-9 - _ and . which its file has; "
            "rename it"
        )


def is_our_tarball(path: Path) -> bool:
    """Tell whether a tarball was packed here."""
    with path.open("rb") as file:
        return _MAKER.encode() in file.read(_HEAD_BYTES)


def pack_labels(video: SourceVideo, watched: WatchedRecording) -> bytes:
    """Pack the labels of a video into a tarball; the same give the same bytes.

    Raises:
        ShardError: If the layout has no such frame rate, or no stretch is long enough.
    """
    if not _RATES[0] <= video.fps <= _RATES[1]:
        raise ShardError(
            f"{video.path}: labels have {_RATES[0]:g} to {_RATES[1]:g} rows a second, the "
            f"video has {video.fps:g} frames"
        )
    video_id = video.path.stem
    number, buffer = 0, io.BytesIO()
    with (
        # Not the time of now: the same labels are the same bytes.
        gzip.GzipFile(filename=_MAKER, fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for start, actions in _iter_pieces(video, watched):
            folder = f"SHARD_0000/{video_id}/{video_id}_chunk_{number:04d}"
            facts = _describe(video, watched, chunk=number, start=start, count=len(actions))
            _add(archive, f"{folder}/actions_raw.parquet", _encode(actions))
            _add(archive, f"{folder}/metadata.json", json.dumps(facts).encode())
            number += 1
    if not number:
        raise ShardError(
            f"{video.path}: the controller can be read nowhere for {_SHORTEST_S:g} s or longer"
        )
    return buffer.getvalue()


def _iter_pieces(
    video: SourceVideo, watched: WatchedRecording
) -> Iterator[tuple[int, ClipActions]]:
    """Cut the rows that are learned from into pieces, each with the place of its first row."""
    rows = watched.log.rows(video.edges_ns(0), GAMEPAD)
    count = max(1, round(watched.seconds * video.fps))
    frames = find_shown(video, first_s=0.0, fps=video.fps, count=count)
    longest = round(_PIECE_S * video.fps)
    for start, stop in list_runs(watched.learned[frames]):
        for first in range(start, stop, longest):
            last = min(first + longest, stop)
            if last - first >= _SHORTEST_S * video.fps:
                taken = rows.rows.take(frames[first:last])
                yield first, ClipActions(rows=taken, valid=np.ones(last - first, bool))


def _encode(actions: ClipActions) -> bytes:
    """Write rows in the public columns alone."""
    table = pq.read_table(io.BytesIO(encode_actions(actions, GAMEPAD)))
    buffer = io.BytesIO()
    pq.write_table(table.drop_columns(["valid"]), buffer)
    return buffer.getvalue()


def _describe(
    video: SourceVideo, watched: WatchedRecording, *, chunk: int, start: int, count: int
) -> dict[str, Any]:
    """Describe a piece as the dataset card does."""
    video_id, stop = video.path.stem, start + count
    times_s = start / video.fps, stop / video.fps
    boxes = _list_boxes(watched.facts.masked_boxes, *times_s)
    overlay = watched.facts.overlay
    return {
        "uuid": f"{video_id}_chunk_{chunk:04d}_actions",
        "chunk_id": f"{chunk:04d}",
        "chunk_size": count,
        "original_video": {
            "resolution": [video.height, video.width],
            "video_id": video_id,
            "source": watched.facts.source,
            "url": watched.facts.url,
            "start_time": times_s[0],
            "end_time": times_s[1],
            "duration": times_s[1] - times_s[0],
            "start_frame": start,
            "end_frame": stop,
        },
        "game": watched.facts.game,
        "controller_type": overlay.layout if overlay else "unknown",
        "bbox_controller_overlay": boxes[0],
        "bbox_others": boxes[1:],
    }


def _list_boxes(masks: tuple[MaskedBox, ...], start_s: float, stop_s: float) -> list[list[int]]:
    """List the boxes of the controller at any moment of a piece, that of the longest time first."""
    start_ns, stop_ns = start_s * 1e9, stop_s * 1e9

    def measure(mask: MaskedBox) -> float:
        return min(stop_ns, mask.stop_ns) - max(start_ns, mask.start_ns)

    return [
        list(mask.box) for mask in sorted(masks, key=measure, reverse=True) if measure(mask) > 0
    ]


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
