import io
import tarfile
from pathlib import Path

import pytest
from label_maker import TarballMaker

from data_tools.ingest.nitrogen.label_tar import RawPiece, iter_pieces
from data_tools.shards.drop_report import Dropped

VIDEO = "aaaaaaaaaaa"


def read(path: Path) -> tuple[list[str], list[Dropped]]:
    found = list(iter_pieces(path))
    pieces = [item.name for item in found if isinstance(item, RawPiece)]
    return pieces, [item for item in found if isinstance(item, Dropped)]


@pytest.fixture
def maker() -> TarballMaker:
    maker = TarballMaker()
    maker.add("SHARD_0000", kind=tarfile.DIRTYPE)
    maker.piece(VIDEO, 0, 0, 5)
    return maker


def test_pieces_come_with_their_files(maker: TarballMaker, tmp_path: Path) -> None:
    maker.piece(VIDEO, 1, 5, 9, files=["raw"])

    first, second = iter_pieces(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert isinstance(first, RawPiece)
    assert (first.name, second.name) == (f"{VIDEO}_chunk_0000", f"{VIDEO}_chunk_0001")
    assert set(first.files) == {"actions_raw.parquet", "actions_processed.parquet", "metadata.json"}
    assert isinstance(second, RawPiece)
    assert "actions_processed.parquet" not in second.files


def test_a_tar_without_compression_is_read_too(maker: TarballMaker, tmp_path: Path) -> None:
    path = tmp_path / "SHARD_0000.tar"
    with tarfile.open(path, "w") as archive:
        for entry, data in maker.members:
            archive.addfile(entry, io.BytesIO(data))

    assert read(path) == ([f"{VIDEO}_chunk_0000"], [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f"../{VIDEO}/{VIDEO}_chunk_0001/metadata.json", "hostile path"),
        (f"/etc/{VIDEO}/{VIDEO}_chunk_0001/metadata.json", "hostile path"),
        (f"a/./{VIDEO}/{VIDEO}_chunk_0001/metadata.json", "hostile path"),
        (f"a//{VIDEO}_chunk_0001/metadata.json", "hostile path"),
        ("README.md", "not in the card's layout"),
        (f"a/{VIDEO}/{VIDEO}_chunk_0001/run.sh", "not in the card's layout"),
        (f"a/{VIDEO}/other_chunk_0001/metadata.json", "not in the card's layout"),
        (f"a/{VIDEO}/{VIDEO}_chunk_x/metadata.json", "not in the card's layout"),
        ("a/v\n\x1b/v\n\x1b_chunk_1/metadata.json", "not in the card's layout"),
        ("a/" + "v" * 65 + "/" + "v" * 65 + "_chunk_1/metadata.json", "not in the card's layout"),
    ],
)
def test_a_bad_name_is_a_fault_and_the_rest_is_read(
    maker: TarballMaker, tmp_path: Path, name: str, reason: str
) -> None:
    maker.add(name, b"{}")
    maker.piece(VIDEO, 2, 5, 9)

    pieces, (fault,) = read(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert pieces == [f"{VIDEO}_chunk_0000", f"{VIDEO}_chunk_0002"]
    assert fault.reason == reason
    assert fault.name.isprintable()
    assert {path.name for path in tmp_path.iterdir()} == {"SHARD_0000.tar.gz"}


def test_links_are_not_followed(maker: TarballMaker, tmp_path: Path) -> None:
    maker.add(f"a/{VIDEO}/{VIDEO}_chunk_0001/metadata.json", kind=tarfile.SYMTYPE)

    pieces, (fault,) = read(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert (pieces, fault.reason) == ([f"{VIDEO}_chunk_0000"], "not a plain file")


def test_a_large_member_is_passed_over(maker: TarballMaker, tmp_path: Path) -> None:
    maker.add(f"a/{VIDEO}/{VIDEO}_chunk_0001/metadata.json", bytes(3 * 2**20))
    maker.piece(VIDEO, 2, 5, 9)

    pieces, (fault,) = read(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert pieces == [f"{VIDEO}_chunk_0000", f"{VIDEO}_chunk_0002"]
    assert fault.reason == "the file is too large"


def test_a_header_larger_than_memory_ends_the_tarball(maker: TarballMaker, tmp_path: Path) -> None:
    # A name of 8 MB; tarfile would read it whole.
    maker.add("long", bytes(8 * 2**20), kind=tarfile.GNUTYPE_LONGNAME)
    maker.piece(VIDEO, 2, 5, 9)

    pieces, (fault,) = read(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert pieces == [f"{VIDEO}_chunk_0000"]
    assert fault.reason == "the tarball is damaged or cut short"
    assert "larger than any of labels" in fault.detail


def test_headers_within_headers_end_the_tarball(maker: TarballMaker, tmp_path: Path) -> None:
    for _ in range(900):
        maker.add("nested", b"x\0", kind=tarfile.GNUTYPE_LONGNAME)

    pieces, (fault,) = read(maker.write(tmp_path / "SHARD_0000.tar.gz"))

    assert pieces == [f"{VIDEO}_chunk_0000"]
    assert fault.reason == "the tarball is damaged or cut short"


@pytest.mark.parametrize("damage", ["cut short", "garbage", "garbage within", "empty"])
def test_a_damaged_tarball_gives_what_is_before(
    maker: TarballMaker, tmp_path: Path, damage: str
) -> None:
    maker.piece(VIDEO, 1, 5, 9)
    path = maker.write(tmp_path / "SHARD_0000.tar.gz")
    data = path.read_bytes()
    if damage == "cut short":
        data = data[: len(data) - 500]
    elif damage == "garbage within":
        data = data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :]
    else:
        data = b"\x1f\x8bgarbage" if damage == "garbage" else b""
    path.write_bytes(data)

    pieces, faults = read(path)

    assert [fault.reason for fault in faults] == ["the tarball is damaged or cut short"]
    assert "get it again" in faults[0].detail
    assert len(pieces) <= 1


def test_a_damaged_header_is_not_taken_for_the_end(maker: TarballMaker, tmp_path: Path) -> None:
    path = tmp_path / "SHARD_0000.tar"
    with tarfile.open(path, "w") as archive:
        for entry, data in maker.members:
            archive.addfile(entry, io.BytesIO(data))
        middle = archive.offset
        for entry, data in maker.members:
            archive.addfile(entry, io.BytesIO(data))
    data = bytearray(path.read_bytes())
    data[middle : middle + 100] = b"\xff" * 100
    path.write_bytes(data)

    pieces, (fault,) = read(path)

    assert pieces == [f"{VIDEO}_chunk_0000"]
    assert fault.reason == "the tarball is damaged or cut short"


def test_of_two_pieces_of_one_name_the_first_is_used(maker: TarballMaker, tmp_path: Path) -> None:
    maker.piece(VIDEO, 1, 5, 9)
    maker.piece(VIDEO, 0, 0, 3)
    maker.add(f"SHARD_0000/{VIDEO}/{VIDEO}_chunk_0003/metadata.json", b"first")
    maker.add(f"SHARD_0000/{VIDEO}/{VIDEO}_chunk_0003/metadata.json", b"second")

    *_, last = iter_pieces(path := maker.write(tmp_path / "SHARD_0000.tar.gz"))
    pieces, faults = read(path)

    assert isinstance(last, RawPiece)
    assert last.files == {"metadata.json": b"first"}
    assert pieces == [f"{VIDEO}_chunk_{chunk:04d}" for chunk in (0, 1, 3)]
    assert [fault.reason for fault in faults] == ["it comes twice"] * 2
