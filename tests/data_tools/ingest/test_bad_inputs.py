"""Of several inputs one is bad: it has its line, the others are finished, the exit status is 1."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign_recordings import write_p2p, write_vpt
from label_maker import TarballMaker

from data_tools.__main__ import main
from data_tools.names import FileNames
from data_tools.recordings.recording import find_recordings
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError

NFC, NFD = "Pok\u00e9mon", "Poke\u0301mon"


def ingest(folder: Path, *names: str) -> int:
    videos = [str(folder / name) for name in names]
    words = ["--out", str(folder / "out"), "--game", "grey", "--stick-y", "down"]
    return main(["ingest", "recording", *videos, *words, "--video-start", "5"])


def drops(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if ": dropped: " in line]


@pytest.mark.parametrize("fault", ["empty video", "folder", "empty log", "log is a folder", "gone"])
def test_a_bad_recording_stops_no_other(
    tmp_path: Path,
    write_recording: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    fault: str,
) -> None:
    for name in ("a", "bad", "z"):
        write_recording(tmp_path, name, num_frames=5)
    bad = tmp_path / ("bad.inputs.jsonl" if "log" in fault else "bad.mp4")
    bad.unlink()
    if "folder" in fault:
        bad.mkdir()
    elif fault != "gone":
        bad.write_bytes(b"")

    assert ingest(tmp_path, "a.mp4", "bad.mp4", "z.mp4") == 1

    (line,) = drops(capsys)
    assert line.startswith("bad.mp4: dropped: ")
    assert [each.name for each in find_recordings([tmp_path / "out"])] == ["a", "z"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_stops_no_other(
    tmp_path: Path, write_recording: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "bad"):
        write_recording(tmp_path, name, num_frames=5)
    (tmp_path / "bad.inputs.jsonl").chmod(0)

    assert ingest(tmp_path, "a.mp4", "bad.mp4") == 1
    assert "permission denied" in drops(capsys)[0]


def test_a_disk_that_cannot_be_written_is_no_fault_of_a_recording(
    tmp_path: Path, write_recording: Callable[..., Path]
) -> None:
    write_recording(tmp_path, "a", num_frames=5)
    (tmp_path / "out" / "a.inputs.parquet").mkdir(parents=True)

    assert ingest(tmp_path, "a.mp4") == 2


def test_two_videos_of_one_name_are_one_and_a_line(
    tmp_path: Path, write_recording: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path, "a", num_frames=5)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "a.mkv")

    assert ingest(tmp_path, "a.mp4", "a.mkv") == 1
    assert drops(capsys)[0].startswith("a.mkv: dropped: ")


@pytest.mark.parametrize("video", ["a.MP4", "a.Mp4"])
@pytest.mark.parametrize("log", ["a.inputs.JSONL", "a.Inputs.jsonl"])
def test_suffixes_may_be_in_capitals(
    tmp_path: Path, write_recording: Callable[..., Path], video: str, log: str
) -> None:
    write_recording(tmp_path, "a", num_frames=5)
    (tmp_path / "a.mp4").rename(tmp_path / video)
    (tmp_path / "a.inputs.jsonl").rename(tmp_path / log)
    (tmp_path / "a.json").rename(tmp_path / "a.JSON")

    assert ingest(tmp_path, video) == 0
    assert [each.name for each in find_recordings([tmp_path])] == ["a"]
    shard = ["shard", str(tmp_path), "--out", str(tmp_path / "set"), "--size", "64"]
    assert main([*shard, "--workers", "1"]) == 0


def test_a_videos_name_and_its_logs_may_be_spelt_on_other_systems(
    tmp_path: Path, write_recording: Callable[..., Path]
) -> None:
    write_recording(tmp_path, NFC, num_frames=5)
    (tmp_path / f"{NFC}.mp4").rename(tmp_path / f"{NFD}.mp4")

    assert ingest(tmp_path, f"{NFD}.mp4") == 0
    assert [each.name for each in find_recordings([tmp_path])] == [NFC]
    assert [each.name for each in find_recordings([tmp_path / "out"])] == [NFC]


@pytest.mark.parametrize(
    "name", ["a.b c", "-x", 'say "hi"', "it's", "two\nlines", "12:30", "100%", "[1]", "あつまれ"]
)
def test_any_name_goes_all_the_way(
    tmp_path: Path, write_recording: Callable[..., Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recording(tmp_path, name, num_frames=5)
    monkeypatch.chdir(tmp_path)
    words = ["--out", "out", "--game", "grey", "--stick-y", "down", "--video-start", "5"]

    assert main(["ingest", "recording", *words, "--", f"{name}.mp4"]) == 0
    monkeypatch.chdir(tmp_path / "out")
    shard = ["shard", ".", "--out", str(tmp_path / "set"), "--size", "64", "--workers", "1"]
    assert main(shard) == 0
    assert len(read_manifest(tmp_path / "set").rows()) == 1


def test_names_are_found_by_their_stem_as_it_is() -> None:
    names = FileNames([Path("run.CSV"), Path("RUN.csv"), Path("run.b.csv")])

    assert names.find("run", [".csv"]) == [Path("run.CSV")]
    assert names.find("run.b", [".csv", ".jsonl"]) == [Path("run.b.csv")]


def test_a_folder_without_segments_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_vpt(tmp_path / "good", num_frames=4)
    (tmp_path / "empty").mkdir()
    shutil.copytree(good, tmp_path / "again")
    folders = [str(tmp_path / name) for name in ("good", "empty", "missing", "again")]
    words = ["--out", str(tmp_path / "set"), "--size", "64", "--workers", "1"]

    assert main(["ingest", "vpt", *folders, *words]) == 1

    lines = drops(capsys)
    assert len(lines) == 3
    assert any("has the name of" in line for line in lines)
    assert len(read_manifest(tmp_path / "set").rows()) == 1


def test_a_segments_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    folder = write_vpt(tmp_path / "in", num_frames=4)
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(path.suffix.upper()))
    words = ["--out", str(tmp_path / "set"), "--size", "64", "--workers", "1"]

    assert main(["ingest", "vpt", str(folder), *words]) == 0


def test_a_bad_recording_of_open_p2p_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_p2p(tmp_path / "in", num_frames=4)
    write_p2p(tmp_path / "in", num_frames=4, name="bad", data=b"\xff" * 20)
    words = ["--out", str(tmp_path / "set"), "--size", "64", "--workers", "1"]

    assert main(["ingest", "open-p2p", str(tmp_path / "in"), *words]) == 1
    assert drops(capsys)[0].startswith("bad: dropped: ")
    assert len(read_manifest(tmp_path / "set").rows()) == 1


def test_a_tarball_that_cannot_be_read_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = TarballMaker()
    maker.piece("abcdefghijk", 0, 0, 30)
    good = maker.write(tmp_path / "good.tar.gz")
    (tmp_path / "bad.tar").mkdir()
    (tmp_path / "empty.tar").write_bytes(b"")
    paths = [good, tmp_path / "bad.tar", tmp_path / "none.tar", tmp_path / "empty.tar"]
    words = ["--out", str(tmp_path / "index"), "--workers", "1"]

    status = main(["labels", "index", *map(str, paths), *words])

    said = capsys.readouterr().out
    assert status == 1
    assert "\nnone.tar: " in said
    assert (tmp_path / "index" / "good.parquet").exists()


@pytest.mark.parametrize(
    "change",
    ['"score": 1' + "0" * 400, '"video_start_ns": 1' + "0" * 40, r'"session_id": "\ud800"'],
)
def test_facts_that_no_machine_can_hold_stop_no_other(
    tmp_path: Path,
    write_recording: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    change: str,
) -> None:
    for name in ("a", "bad", "z"):
        write_recording(tmp_path / "rec", name, num_frames=5)
    path = tmp_path / "rec" / "bad.json"
    # Of two fields of one name JSON takes the last.
    path.write_text(path.read_text().rstrip().removesuffix("}") + f",{change}}}")

    assert main(["shard", str(tmp_path / "rec"), "--out", str(tmp_path / "set")]) == 1

    (line,) = drops(capsys)
    assert line.startswith("bad: dropped: ")
    assert len(read_manifest(tmp_path / "set").table) == 2


def test_a_fault_is_one_line_whatever_a_library_says() -> None:
    assert str(ShardError("not readable: a\nb\n")) == "not readable: a b"
