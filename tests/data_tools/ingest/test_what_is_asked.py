"""What `ingest recording` says of logs and options that do not do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.__main__ import main

ROWS = [(0, 0.0, 0.5, 1), (100, 0.25, -1.0, 0), (200, 0.0, 0.0, 0), (390, 0.0, 0.0, 0)]
SAID = ("--time-unit", "ms", "--stick-range", "unit", "--stick-y", "up")


def write_log(path: Path, header: str = "time,LX,LY,A", *, scale: float = 1.0) -> Path:
    lines = [",".join([f"{row[0] * scale:g}", *map(str, row[1:])]) for row in ROWS]
    path.write_text("\n".join([header, *lines][not header :]) + "\n")
    return path


@pytest.fixture
def say(
    tmp_path: Path, write_recording: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Ingest a video of 0.4 s, which must be dropped, and return its line."""
    write_recording(tmp_path, "run", num_frames=4)
    video = tmp_path / "run.mp4"

    def run(*options: str | Path, of: Path = video) -> str:
        words = ["ingest", "recording", of, "--out", tmp_path / "out", "--game", "g", *options]
        assert main([str(word) for word in words]) == 1
        (line,) = [each for each in capsys.readouterr().out.splitlines() if ": dropped: " in each]
        assert "[Errno" not in line
        return line

    return run


@pytest.mark.parametrize(("scale", "unit"), [(1e-3, "s"), (1, "ms"), (1e3, "us"), (1e6, "ns")])
def test_all_that_is_missing_is_asked_in_one_line(
    say: Callable[..., str], tmp_path: Path, scale: float, unit: str
) -> None:
    line = say("--log", write_log(tmp_path / "log.csv", scale=scale))

    assert f"give --time-unit {unit} --stick-range unit --stick-y up (XInput) or" in line
    assert "sticks from -1 to 0.5" in line


def test_what_is_said_is_not_asked_again(say: Callable[..., str], tmp_path: Path) -> None:
    line = say("--log", write_log(tmp_path / "log.csv"), "--time-unit", "ms", "--stick-y", "up")

    assert "--stick-range unit" in line
    assert "--time-unit" not in line
    assert "--stick-y" not in line


def test_a_table_without_a_header_is_told_what_its_first_line_must_be(
    say: Callable[..., str], tmp_path: Path
) -> None:
    line = say("--log", write_log(tmp_path / "log.csv", ""))

    assert "its first line must name the columns" in line
    assert "'0,0.0,0.5,1'" in line


def test_a_wrong_time_unit_is_told_with_both_lengths(
    say: Callable[..., str], tmp_path: Path
) -> None:
    line = say("--log", write_log(tmp_path / "log.csv"), *SAID[2:], "--time-unit", "us")

    assert "the log lasts from 0 to 0.00039 s" in line
    assert "check --time-unit" in line


@pytest.mark.parametrize("more", [[], ["--estimate-offset"]])
def test_a_log_beside_the_video_names_the_start_that_would_fit(
    say: Callable[..., str], tmp_path: Path, more: list[str]
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time,A\n100000,1\n100200,0\n100400,0\n")

    assert "give --video-start 100;" in say("--log", log, "--time-unit", "ms", *more)


def test_labels_that_the_columns_belie_are_refused(say: Callable[..., str], tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time_ms,A,ZR\n0,1,0\n400,0,1\n")

    assert "ZR, which Nintendo's pads have" in say("--log", log, "--button-labels", "xbox")


def test_a_column_that_is_called_otherwise_is_named(
    say: Callable[..., str], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.csv", "time_ms,Look,Move,Jump")

    assert "did you mean Jump?" in say("--log", log, "--columns", "Jmp=SOUTH")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("log.csv", "is a log, expected a video"),
        ("folder", "is a folder; name its videos"),
        ("videos/*.mkv", "nothing matches it"),
        ("gone.mp4", "no such file"),
    ],
)
def test_what_is_no_video_is_told_what_it_is(
    say: Callable[..., str], tmp_path: Path, name: str, message: str
) -> None:
    write_log(tmp_path / "log.csv")
    (tmp_path / "folder").mkdir()

    assert message in say(of=tmp_path / name)


@pytest.mark.parametrize(("name", "message"), [(".", "is a directory"), ("none.csv", "no such")])
def test_a_log_that_cannot_be_opened_is_said_in_words(
    say: Callable[..., str], tmp_path: Path, name: str, message: str
) -> None:
    assert message in say("--log", tmp_path / name)


def test_a_broken_video_is_named_once(say: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    line = say("--log", write_log(tmp_path / "log.csv"), *SAID, of=tmp_path / "bad.mp4")

    assert line.count("bad.mp4") <= 2
    assert "Invalid data" in line


def test_a_pause_is_named_where_nothing_can_be_measured(
    say: Callable[..., str], tmp_path: Path
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time_s,A\n" + "".join(f"{t},{t % 2}\n" for t in range(8)))

    line = say("--log", log, "--estimate-offset")

    assert "cannot be known" in line
    assert "the log goes on for 6.6 s after the video's end: was the video paused" in line


def test_another_setting_of_a_finished_recording_is_named(
    say: Callable[..., str], tmp_path: Path
) -> None:
    video, log = tmp_path / "run.mp4", write_log(tmp_path / "log.csv")
    words = ["ingest", "recording", str(video), "--out", str(tmp_path / "out"), "--game", "g"]
    assert main([*words, "--log", str(log), *SAID]) == 0
    notes = json.loads((tmp_path / "out" / "run.ingest.json").read_bytes())

    line = say("--log", log, *SAID[:-1], "down")

    assert notes["settings"]["stick_y_axis"] == "up"
    assert "was made with --stick-y up, now down; choose another --out" in line


def test_a_data_set_of_other_settings_names_them(
    tmp_path: Path, write_recording: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path / "rec", num_frames=5)
    words = ["shard", str(tmp_path / "rec"), "--out", str(tmp_path / "set"), "--workers", "1"]
    assert main([*words, "--size", "64"]) == 0

    assert main([*words, "--size", "32"]) == 2
    assert "was made with --size 64, now 32;" in capsys.readouterr().err


def test_sharding_a_video_and_a_foreign_log_leads_to_ingest(
    say: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "run.mp4").rename(raw / "run.mp4")
    write_log(raw / "run.csv")

    assert main(["shard", str(raw), "--out", str(tmp_path / "set"), "--workers", "1"]) == 2
    assert "first nitrogen-data ingest recording" in capsys.readouterr().err
