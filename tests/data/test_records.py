import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nitrogen_train.data.clip_record import decode_record, encode_record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow, read_manifest
from nitrogen_train.data.schema import ShardError


@pytest.fixture(scope="module")
def original_dir(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable, clip_plan: Callable
) -> Path:
    folder = tmp_path_factory.mktemp("records") / "set"
    return write_dataset(folder, [clip_plan(clip_id="a"), clip_plan(clip_id="b")])


@pytest.fixture
def dataset_dir(tmp_path: Path, original_dir: Path) -> Path:
    return shutil.copytree(original_dir, tmp_path / "set")


def row_and_bytes(dataset_dir: Path, index: int = 1) -> tuple[ManifestRow, bytes]:
    row = read_manifest(dataset_dir).row(index)
    return row, Dataset(dataset_dir).read_bytes(row)


def pack(members: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(data), kind
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}


def test_one_ranged_read_gets_a_record(dataset_dir: Path) -> None:
    row, _ = row_and_bytes(dataset_dir)

    record = Dataset(dataset_dir).read(row)

    assert record.metadata.clip_id == "b"
    assert len(record.actions) == record.metadata.num_frames == 30


def test_a_record_survives_its_bytes(dataset_dir: Path) -> None:
    _, data = row_and_bytes(dataset_dir)

    assert encode_record(decode_record(data)) == data


def test_a_records_bytes_name_no_time_and_no_owner_as_those_of_older_sets(
    dataset_dir: Path,
) -> None:
    _, data = row_and_bytes(dataset_dir)
    expected = b""

    for name, content in members_of(data).items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        expected += entry.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)

    assert data == expected


def test_plain_webdataset_reads_a_shard(dataset_dir: Path) -> None:
    # In a process of its own: webdataset imports torch, and warns.
    code = (
        "import sys, webdataset\n"
        "for sample in webdataset.WebDataset(sys.argv[1], shardshuffle=False):\n"
        "    print(*sorted(name for name in sample if name[0] != '_'), sample['__key__'])\n"
    )
    shard = str(dataset_dir / "shard-000000.tar")

    run = subprocess.run(
        [sys.executable, "-c", code, shard], capture_output=True, text=True, check=True
    )

    assert run.stdout == "actions.parquet json mp4 a\nactions.parquet json mp4 b\n"


def test_tar_itself_reads_a_shard(dataset_dir: Path) -> None:
    run = subprocess.run(
        ["tar", "tf", dataset_dir / "shard-000000.tar"], capture_output=True, text=True, check=True
    )

    assert run.stderr == ""
    assert run.stdout.split()[:3] == ["a.actions.parquet", "a.json", "a.mp4"]


def test_a_changed_byte_is_seen_by_the_checksum(dataset_dir: Path) -> None:
    row, _ = row_and_bytes(dataset_dir)
    path = dataset_dir / row.shard
    shard = bytearray(path.read_bytes())
    shard[row.offset + row.size - 600] ^= 1
    path.write_bytes(shard)

    with pytest.raises(ShardError, match=f"byte {row.offset}: checksum differs"):
        Dataset(dataset_dir).read(row)


def test_a_truncated_shard_names_how_much_is_missing(dataset_dir: Path) -> None:
    row, _ = row_and_bytes(dataset_dir)
    path = dataset_dir / row.shard
    path.write_bytes(path.read_bytes()[: row.offset + 1000])

    with pytest.raises(ShardError, match=rf"ends after {row.offset + 1000} bytes.*copy it again"):
        Dataset(dataset_dir).read(row)


def test_a_missing_shard_is_named(dataset_dir: Path) -> None:
    row, _ = row_and_bytes(dataset_dir)

    with pytest.raises(ShardError, match=r"shard-000007\.tar is missing"):
        Dataset(dataset_dir).read(dataclasses.replace(row, shard="shard-000007.tar"))


@pytest.mark.parametrize("size", [0, -1, 2**40])
def test_an_absurd_size_is_refused(dataset_dir: Path, size: int) -> None:
    row, _ = row_and_bytes(dataset_dir)

    with pytest.raises(ShardError, match="expected 1 to"):
        Dataset(dataset_dir).read(dataclasses.replace(row, size=size))


def test_a_wrong_offset_is_an_error(dataset_dir: Path) -> None:
    row, _ = row_and_bytes(dataset_dir)
    data = (dataset_dir / row.shard).read_bytes()[512 : 512 + row.size]
    row = dataclasses.replace(row, offset=512, sha256=hashlib.sha256(data).hexdigest())

    with pytest.raises(ShardError, match=r"shard-000000\.tar, byte 512"):
        Dataset(dataset_dir).read(row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {k: v for k, v in m.items() if k != "b.json"}, "a record holds"),
        (lambda m: m | {"b.txt": b"?"}, "got another 'b.txt'"),
        (lambda m: m | {"c.json": m["b.json"]}, "got another 'c.json'"),
        (lambda m: {k.replace("b.", "c."): v for k, v in m.items()}, "holds the metadata of"),
        (lambda m: {f"../{k}": v for k, v in m.items()}, "key must be"),
        (lambda m: {f"/etc/{k}": v for k, v in m.items()}, "key must be"),
        (lambda m: m | {"b.json": b"{}"}, "schema_version"),
        (lambda m: m | {"b.actions.parquet": b"PAR1"}, "not readable as parquet"),
        (lambda m: {}, "a record holds"),
    ],
    ids=["missing", "extra", "twice", "renamed", "up", "absolute", "json", "parquet", "empty"],
)
def test_wrong_members_are_named(dataset_dir: Path, change: Callable, message: str) -> None:
    _, data = row_and_bytes(dataset_dir)

    with pytest.raises(ShardError, match=message):
        decode_record(pack(change(members_of(data))))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_and_folders_are_refused(kind: bytes) -> None:
    with pytest.raises(ShardError, match=r"a record holds one regular file|not readable"):
        decode_record(pack({"b.json": b"", "b.mp4": b"", "b.actions.parquet": b""}, kind=kind))


@pytest.mark.parametrize("keep", [100, 512, 700, 5000])
def test_a_cut_record_is_an_error(dataset_dir: Path, keep: int) -> None:
    _, data = row_and_bytes(dataset_dir)

    with pytest.raises(ShardError, match="record"):
        decode_record(data[:keep])


def test_random_bytes_are_an_error() -> None:
    with pytest.raises(ShardError, match="record"):
        decode_record(bytes(range(256)) * 20)


def test_rows_and_frames_must_agree(dataset_dir: Path) -> None:
    _, data = row_and_bytes(dataset_dir)
    record = decode_record(data)
    short: dict[str, Any] = {"actions": record.actions.cut(0, 29)}

    with pytest.raises(ShardError, match="30 frames and 29 rows"):
        encode_record(dataclasses.replace(record, **short))
