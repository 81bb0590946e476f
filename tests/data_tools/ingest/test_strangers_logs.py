"""Logs of other programs: other encodings, cut ends, other makers' names of buttons."""

import codecs
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.__main__ import main
from data_tools.ingest.recording.controls import choose_labels, recognize_control
from data_tools.recordings.recording import find_recordings
from data_tools.shards.shard_plan import PlannedClip, ShardSettings
from data_tools.shards.shard_recordings import plan_recording
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.schema import ShardError

ROWS = ("time_ms,A,B,RT", "0,0,0,0", "1000,1,0,0", "2000,0,1,0", "3000,0,0,1", "4000,0,0,0")
TEXT = "\n".join(ROWS) + "\n"


def write_video(path: Path) -> Path:
    with VideoWriter(path, fps=10.0, width=64, height=48) as video:
        for t in range(40):
            video.write(np.full((48, 64, 3), 6 * t, np.uint8))
    return path


def ingest(*words: object) -> int:
    return main(["ingest", "recording", *map(str, words), "--game", "grey"])


def read_clip(folder: Path) -> PlannedClip:
    settings = ShardSettings(size=64, clip_seconds=20.0)
    return plan_recording(find_recordings([folder])[0], settings=settings).clips[0]


def pressed(clip: PlannedClip, button: str) -> list[int]:
    return np.flatnonzero(clip.actions.rows.buttons[:, GAMEPAD.buttons.index(button)]).tolist()


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode() + b"\0" * 5000,
        "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in ROWS).encode(),
        "\n".join(f"{row},{'Größe' if row in ROWS[:1] else 'ü'}" for row in ROWS).encode("cp1252"),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", ";").replace("000;", "000,0;").encode(),
        TEXT.replace(",", "\t").encode(),
    ],
    ids=[
        "utf-16",
        "utf-16-be",
        "no mark",
        "utf-8 mark",
        "zeros at the end",
        "quoted",
        "cp1252",
        "semicolons",
        "decimal commas",
        "tabs",
    ],
)
def test_a_table_is_read_in_any_encoding(tmp_path: Path, data: bytes) -> None:
    video = write_video(tmp_path / "run.mp4")
    (tmp_path / "run.csv").write_bytes(data)

    assert ingest(video, "--out", tmp_path / "out") == 0
    clip = read_clip(tmp_path / "out")

    assert pressed(clip, "SOUTH") == list(range(10, 20))
    assert pressed(clip, "RIGHT_TRIGGER") == list(range(30, 40))


@pytest.mark.parametrize(
    "tail", ["3950,0,", "39", "3950,0,0,-", "3950,0,0\n", "3950,0,0,0,1\n", "3950,0,\0\0\0"]
)
def test_a_cut_last_row_costs_that_row_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tail: str
) -> None:
    video = write_video(tmp_path / "run.mp4")
    (tmp_path / "run.csv").write_text("\n".join(ROWS[:-1]) + "\n3900,0,0,1\n" + tail)

    assert ingest(video, "--out", tmp_path / "out") == 0
    assert "the last row is cut and left out: '39" in capsys.readouterr().out
    assert pressed(read_clip(tmp_path / "out"), "SOUTH") == list(range(10, 20))


def test_a_bad_row_in_the_middle_is_no_cut(tmp_path: Path) -> None:
    video = write_video(tmp_path / "run.mp4")
    (tmp_path / "run.csv").write_text(TEXT.replace("1000,1,0,0", "1000,1"))

    assert ingest(video, "--out", tmp_path / "out") == 1


def test_a_log_of_our_own_loses_its_cut_last_row_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write_recording: Callable[..., Path]
) -> None:
    folder = write_recording(tmp_path)
    log = folder / "run-0.inputs.jsonl"
    log.write_text(log.read_text() + '{"t_ns": 11000000000, "contr')

    words = ("--out", tmp_path / "out", "--stick-y", "down", "--video-start", 5)
    assert ingest(folder / "run-0.mp4", *words) == 0
    assert "the last row is cut and left out" in capsys.readouterr().out
    settings = ShardSettings(size=64)
    unit = plan_recording(find_recordings([folder])[0], settings=settings)
    assert unit.notes == {"logs whose last row was cut, left out": 1}


def test_a_log_of_our_own_may_be_in_utf_16(
    tmp_path: Path, write_recording: Callable[..., Path]
) -> None:
    folder = write_recording(tmp_path)
    before = read_clip(folder).actions.rows.sticks
    log = folder / "run-0.inputs.jsonl"
    log.write_bytes(log.read_text().encode("utf-16"))

    np.testing.assert_array_equal(read_clip(folder).actions.rows.sticks, before)


NINTENDO = ["A", "B", "X", "Y", "L", "R", "ZL", "ZR", "MINUS", "PLUS"]


