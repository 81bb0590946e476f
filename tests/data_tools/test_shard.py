import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_faults import list_faults
from killed_command import run_until_named
from test_source_video import write_video
from test_video_rate import lose_frames, show
from tiers import divide

from data_tools.__main__ import main
from data_tools.recordings.recording import Recording, find_recordings
from data_tools.shards.drop_report import Dropped, DropReport, format_report, read_report
from data_tools.shards.shard_plan import ALL, Part, PlannedUnit, ShardSettings, make_plan
from data_tools.shards.shard_recordings import plan_recording, shard_recordings
from data_tools.shards.shard_writer import join_parts, write_dataset
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.video import PyAVDecoder

SETTINGS = ShardSettings(size=64, clip_seconds=2.0, clips_per_shard=2)
# A fresh process in which no file may grow beyond the first argument.
LIMITED = (
    "import resource, sys\n"
    "limit = int(sys.argv[1])\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
    "from data_tools.__main__ import main\n"
    "sys.exit(main(sys.argv[2:]))\n"
)


@pytest.fixture(scope="module")
def recordings_dir(tmp_path_factory: pytest.TempPathFactory, write_recording: Callable) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for index in range(3):
        write_recording(folder, f"run-{index}", num_frames=50)
    return folder


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory, recordings_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "set"
    shard([recordings_dir], folder)
    return folder


def shard(folders: list[Path], out_dir: Path, *, part: Part = ALL, **changes: Any) -> DropReport:
    settings = ShardSettings(**(vars(SETTINGS) | changes))
    return shard_recordings(folders, out_dir=out_dir, settings=settings, part=part, workers=1)


def arguments(recordings_dir: Path, out_dir: Path, *more: str) -> list[str]:
    return [
        "shard", str(recordings_dir), "--out", str(out_dir), "--size", "64",
        "--clip-seconds", "2", "--clips-per-shard", "2", *more,
    ]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_data_set_holds_the_recordings(dataset_dir: Path) -> None:
    manifest = read_manifest(dataset_dir)

    assert list_faults(dataset_dir) == []
    assert sum(manifest.table["num_frames"].to_pylist()) == 150
    assert {path.name for path in dataset_dir.iterdir()} == {
        "manifest.parquet",
        "report.json",
        *manifest.table["shard"].to_pylist(),
    }
    for row in manifest.rows():
        record = Dataset(dataset_dir).read(row)
        first = record.metadata.provenance.start_frame
        times = np.arange(first, first + row.num_frames)
        np.testing.assert_allclose(record.actions.rows.sticks[:, 0], times / 100)
        shades = PyAVDecoder().decode(record.video).mean(axis=(1, 2, 3))
        assert np.abs(shades - 4 * times).max() < 3


def test_the_same_recordings_give_the_same_bytes(
    dataset_dir: Path, recordings_dir: Path, tmp_path: Path
) -> None:
    shard([recordings_dir], tmp_path / "set")

    assert contents(tmp_path / "set") == contents(dataset_dir)


def test_a_data_set_in_place_of_recordings_is_named(dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="is a data set already; shard takes recordings"):
        shard([dataset_dir], tmp_path / "set")


def test_a_finished_data_set_is_left_alone(dataset_dir: Path, recordings_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset_dir.iterdir()}

    shard([recordings_dir], dataset_dir)

    assert {path: path.stat().st_mtime_ns for path in dataset_dir.iterdir()} == before


def test_another_data_set_is_not_overwritten(dataset_dir: Path, recordings_dir: Path) -> None:
    before = contents(dataset_dir)

    with pytest.raises(ShardError, match="was made with --size 64, now 96"):
        shard([recordings_dir], dataset_dir, size=96)

    assert contents(dataset_dir) == before


@pytest.mark.parametrize(
    "verb",
    [
        ["shard", "in"],
        ["record", "doom_gather", "--episodes", "1"],
        ["ingest", "recording", "x.mp4", "--game", "g"],
        ["ingest", "vpt", "in"],
        ["labels", "index", "in"],
        ["index", "in", "--game", "g"],
    ],
)
def test_an_out_that_is_a_file_is_told_before_any_input_is_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("in/a.mp4", "in/a.jsonl", "in/b.tar", "in/a.tar.gz", "file"):
        (tmp_path / name).touch()

    with pytest.raises(SystemExit, match="2"):
        main([*verb, "--out", "file"])

    said = capsys.readouterr().err.strip()
    assert "argument --out: file is a file, expected a folder" in said


