import json
import shutil
from pathlib import Path

import pytest
from label_maker import TarballMaker

from data_tools.__main__ import main
from data_tools.ingest.nitrogen.label_index import (
    build_index,
    find_tarballs,
    index_tarball,
    list_videos,
    measure_hours,
    query_index,
    read_index,
)
from nitrogen_train.data.schema import ShardError


@pytest.fixture(scope="module")
def labels_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    maker = TarballMaker()
    for chunk in range(4):
        start = 90 * chunk
        maker.piece("hades000000", chunk, start, start + 90, game="hades", fps=60.0)
    maker.piece("mixed000000", 0, 0, 90, game="hades")
    maker.piece("mixed000000", 1, 90, 120, game="celeste", files=["raw"])
    maker.piece("mixed000000", 2, 120, 150, metadata=b"[]")
    maker.write(folder / "SHARD_0000.tar.gz")
    maker = TarballMaker()
    maker.piece("v123456789", 0, 0, 600, original_video={"source": "twitch"}, game="doom")
    maker.add("README.md", b"labels")
    maker.write(folder / "SHARD_0001.tar.gz")
    return folder


@pytest.fixture(scope="module")
def index_dir(tmp_path_factory: pytest.TempPathFactory, labels_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "index"
    build_index(find_tarballs([labels_dir]), index_dir=folder, workers=1)
    return folder


def test_an_index_has_a_row_per_piece(index_dir: Path) -> None:
    rows = read_index(index_dir).to_pylist()

    assert len(rows) == 7
    assert rows[0] == {
        "tarball": "SHARD_0000.tar.gz", "video_id": "hades000000", "chunk": 0, "game": "hades",
        "controller": "xboxone", "source": "youtube",
        "url": "https://www.youtube.com/watch?v=hades000000", "fps": 60.0, "rows": 90,
        "labels": "processed", "idle_share": pytest.approx(1 / 90), "start_frame": 0,
        "end_frame": 90, "start_s": 0.0, "end_s": 1.5, "height": 180, "width": 320,
        "overlay": [240.0, 120.0, 340.0, 200.0], "game_area": None, "others": [],
    }  # fmt: skip
    assert [row["labels"] for row in rows[4:6]] == ["processed", "raw"]


def test_an_index_without_a_piece_says_where_the_reasons_are(tmp_path: Path) -> None:
    maker = TarballMaker()
    maker.add("README.md", b"labels")
    maker.write(tmp_path / "SHARD_0000.tar.gz")
    index_tarball(tmp_path / "SHARD_0000.tar.gz", index_dir=tmp_path / "index")

    with pytest.raises(ValueError, match="lists no piece"):
        query_index(tmp_path / "index", where="fps == 60")


def test_the_command_lists_faults_and_goes_on(
    labels_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir = str(tmp_path / "index")

    assert main(["labels", "index", str(labels_dir), "--out", out_dir, "--workers", "1"]) == 0

    out = capsys.readouterr().out
    assert "dropped 1: the metadata is not readable; for example mixed000000_chunk_0002: " in out
    assert "dropped 1: not in the card's layout; for example README.md: " in out
    faults = json.loads((tmp_path / "index" / "SHARD_0001.faults.json").read_text())
    assert [fault["reason"] for fault in faults] == ["not in the card's layout"]


def test_a_finished_tarball_is_not_read_again(labels_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(labels_dir, tmp_path / "labels")
    first, second = find_tarballs([folder])
    index_tarball(first, index_dir=tmp_path / "index")
    before = (tmp_path / "index" / "SHARD_0000.parquet").stat().st_mtime_ns

    build_index([first, second], index_dir=tmp_path / "index", workers=1)

    assert (tmp_path / "index" / "SHARD_0000.parquet").stat().st_mtime_ns == before
    assert len(read_index(tmp_path / "index")) == 7
    # Other bytes are another tarball.
    shutil.copy(second, first)
    index_tarball(first, index_dir=tmp_path / "index")
    assert len(read_index(tmp_path / "index")) == 2


def test_an_interrupted_index_is_finished_to_the_same_bytes(
    index_dir: Path, labels_dir: Path, tmp_path: Path
) -> None:
    # What a kill between the two files leaves.
    (tmp_path / "index").mkdir()
    shutil.copy(index_dir / "SHARD_0000.faults.json", tmp_path / "index")
    (tmp_path / "index" / ".SHARD_0000.parquet.part").write_bytes(b"PAR1half")

    build_index(find_tarballs([labels_dir]), index_dir=tmp_path / "index", workers=1)

    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert contents(tmp_path / "index") == contents(index_dir)


def test_hours_are_counted_per_game_and_site(index_dir: Path) -> None:
    lines = measure_hours(query_index(index_dir))

    assert [(line.game, line.source, line.num_videos, line.num_pieces) for line in lines] == [
        ("doom", "twitch", 1, 1),
        ("hades", "youtube", 2, 5),
        ("celeste", "youtube", 1, 1),
    ]
    hours = [line.hours * 3600 for line in lines]
    assert hours == pytest.approx([20.0, 4 * 1.5 + 3, 1.0])
    assert [line.processed_share for line in lines] == [1.0, 1.0, 0.0]


def test_pieces_are_selected(index_dir: Path) -> None:
    assert len(query_index(index_dir, where="game == hades and fps == 60")) == 4
    assert len(query_index(index_dir, where="labels == raw or source == twitch")) == 2
    assert len(query_index(index_dir, min_hours=5 / 3600)) == 6
    with pytest.raises(ValueError, match="no game of 7 pieces has 3 hours"):
        query_index(index_dir, min_hours=3.0)
    with pytest.raises(ValueError, match="no piece is left"):
        query_index(index_dir, where="game == quake")
    with pytest.raises(ValueError, match="there is no column 'gmae', did you mean game"):
        query_index(index_dir, where="gmae == hades")


def test_videos_are_listed_once(
    index_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = list_videos(query_index(index_dir, where="source == youtube"))
    path = tmp_path / "videos.jsonl"

    query = ["labels", "query", str(index_dir), "--where", "fps < 60", "--videos", str(path)]
    assert main(query) == 0

    assert [(video.video_id, video.game, video.fps) for video in videos] == [
        ("hades000000", "hades", 60.0),
        ("mixed000000", "hades", 30.0),
    ]
    listed = [json.loads(line) for line in path.read_text().splitlines()]
    assert [video["video_id"] for video in listed] == ["v123456789", "mixed000000"]
    assert listed[1]["url"] == "https://www.youtube.com/watch?v=mixed000000"
    out = capsys.readouterr().out
    assert "hades (youtube)" in out
    assert "lists 2 videos" in out


def test_what_is_no_index_is_named(tmp_path: Path, index_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no index of labels"):
        query_index(tmp_path)
    folder = shutil.copytree(index_dir, tmp_path / "index")
    (folder / "SHARD_0000.parquet").write_bytes(b"PAR1garbage")
    with pytest.raises(ShardError, match="damaged table, index again"):
        query_index(folder)


def test_tarballs_of_one_name_are_refused(labels_dir: Path, tmp_path: Path) -> None:
    shutil.copy(labels_dir / "SHARD_0000.tar.gz", tmp_path / "SHARD_0000.tgz")

    with pytest.raises(ValueError, match="have one name"):
        find_tarballs([labels_dir, tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nor a folder with some"):
        find_tarballs([tmp_path / "empty"])