def test_a_nintendo_pads_letters_are_nintendos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "run.mp4")
    cells = ["1" if name in ("B", "Y", "ZR", "L") else "0" for name in NINTENDO]
    rows = ["time_ms," + ",".join(NINTENDO), *(f"{t},{','.join(cells)}" for t in (0, 4000))]
    (tmp_path / "run.csv").write_text("\n".join(rows) + "\n")

    assert ingest(video, "--out", tmp_path / "out") == 0
    clip = read_clip(tmp_path / "out")

    held = {name for name in GAMEPAD.buttons if pressed(clip, name)}
    assert held == {"SOUTH", "WEST", "RIGHT_TRIGGER", "LEFT_SHOULDER"}
    assert "Xbox" not in capsys.readouterr().out


def test_what_was_assumed_of_letters_alone_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "run.mp4")
    (tmp_path / "run.csv").write_text(TEXT.replace("RT", "START"))

    assert ingest(video, "--out", tmp_path / "out") == 0
    assert "A, B read as an Xbox pad's" in capsys.readouterr().out
    words = ("--out", tmp_path / "other", "--button-labels", "nintendo")
    assert ingest(video, *words) == 0
    assert pressed(read_clip(tmp_path / "other"), "EAST") == list(range(10, 20))


@pytest.mark.parametrize(
    ("columns", "labels", "is_assumed"),
    [
        (["A", "B", "X", "Y", "LB", "RT"], "xbox", False),
        (["XINPUT_GAMEPAD_A", "bLeftTrigger"], "xbox", False),
        (["A", "B", "X", "Y", "CAPTURE"], "nintendo", False),
        (["button_a", "button_zl"], "nintendo", False),
        (["X", "Circle", "Square", "Triangle"], "playstation", False),
        (["A", "B", "X", "Y", "BACK", "START"], "xbox", True),
        (["SOUTH", "EAST", "L", "R"], "xbox", False),
    ],
)
def test_columns_of_one_makers_pads_tell_whose_letters_they_are(
    columns: list[str], labels: str, is_assumed: bool
) -> None:
    found, note = choose_labels(columns, None, "pad.csv")

    assert (found, bool(note)) == (labels, is_assumed)


@pytest.mark.parametrize("others", [["LT", "ZL"], ["L", "R", "L2", "R2"], ["CROSS", "MINUS"]])
def test_columns_of_several_makers_are_asked_about(others: list[str]) -> None:
    with pytest.raises(ShardError, match="--button-labels xbox or --button-labels nintendo"):
        choose_labels(["A", "B", *others], None, "pad.csv")
    assert choose_labels(["A", "B", *others], "nintendo", "pad.csv") == ("nintendo", "")


def test_letters_mean_what_their_maker_says() -> None:
    faces = {name: recognize_control(name, "nintendo") for name in "ABXY"}
    assert faces == {"A": "EAST", "B": "SOUTH", "X": "NORTH", "Y": "WEST"}
    assert recognize_control("X", "playstation") == "SOUTH"
    assert recognize_control("ZL") == "LEFT_TRIGGER"
    assert recognize_control("axis_x") is None


@pytest.mark.parametrize("kind", [pa.timestamp("ms"), pa.duration("us"), pa.time32("ms")], ids=str)
def test_times_that_know_their_unit_need_no_other(tmp_path: Path, kind: pa.DataType) -> None:
    video = write_video(tmp_path / "run.mp4")
    stored = pa.int32() if pa.types.is_time(kind) else pa.int64()
    scale = 1000 if pa.types.is_duration(kind) else 1
    times = pa.array([ms * scale for ms in (0, 1000, 2000, 3000, 4000)], stored).cast(kind)
    pq.write_table(pa.table({"time": times, "A": [0, 1, 0, 0, 0]}), tmp_path / "run.parquet")

    assert ingest(video, "--out", tmp_path / "out") == 0
    assert pressed(read_clip(tmp_path / "out"), "SOUTH") == list(range(10, 20))


def test_letters_are_told_by_any_of_their_maker() -> None:
    assert choose_labels(["X", "O", "L1"], None, "log") == ("playstation", "")
    assert choose_labels(["A", "B", "SL", "SR"], None, "log") == ("nintendo", "")


def test_whose_letters_is_refused_where_it_would_say_nothing(
    tmp_path: Path, write_recording: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path, "own", num_frames=5)
    own = ("--out", tmp_path / "out", "--stick-y", "down", "--video-start", "5")

    assert ingest(tmp_path / "own.mp4", *own, "--button-labels", "nintendo") == 1
    assert "--button-labels is of tables" in capsys.readouterr().out
    assert (
        ingest(tmp_path / "own.mp4", *own, "--button-labels", "xbox", "--columns", "J=SOUTH") == 2
    )
    assert "leave out --button-labels" in capsys.readouterr().err
