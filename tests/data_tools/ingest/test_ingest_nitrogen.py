import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dataset_faults import list_faults
from killed_command import run_until_named
from label_maker import (
    HEIGHT,
    WIDTH,
    TarballMaker,
    describe,
    pressed_bits,
    read_number,
    read_rows,
    write_rows,
    write_video,
)

from data_tools.__main__ import main
from data_tools.shards.drop_report import read_report
from nitrogen_train.data.clip_record import Record
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import ManifestRow, read_manifest
from nitrogen_train.data.video import PyAVDecoder

SLOW, FAST, VARYING, SMALL = "slow0000000", "-fast.00000", "varying0000", "small000000"
OTHERS = [[-8, 150, 20, 60], [60, 60, 21, 21]]
AREA = {"xtl": 0.0, "ytl": 0.0, "xbr": 0.9, "ybr": 0.9}
# Some frames late, some early, and a gap.
TICKS_MS = np.cumsum([0, *[33, 34, 50, 17] * 20, 200, *[33] * 20]).tolist()


def make_labels(folder: Path) -> Path:
    """Write a tarball to the card's layout, with all that goes wrong in it."""
    maker = TarballMaker()
    maker.piece(SLOW, 0, 10, 50, bbox_others=OTHERS, bbox_game_area=AREA)
    maker.piece(SLOW, 1, 50, 90, files=["raw"], game="other")
    # Width before height, and the last frame included.
    maker.piece(
        FAST, 0, 0, 100, fps=60.0,
        original_video={"resolution": [WIDTH, HEIGHT], "end_frame": 99},
    )  # fmt: skip
    maker.piece(VARYING, 0, 0, 100)
    # A copy of half the size.
    maker.piece(SMALL, 0, 5, 45, original_video={"resolution": [HEIGHT * 2, WIDTH * 2]})
    maker.piece(SLOW, 2, 90, 130)  # the video ends before
    maker.piece("missing0000", 0, 0, 60)
    maker.piece("missing0000", 1, 60, 90)
    maker.piece("square00000", 0, 0, 30)
    maker.piece("rate0000000", 0, 0, 30, fps=60.0)
    maker.piece("broken00000", 0, 0, 30)
    maker.piece(SLOW, 10, 10, 20, rows=write_rows(range(10, 20))[:-300])
    maker.piece(SLOW, 11, 10, 20, rows=write_rows(range(10, 21)))
    too_far = pa.array([[0.0, 1.5]] * 10, pa.list_(pa.float64()))
    maker.piece(SLOW, 12, 10, 20, rows=write_rows(range(10, 20), j_right=too_far))
    maker.piece(SLOW, 13, 10, 20, files=[])
    maker.piece(SLOW, 14, 10, 20, metadata=b"{")
    maker.piece(SLOW, 15, 10, 20, metadata=json.dumps(describe(FAST, 15, 10, 20)).encode())
    numbers = pa.array(range(10), pa.int64())
    maker.piece(SLOW, 16, 10, 20, rows=write_rows(range(10, 20), south=numbers))
    maker.piece(SLOW, 17, 10, 20, bbox_controller_overlay=None)
    maker.piece(SLOW, 18, 10, 20, original_video={"duration": 0}, chunk_size=3)
    maker.piece(SLOW, 0, 10, 50)
    maker.add(f"SHARD_0000/../../{SLOW}/{SLOW}_chunk_0020/metadata.json", b"{}")
    maker.add(f"SHARD_0000/{SLOW}/{SLOW}_chunk_0021/metadata.json", kind=tarfile.SYMTYPE)
    folder.mkdir()
    return maker.write(folder / "SHARD_0000.tar.gz").parent