def test_a_set_that_cannot_be_trained_on_says_so_at_once(
    tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_recording(tmp_path / "in", num_frames=20)

    assert main(arguments(tmp_path / "in", tmp_path / "set")) == 0

    said = capsys.readouterr().out
    assert "nothing is held out for validation" in said
    assert "or train without validation: data.num_val_windows=0" in said
    assert "there is 1; record another one" in said


def test_one_game_in_two_spellings_is_refused_before_anything_is_written(
    tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    write_recording(tmp_path / "in", "a", game="celeste")
    write_recording(tmp_path / "in", "b", game="Celeste")

    assert main(arguments(tmp_path / "in", tmp_path / "set", "--part", "1/2")) == 2

    assert "'Celeste' and 'celeste' differ in their spelling alone" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_tars_of_unknown_origin_are_not_overwritten(recordings_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "shard-000000.tar").write_bytes(b"somebody's work")

    with pytest.raises(ShardError, match="tars of unknown origin"):
        shard([recordings_dir], tmp_path)

    assert contents(tmp_path) == {"shard-000000.tar": b"somebody's work"}


@pytest.mark.parametrize(
    ("suffix", "data", "words"),
    [
        (".inputs.jsonl", b'{"t_ns": 0, "controls": {"JUMP": true}}\n', "row 1: "),
        (".inputs.jsonl", b"", "is empty"),
        (".inputs.jsonl", None, "lacks its input log"),
        (".mp4", b"", "not readable as a video"),
        (".mp4", b"garbage" * 100, "not readable as a video"),
        (".mp4", None, "holds"),
        (".json", b"{", "JSON"),
        (".json", None, "lacks its facts"),
    ],
)
def test_a_bad_recording_is_a_line_and_stops_no_other(
    recordings_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    suffix: str,
    data: bytes | None,
    words: str,
) -> None:
    folder = shutil.copytree(recordings_dir, tmp_path / "recordings")
    bad = folder / f"run-2{suffix}"
    bad.unlink()
    if data is not None:
        bad.write_bytes(data)
    elif suffix != ".mp4":
        bad.mkdir()
    else:
        bad.symlink_to(tmp_path)

    assert main([*arguments(folder, tmp_path / "set"), "--workers", "1"]) == 1

    (line,) = [line for line in capsys.readouterr().out.splitlines() if ": dropped: " in line]
    assert line.startswith("run-2: dropped: ")
    assert words in line or "no file" in line
    assert sorted(set(read_manifest(tmp_path / "set").table["session_id"].to_pylist())) == [
        "run-0",
        "run-1",
    ]
    assert list_faults(tmp_path / "set") == []


@pytest.mark.parametrize("words", ["told", "raw", "now"])
def test_a_set_that_left_a_recording_out_is_known_however_its_error_is_worded(
    recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    folder = shutil.copytree(recordings_dir, tmp_path / "recordings")
    (folder / "run-2.inputs.jsonl").write_text("{")
    is_old, plan_as_now = words != "now", PlannedUnit.unusable

    def plan_as_before(dropped: Dropped, error: Exception, **files: Any) -> PlannedUnit:
        digest = f"{dropped.name}: {error}"
        return replace(plan_as_now(dropped, error, **files), digest=digest, earlier_digests=())

    with monkeypatch.context() as patch:
        if is_old:
            patch.setattr(PlannedUnit, "unusable", plan_as_before)
        before = shard([folder], tmp_path / "set")
        half_written(folder, tmp_path / "half")

    def raise_in_other_words(recording: Recording, *, settings: ShardSettings) -> PlannedUnit:
        try:
            return plan_recording(recording, settings=settings)
        except ShardError as error:
            raise ShardError(f"in other words: {error}") from error

    if words != "raw":
        monkeypatch.setattr(
            "data_tools.shards.shard_recordings.plan_recording", raise_in_other_words
        )
    assert shard([folder], tmp_path / "set") == before
    if words != "told":  # Nothing tells in which words a half-written set was refused.
        shard([folder], tmp_path / "half")

    # Another recording, or another fault, is another set.
    (folder / "run-2.inputs.jsonl").write_text("{}")
    if not is_old:
        for log in ("[", "{}"):  # As long as before, and longer.
            (folder / "run-2.inputs.jsonl").write_text(log)
            with pytest.raises(ShardError, match="one that was left out has been mended"):
                shard([folder], tmp_path / "set")
    shutil.copy(recordings_dir / "run-2.inputs.jsonl", folder)
    with pytest.raises(ShardError, match="one that was left out has been mended"):
        shard([folder], tmp_path / "set")


def test_a_set_that_left_a_video_out_is_another_once_the_video_is(
    recordings_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(recordings_dir, tmp_path / "recordings")
    (video,) = (path for path in folder.glob("run-2.*") if path.suffix in (".mp4", ".mkv"))
    video.write_bytes(b"no video")
    shard([folder], tmp_path / "set")
    video.write_bytes(b"no video either")

    with pytest.raises(ShardError, match="one that was left out has been mended"):
        shard([folder], tmp_path / "set")


def half_written(folder: Path, out_dir: Path) -> None:
    """Leave what a run leaves that is killed once it has taken the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_tools.shards.shard_writer._write_shards", lambda *_, **__: sys.exit(9))
        with pytest.raises(SystemExit):
            shard([folder], out_dir)


def test_a_folder_that_is_missing_stops_no_other(
    recordings_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, first, *options = arguments(recordings_dir, tmp_path / "set")
    folders = [first, str(tmp_path / "none"), first]

    assert main([verb, *folders, *options, "--workers", "1"]) == 1

    said = capsys.readouterr().out
    assert "none: dropped: " in said
    assert "run-0: dropped: " in said
    assert sum(read_manifest(tmp_path / "set").table["num_frames"].to_pylist()) == 150


def test_nothing_is_written_where_all_recordings_are_bad(
    tmp_path: Path, write_recording: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    folder = write_recording(tmp_path / "in", num_frames=5)
    (folder / "run-0.inputs.jsonl").write_text("{")

    assert main(arguments(folder, tmp_path / "set")) == 2

    assert "run-0.inputs.jsonl, row 1 is not JSON" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_parts_are_joined_to_a_data_set_of_the_same_clips(
    dataset_dir: Path, recordings_dir: Path, tmp_path: Path
) -> None:
    out_dir = tmp_path / "set"
    for index in (1, 0):
        shard([recordings_dir], out_dir, part=Part(index=index, count=2))

    report = join_parts(out_dir)

    def list_clips(folder: Path) -> list[tuple[str, str, str]]:
        rows = read_manifest(folder).rows()
        return sorted((row.clip_id, row.split, row.sha256) for row in rows)

    assert list_clips(out_dir) == list_clips(dataset_dir)
    assert list_faults(out_dir) == []
    assert report == read_report(dataset_dir / "report.json")
    assert not (out_dir / ".progress").exists()
    # Neither a part nor the join does any more.
    before = contents(out_dir)
    shard([recordings_dir], out_dir, part=Part(index=1, count=2))
    assert join_parts(out_dir) == report
    assert contents(out_dir) == before
    with pytest.raises(ShardError, match="data set of other recordings or settings"):
        shard([recordings_dir], out_dir, part=Part(index=1, count=3))


@pytest.mark.parametrize(
    "rate",
    [Fraction(45), Fraction(60_000, 1001), Fraction(72), Fraction(90), Fraction(144)],
    ids=str,
)
def test_recordings_that_lost_frames_keep_their_rate(
    tmp_path: Path, write_recording: Callable, rate: Fraction
) -> None:
    # As by OBS: ticks of a millisecond, another few frames lost in each file of the session.
    folder = tmp_path / "recordings"
    folder.mkdir()
    seen = {"first": lose_frames(120, 0.03, 1), "second": lose_frames(120, 0.06, 2)}
    for name, shown in seen.items():
        # The stick says which frame the grabber took last.
        log_rows = [
            {"t_ns": round(place * 1e9 / rate), "controls": {"LEFT_STICK_X": place / 128}}
            for place in range(int(shown[-1]) + 1)
        ]
        write_recording(folder, name, start_ns=0, log_rows=log_rows, session_id="evening")
        write_video(folder / f"{name}.mp4", show(shown, rate).tolist(), fps=round(rate))

    shard([folder], tmp_path / "set", clip_seconds=10.0)

    rows = {row.clip_id: row for row in read_manifest(tmp_path / "set").rows()}
    assert {row.fps for row in rows.values()} == {float(rate)}
    for name, shown in seen.items():
        row = rows[f"{name}-0000"]
        assert row.num_frames == shown[-1] + 1
        data = Dataset(tmp_path / "set").read(row)
        shades = PyAVDecoder().decode(data.video).mean(axis=(1, 2, 3)) / 2
        places = np.arange(row.num_frames)
        latest = np.searchsorted(shown, places, side="right") - 1
        np.testing.assert_allclose(shades, latest, atol=1)
        # Half a millisecond early, a frame's row begins with the input before.
        np.testing.assert_allclose(data.actions.rows.sticks[:, 0] * 128, places, atol=1.001)


def test_parts_that_do_not_fit_are_not_joined(recordings_dir: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "set"
    with pytest.raises(FileNotFoundError, match="holds no parts"):
        join_parts(out_dir)
    shard([recordings_dir], out_dir, part=Part(index=1, count=2))

    with pytest.raises(ShardError, match="lacks 1 of 2 parts, part-00000-of-00002 first"):
        join_parts(out_dir)
    with pytest.raises(ShardError, match="unfinished data set of other recordings or settings"):
        shard([recordings_dir], out_dir, part=Part(index=0, count=3))
    with pytest.raises(ShardError, match="unfinished data set of other recordings or settings"):
        shard([recordings_dir], out_dir)
    shard([recordings_dir], out_dir, part=Part(index=0, count=2), size=96)
    with pytest.raises(ShardError, match="differ in their settings"):
        join_parts(out_dir)


def test_a_part_without_recordings_is_one_too(recordings_dir: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "set"
    for index in range(5):
        shard([recordings_dir], out_dir, part=Part(index=index, count=5))

    assert [game.num_clips for game in join_parts(out_dir).games] == [9]


@pytest.mark.parametrize("text", ["2", "2/2", "-1/2", "0/0", "a/b", "1/2/3"])
def test_a_part_that_is_none_is_one_line(
    recordings_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main([*arguments(recordings_dir, tmp_path / "set"), f"--part={text}"]) == 2

    assert "nitrogen-data shard: error: a part is " in capsys.readouterr().err


def test_clips_of_damaged_videos_are_left_out_with_their_reason(
    recordings_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(recordings_dir, tmp_path / "recordings")
    video = folder / "run-1.mp4"
    data = video.read_bytes()
    video.write_bytes(data[:-700] + b"\xff" * 700)
    recordings = find_recordings([folder])
    plan = make_plan(
        recordings,
        partial(plan_recording, settings=SETTINGS),
        heldout={"run-2"},
        settings=SETTINGS,
        part=ALL,
        workers=1,
    )

    report = write_dataset(plan, out_dir=tmp_path / "b", workers=1)

    assert report.dropped
    assert {item.name.rpartition("-")[0] for item in report.dropped} == {"run-1"}
    assert {item.reason for item in report.dropped} == {"the video is damaged"}
    (game,) = report.games
    assert game.kept_s + game.dropped_s == pytest.approx(15)
    assert "the video is damaged" in format_report(report)
    assert list_faults(tmp_path / "b") == []
    assert len(read_manifest(tmp_path / "b")) == 9 - len(report.dropped)


@pytest.mark.parametrize("limit_bytes", divide([1_000, 5_000, 12_000], slow=[5_000]))
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    dataset_dir: Path, recordings_dir: Path, tmp_path: Path, limit_bytes: int
) -> None:
    out_dir = tmp_path / "set"
    command = [*arguments(recordings_dir, out_dir), "--workers", "1"]

    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit_bytes), *command], capture_output=True, text=True
    )

    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("nitrogen-data")]
    assert "file too large" in line
    assert line.endswith("free some space and start again: what is finished is kept")
    assert "Traceback" not in run.stderr
    assert not [path for path in out_dir.rglob("*") if path.suffix in (".part", ".parquet")]
    assert (
        contents(out_dir).items()
        - {(name, data) for name, data in contents(out_dir).items() if ".progress" in name}
        <= contents(dataset_dir).items()
    )
    shard([recordings_dir], out_dir)
    assert contents(out_dir) == contents(dataset_dir)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_data_set(
    dataset_dir: Path, recordings_dir: Path, tmp_path: Path
) -> None:
    out_dir = tmp_path / "set"
    command = arguments(recordings_dir, out_dir)
    run_until_named(r"shard-000001\.tar$", command)
    finished = {path: path.stat().st_mtime_ns for path in out_dir.glob("shard-*.tar")}
    assert [path.name for path in finished] == ["shard-000000.tar"]

    assert main(command) == 0

    assert contents(out_dir) == contents(dataset_dir)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_what_the_version_before_left_is_written_again_and_said(
    dataset_dir: Path, recordings_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir = tmp_path / "set"
    half_written(recordings_dir, out_dir)
    (progress_dir,) = (out_dir / ".progress").iterdir()
    of = json.loads((progress_dir / "shards.jsonl").read_text())["of"]
    (progress_dir / "shards.jsonl").unlink()
    (progress_dir / "plan").write_text(of["plan"])
    (progress_dir / "asked.json").write_text(json.dumps(of["asked"]))
    (progress_dir / "shard-000000.tar.json").write_text('{"rows": [], "dropped": []}')
    (out_dir / "shard-000000.tar").write_bytes(b"a shard")
    with pytest.raises(ShardError, match="was made with --size 64, now 96"):
        shard([recordings_dir], out_dir, size=96)
    capsys.readouterr()

    shard([recordings_dir], out_dir)

    assert f"{progress_dir} is of an earlier version" in capsys.readouterr().err
    assert contents(out_dir) == contents(dataset_dir)


def test_an_unfinished_data_set_of_other_settings_is_not_mixed(
    recordings_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / ".progress" / "all").mkdir(parents=True)
    (tmp_path / ".progress" / "all" / "plan").write_text("another plan")

    with pytest.raises(ShardError, match="unfinished data set of other recordings"):
        shard([recordings_dir], tmp_path)


def test_the_recordings_folder_does_not_become_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shard", str(tmp_path), "--out", f"{tmp_path}/../{tmp_path.name}"]) == 2

    assert "holds the recordings: choose another folder with --out" in capsys.readouterr().err
