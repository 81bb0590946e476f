import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_faults import list_faults

from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_recordings import shard_recordings
from nitrogen_train.data.clip_record import (
    SHARD_END,
    Record,
    decode_record,
    encode_record,
)
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.encode import Encoding, encode_video
from nitrogen_train.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestRow,
    describe_record,
    read_manifest,
    write_manifest,
)

SHARD = "shard-000000.tar"


@pytest.fixture(scope="module")
def sound_dir(tmp_path_factory: pytest.TempPathFactory, write_recording: Callable) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    for index in range(2):
        write_recording(folder / "recordings", f"run-{index}", num_frames=30)
    settings = ShardSettings(size=32, clip_seconds=1.5, heldout_share=0.0)
    shard_recordings([folder / "recordings"], out_dir=folder / "set", settings=settings, workers=1)
    return folder / "set"


@pytest.fixture
def dataset_dir(tmp_path: Path, sound_dir: Path) -> Path:
    return shutil.copytree(sound_dir, tmp_path / "set")


def rewrite(folder: Path, change: Callable[[Record], Record]) -> None:
    """Change the first clip's record, and write shard and manifest so that they agree with it."""
    rows, shard = [], b""
    for index, row in enumerate(read_manifest(folder).rows()):
        data = Dataset(folder).read_bytes(row)
        record = change(decode_record(data)) if index == 0 else decode_record(data)
        data = encode_record(record)
        rows.append(describe_record(record, data, shard=SHARD, offset=len(shard), split=row.split))
        shard += data
    (folder / SHARD).write_bytes(shard + SHARD_END)
    write_manifest(folder, rows)


def change_rows(folder: Path, change: Callable[[list[ManifestRow]], list[ManifestRow]]) -> None:
    write_manifest(folder, change(read_manifest(folder).rows()))


def change_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)


def video(record: Record, *, frames: int = 15, side: int = 32, crf: int = 18) -> bytes:
    pictures = (np.full((side, side, 3), 4 * t, np.uint8) for t in range(frames))
    return encode_video(
        pictures, fps=record.metadata.fps, width=side, height=side, encoding=Encoding(crf=crf)
    )


def duplicate_clip(folder: Path) -> None:
    table = pq.read_table(folder / MANIFEST_NAME)
    table = table.take([0, 0, 1, 2, 3])
    pq.write_table(table, folder / MANIFEST_NAME)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda d: (d / MANIFEST_NAME).unlink(), "does not exist"),
    "damaged manifest": (
        lambda d: (d / MANIFEST_NAME).write_bytes(b"PAR1"),
        "not readable as parquet",
    ),
    "clip twice": (duplicate_clip, "clips more than once"),
    "missing shard": (lambda d: (d / SHARD).unlink(), f"{SHARD} is missing"),
    "stray shard": (
        lambda d: shutil.copy(d / SHARD, d / "shard-000009.tar"),
        "shard-000009.tar is not in the manifest",
    ),
    "truncated shard": (
        lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-3000]),
        "does not end after its last record",
    ),
    "no end mark": (
        lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-1024]),
        "does not end after its last record",
    ),
    "more behind the end": (
        lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes() + b"more"),
        "does not end after its last record",
    ),
    "changed byte": (lambda d: change_byte(d / SHARD, 700), "checksum differs"),
    "wrong offset": (
        lambda d: change_rows(d, lambda r: [replace(r[0], offset=512), *r[1:]]),
        "is at byte 512",
    ),
    "gap": (lambda d: change_rows(d, lambda r: [r[0], *r[2:]]), "expected"),
    "session in both splits": (
        lambda d: change_rows(d, lambda r: [replace(r[0], split="val"), *r[1:]]),
        "session run-0 is in train and val",
    ),
    "other game in the manifest": (
        lambda d: change_rows(d, lambda r: [replace(r[0], game="chess"), *r[1:]]),
        "game is 'grey' in the record and 'chess' in the manifest",
    ),
    "other runs in the manifest": (
        lambda d: change_rows(
            d, lambda r: [replace(r[0], valid_runs=[0, 7], num_valid_rows=7), *r[1:]]
        ),
        "valid_runs is [0, 15] in the record",
    ),
    "wrong idle share": (
        lambda d: rewrite(d, lambda r: replace(r, metadata=replace(r.metadata, idle_share=0.9))),
        "idle_share is 0.9000, by the actions",
    ),
    "too few frames": (
        lambda d: rewrite(d, lambda r: replace(r, video=video(r, frames=14))),
        "the video has 14 frames of 32x32, expected 15 of 32x32",
    ),
    "other size": (
        lambda d: rewrite(d, lambda r: replace(r, video=video(r, side=48))),
        "15 frames of 48x48, expected 15 of 32x32",
    ),
    "undecodable": (
        lambda d: rewrite(d, lambda r: replace(r, video=r.video[:-100])),
        "bytes, its table puts frame 1",
    ),
    "not a video": (
        lambda d: rewrite(d, lambda r: replace(r, video=b"text")),
        "cannot decode the video",
    ),
}


def test_a_sound_data_set_has_no_fault(sound_dir: Path) -> None:
    assert list_faults(sound_dir) == []


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(dataset_dir: Path, name: str) -> None:
    inject, expected = FAULTS[name]
    inject(dataset_dir)

    faults = list_faults(dataset_dir)

    assert any(expected in fault for fault in faults), faults


def test_a_fault_in_one_clip_is_told_of_that_clip_alone(dataset_dir: Path) -> None:
    rewrite(dataset_dir, lambda record: replace(record, video=b"text"))

    (fault,) = list_faults(dataset_dir)

    assert fault.startswith(f"clip {read_manifest(dataset_dir).row(0).clip_id}: ")
    assert fault.endswith("shard its recording again")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bf": "2", "pix_fmt": "yuv420p"}, "('h264', 'yuv420p', True)"),
        ({"bf": "0", "pix_fmt": "yuv444p"}, "('h264', 'yuv444p', False)"),
        (
            {"bf": "0", "pix_fmt": "yuv420p", "g": "250", "sc_threshold": "0"},
            "60 frames between key frames",
        ),
    ],
    ids=["B-frames", "colours", "one key frame"],
)
def test_a_video_that_decodes_slowly_is_a_fault(
    tmp_path: Path, write_dataset: Callable, clip_plan: Callable, options: dict, message: str
) -> None:
    folder = write_dataset(tmp_path / "set", [clip_plan(clip_id="a", num_frames=60)])
    rewrite(folder, lambda record: replace(record, video=foreign_video(tmp_path, **options)))

    faults = list_faults(folder)

    assert any(message in fault for fault in faults), faults


def foreign_video(folder: Path, *, pix_fmt: str, **options: str) -> bytes:
    import av

    rng = np.random.default_rng(0)
    path = folder / "foreign.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        for _ in range(60):
            picture = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_faults_are_counted_over_all_clips(dataset_dir: Path) -> None:
    manifest: Manifest = read_manifest(dataset_dir)
    path = dataset_dir / SHARD
    for row in manifest.rows():
        change_byte(path, row.offset + 700)

    assert len(list_faults(dataset_dir)) == len(manifest) == 4
