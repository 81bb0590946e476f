"""The clips that loaders are compared on: some of a data set's, as they are and in long groups."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nitrogen_train.data.clip_record import SHARD_END, decode_record, encode_record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import Encoding, encode_video
from nitrogen_train.data.manifest import ManifestRow, write_manifest
from nitrogen_train.data.video import choose_decoder, open_video
from nitrogen_train.runtime.progress import track

LONG_GROUP = 250
"""x264's own, as in most files of others."""


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips as a data set of ours, and their videos as files for everyone else."""

    dataset_dir: Path
    videos: list[Path]
    num_frames: list[int]
    """Of each video."""
    group_frames: int
    """From one key frame to the next, at most."""
    fps: float
    side: int
    """Of the stored picture, in pixels; no loader resizes it."""

    @property
    def shards(self) -> list[Path]:
        """The data set's tars."""
        return sorted(self.dataset_dir.glob("*.tar"))


def copy_clips(datasets: Sequence[Path], out_dir: Path, *, max_clips: int) -> ClipSet:
    """Copy training clips, byte for byte, in turn from each data set.

    Args:
        datasets: Folders that `nitrogen-data shard` has made.
        out_dir: A new folder.
        max_clips: Of all data sets together.

    Raises:
        ValueError: If there is no training clip, or their pictures are not squares of one size.
    """
    sources = [
        [(dataset, row) for row in dataset.select("split == train")]
        for dataset in map(Dataset, datasets)
    ]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*sources))
    chosen = list(itertools.islice((turn for turn in turns if turn is not None), max_clips))
    sizes = sorted({(row.width, row.height) for _, row in chosen})
    if len(sizes) != 1 or sizes[0][0] != sizes[0][1]:
        raise ValueError(
            f"the training clips of {', '.join(map(str, datasets))} have pictures of "
            f"{sizes or 'no size'}, expected squares of one size: shard with one --size"
        )
    records = ((dataset.read_bytes(row), row) for dataset, row in chosen)
    return _write(records, out_dir, group_frames=None)


def lengthen_groups(clips: ClipSet, out_dir: Path) -> ClipSet:
    """Encode clips again, at the same quality, with `LONG_GROUP` frames to a key frame."""

    def encode() -> Iterator[tuple[bytes, ManifestRow]]:
        decoder, dataset = choose_decoder(), Dataset(clips.dataset_dir)
        rows = dataset.manifest.rows()
        for row in track(rows, label=f"groups of {LONG_GROUP}", unit="clip", total=len(rows)):
            record = decode_record(dataset.read_bytes(row))
            video = encode_video(
                decoder.decode(record.video),
                fps=row.fps,
                width=row.width,
                height=row.height,
                encoding=Encoding(group_s=LONG_GROUP / row.fps),
            )
            yield encode_record(replace(record, video=video)), row

    return _write(encode(), out_dir, group_frames=LONG_GROUP)


def _write(
    records: Iterable[tuple[bytes, ManifestRow]], out_dir: Path, *, group_frames: int | None
) -> ClipSet:
    """Write records, each to a shard of its own, so that webdataset has something to shuffle."""
    dataset_dir, video_dir = out_dir / "dataset", out_dir / "videos"
    dataset_dir.mkdir(parents=True)
    video_dir.mkdir()
    rows: list[ManifestRow] = []
    videos: list[Path] = []
    groups: list[int] = []
    for number, (data, row) in enumerate(records):
        shard = f"shard-{number:06d}.tar"
        (dataset_dir / shard).write_bytes(data + SHARD_END)
        digest = hashlib.sha256(data).hexdigest()
        rows.append(replace(row, shard=shard, offset=0, size=len(data), sha256=digest))
        video = decode_record(data).video
        videos.append(video_dir / f"{row.clip_id}.mp4")
        videos[-1].write_bytes(video)
        groups.append(_longest_group(video))
    write_manifest(dataset_dir, rows)
    return ClipSet(
        dataset_dir=dataset_dir,
        videos=videos,
        num_frames=[row.num_frames for row in rows],
        group_frames=max(groups) if group_frames is None else group_frames,
        fps=rows[0].fps,
        side=rows[0].width,
    )


def _longest_group(video: bytes) -> int:
    with open_video(video) as opened:
        table = opened.table
        return int(np.diff([*np.searchsorted(table.pts, table.key_pts), len(table)]).max())