def make_videos(folder: Path) -> Path:
    folder.mkdir()
    write_video(folder / f"{SLOW}.mp4", 100, fps=30 / 1.001)
    write_video(folder / f"{FAST}.mkv", 100, fps=60)
    write_video(folder / f"{VARYING}.mp4", 100, fps=30, ticks_ms=TICKS_MS)
    write_video(folder / f"{SMALL}.mp4", 50, fps=30)
    write_video(folder / "square00000.mp4", 30, fps=30, size=(180, 180))
    write_video(folder / "rate0000000.mp4", 30, fps=30)
    (folder / "broken00000.mp4").write_bytes(b"garbage" * 100)
    (folder / "unlabelled.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("nitrogen")
    return make_labels(folder / "labels"), make_videos(folder / "videos")


def arguments(inputs: tuple[Path, Path], out_dir: Path, *more: str) -> list[str]:
    labels, videos = map(str, inputs)
    return [
        "ingest", "nitrogen", labels, "--videos", videos, "--out", str(out_dir), "--size", "128",
        "--clips-per-shard", "2", "--workers", "1", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory, inputs: tuple[Path, Path]) -> Path:
    folder = tmp_path_factory.mktemp("ingested") / "set"
    # One of the videos is none.
    assert main(arguments(inputs, folder)) == 1
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def read_clip(dataset_dir: Path, row: ManifestRow) -> Record:
    return Dataset(dataset_dir).read(row)


def test_each_frames_number_is_its_rows(dataset_dir: Path) -> None:
    rows = read_manifest(dataset_dir).rows()

    assert list_faults(dataset_dir) == []
    numbers = {}
    for row in rows:
        clip = read_clip(dataset_dir, row)
        shown = [read_number(frame) for frame in PyAVDecoder().decode(clip.video)]
        if row.session_id != VARYING:
            assert read_rows(clip.actions) == pressed_bits(clip.actions) == shown
        numbers[(row.session_id, clip.metadata.provenance.start_frame)] = shown
    assert {key: (shown[0], shown[-1], len(shown)) for key, shown in numbers.items()} == {
        (SLOW, 10): (10, 49, 40),
        (SLOW, 50): (50, 89, 40),
        (FAST, 0): (0, 99, 100),
        (SMALL, 5): (5, 44, 40),
        (VARYING, 0): (0, 94, 100),
    }


def test_rows_of_a_varying_frame_rate_are_paired_by_time(dataset_dir: Path) -> None:
    (row,) = [row for row in read_manifest(dataset_dir).rows() if row.session_id == VARYING]
    clip = read_clip(dataset_dir, row)

    shown = [read_number(frame) for frame in PyAVDecoder().decode(clip.video)]

    assert row.fps == 30.0
    # Rows are 1/30 s apart by the labels, whatever the frames do.
    assert read_rows(clip.actions) == pressed_bits(clip.actions) == list(range(100))
    ticks_ms, row_ms = np.array(TICKS_MS[:100]), np.arange(100) * 1000 / 30
    late_ms = row_ms - ticks_ms[shown]
    assert late_ms.min() > -1000 / 60
    # In the gap a frame stays: rows that see it for too long are not learned from.
    assert late_ms.max() > 100
    assert clip.actions.valid.tolist() == (late_ms <= 100).tolist()
    notes = read_report(dataset_dir / "report.json").notes
    assert notes["rows paired by time, of videos whose frames are more or fewer"] == 100
    assert notes["rows whose frame stays for over 0.1 s, not valid"] == (late_ms > 100).sum()


def test_clips_say_where_they_are_from(dataset_dir: Path) -> None:
    rows = {(row.session_id, row.labels): row for row in read_manifest(dataset_dir).rows()}

    assert {key: (round(row.fps, 2), row.game) for key, row in rows.items()} == {
        (SLOW, "processed"): (29.97, "celeste"),
        (SLOW, "raw"): (29.97, "other"),
        (FAST, "processed"): (60.0, "celeste"),
        (SMALL, "processed"): (30.0, "celeste"),
        (VARYING, "processed"): (30.0, "celeste"),
    }
    clip = read_clip(dataset_dir, rows[SLOW, "raw"])
    assert clip.metadata.provenance.url == f"https://www.youtube.com/watch?v={SLOW}"
    assert clip.metadata.provenance.labels == "raw"
    assert clip.metadata.licence == "labels CC-BY-NC-4.0, pictures of their owners"
    splits = {row.session_id: row.split for row in rows.values()}
    assert set(splits.values()) == {"train", "val"}


def test_boxes_are_black_within_the_picture(dataset_dir: Path) -> None:
    rows = {(row.session_id, row.labels): row for row in read_manifest(dataset_dir).rows()}

    def shade(session_id: str, labels: str, x: float, y: float) -> float:
        clip = read_clip(dataset_dir, rows[session_id, labels])
        frames = PyAVDecoder().decode(clip.video)
        return float(frames[:, round(y / HEIGHT * 128), round(x / WIDTH * 128)].mean())

    # The pad's box, over the edge in the labels.
    assert shade(SLOW, "processed", 310, 170) < 20
    assert shade(FAST, "processed", 250, 130) < 20
    # Of a picture twice the size.
    assert shade(SMALL, "processed", 130, 70) < 20
    assert shade(SMALL, "processed", 180, 110) > 140
    # Other boxes.
    assert shade(SLOW, "processed", 4, 170) < 20
    assert shade(SLOW, "processed", 70, 70) < 20
    assert shade(SLOW, "raw", 70, 70) > 140
    assert shade(SLOW, "processed", 150, 100) > 140


def test_boxes_are_filled_as_asked(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    more = ["--where", f"video_id == {SLOW} and chunk == 0", "--heldout-share", "0"]

    assert main(arguments(inputs, tmp_path / "set", *more, "--filling", "surroundings")) == 0

    (row,) = read_manifest(tmp_path / "set").rows()
    clip = read_clip(tmp_path / "set", row)
    assert clip.metadata.masked_boxes
    frames = PyAVDecoder().decode(clip.video)
    # One of the other boxes, whose surroundings are light.
    assert frames[:, round(70 / HEIGHT * 128), round(70 / WIDTH * 128)].mean() > 140


def test_what_is_dropped_has_its_reason(dataset_dir: Path) -> None:
    report = read_report(dataset_dir / "report.json")

    assert {(item.name.removeprefix(f"{SLOW}_"), item.reason) for item in report.dropped} == {
        ("missing0000", "no video"),
        ("chunk_0002", "the video is too short"),
        ("square00000_chunk_0000", "the video has another shape of picture"),
        ("rate0000000_chunk_0000", "the video has another frame rate"),
        ("broken00000_chunk_0000", "the video is not readable"),
        ("chunk_0010", "the parquet is damaged or cut short"),
        ("chunk_0011", "rows and frames differ in number"),
        ("chunk_0012", "a label is no value of its range"),
        ("chunk_0013", "no labels"),
        ("chunk_0014", "the metadata is not readable"),
        ("chunk_0015", "the metadata is of another piece"),
        ("chunk_0016", "a label is no value of its range"),
        ("chunk_0017", "the pad cannot be masked"),
        ("chunk_0018", "no plausible frame rate"),
        ("chunk_0000", "it comes twice"),
        (f"SHARD_0000/../../{SLOW}/{SLOW}_chunk_0020/metadata.json", "hostile path"),
        (f"SHARD_0000/{SLOW}/{SLOW}_chunk_0021/metadata.json", "not a plain file"),
    }
    (missing,) = [item for item in report.dropped if item.reason == "no video"]
    assert missing.seconds == pytest.approx(3.0)
    kept = {game.game: game.num_clips for game in report.games}
    assert kept == {"celeste": 4, "other": 1, "unknown": 0}


def test_the_games_area_is_cropped_to(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    more = ["--where", f"video_id == {SLOW} and chunk == 0", "--crop-game-area"]

    assert main(arguments(inputs, tmp_path / "set", *more, "--heldout-share", "0")) == 0

    (row,) = read_manifest(tmp_path / "set").rows()
    clip = read_clip(tmp_path / "set", row)
    assert clip.metadata.area == (0, 0, 288, 162)
    frames = PyAVDecoder().decode(clip.video)
    # Numbers are where they were but for the crop.
    padded = np.pad(frames, [(0, 0), (0, 14), (0, 14), (0, 0)], mode="edge")
    assert [read_number(frame) for frame in padded] == list(range(10, 50))
    report = read_report(tmp_path / "set" / "report.json")
    assert {"not selected", "hostile path"} <= {item.reason for item in report.dropped}
    assert "no video" not in {item.reason for item in report.dropped}


def test_a_piece_of_two_tarballs_comes_once(
    inputs: tuple[Path, Path], dataset_dir: Path, tmp_path: Path
) -> None:
    labels = shutil.copytree(inputs[0], tmp_path / "labels")
    shutil.copy(labels / "SHARD_0000.tar.gz", labels / "SHARD_0001.tar.gz")

    assert main(arguments((labels, inputs[1]), tmp_path / "set")) == 1

    def clips(folder: Path) -> set[str]:
        return {row.sha256 for row in read_manifest(folder).rows()}

    assert clips(tmp_path / "set") == clips(dataset_dir)
    report = read_report(tmp_path / "set" / "report.json")
    assert len([item for item in report.dropped if "earlier tarball" in item.detail]) == 10


def test_parts_are_joined_to_the_same_clips(
    inputs: tuple[Path, Path],
    dataset_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for index, video in enumerate((SLOW, FAST)):
        maker = TarballMaker()
        maker.piece(video, 0, 10, 20, fps=30.0 if video == SLOW else 60.0)
        maker.write(labels / f"SHARD_{index:04d}.tar.gz")
    paths, index = (labels, inputs[1]), str(tmp_path / "index")
    assert main(arguments(paths, tmp_path / "set", "--part", "0/2")) == 2
    assert "parts share one index of the labels: make it first" in capsys.readouterr().err
    assert main(["labels", "index", str(labels), "--out", index]) == 0
    for part in ("0/2", "1/2"):
        more = ("--part", part, "--index", index)
        assert main(arguments(paths, tmp_path / "set", *more)) == 0

    assert main(["merge", str(tmp_path / "set")]) == 0

    rows = read_manifest(tmp_path / "set").rows()
    assert {(row.session_id, row.split) for row in rows} == {(SLOW, "train"), (FAST, "val")} or {
        (row.session_id, row.split) for row in rows
    } == {(SLOW, "val"), (FAST, "train")}


def test_a_finished_data_set_is_left_alone(inputs: tuple[Path, Path], dataset_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset_dir.iterdir()}

    assert main(arguments(inputs, dataset_dir)) == 1

    assert {path: path.stat().st_mtime_ns for path in dataset_dir.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "nowhere"}, "is no tarball of labels"),
        ({"videos": "nowhere"}, "is no folder of videos"),
        ({"where": "gmae == hades"}, "did you mean game"),
        ({"where": "video_id == missing0000"}, "would hold no clip: .*no video"),
    ],
)
def test_mistakes_are_one_line(
    inputs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: dict[str, Any], message: str,
) -> None:  # fmt: skip
    labels, videos = (
        tmp_path / change[name] if name in change else path
        for name, path in zip(("labels", "videos"), inputs, strict=True)
    )
    more = ["--where", change["where"]] if "where" in change else []

    assert main(arguments((labels, videos), tmp_path / "set", *more)) == 2

    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("nitrogen-data ingest nitrogen: error: ")
    assert re.search(message, last)


@pytest.mark.full
def test_killed_at_any_point_it_ends_with_the_same_bytes(
    inputs: tuple[Path, Path], dataset_dir: Path, tmp_path: Path
) -> None:
    out_dir = tmp_path / "set"
    points = [
        r"\.labels/SHARD_0000\.parquet$",
        r"\.progress/.*\.jsonl$",
        r"shard-000000\.tar$",
        r"shard-000002\.tar$",
        r"manifest\.parquet$",
        r"report\.json$",
    ]
    for pattern in points:
        run_until_named(pattern, arguments(inputs, out_dir))

    assert main(arguments(inputs, out_dir)) == 1

    assert contents(out_dir) == contents(dataset_dir)
