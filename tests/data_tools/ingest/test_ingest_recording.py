from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_tools.__main__ import main
from data_tools.recordings.recording import find_recordings
from data_tools.shards.shard_plan import PlannedClip, ShardSettings
from data_tools.shards.shard_recordings import plan_recording
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.encode import VideoWriter

BUTTONS = ("SOUTH", "EAST", "WEST", "NORTH", "BACK", "GUIDE", "START", "LEFT_STICK", "RIGHT_STICK")
BUTTONS += ("LEFT_SHOULDER", "RIGHT_SHOULDER", "DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT")
BUTTONS += ("MISC1", "RIGHT_PADDLE1")
AXES = ("LEFTX", "LEFTY", "RIGHTX", "RIGHTY", "LEFT_TRIGGER", "RIGHT_TRIGGER")
SETTINGS = ShardSettings(size=64, clip_seconds=20.0)


def write_video(path: Path, *, seconds: float = 4.0, fps: float = 10.0) -> Path:
    with VideoWriter(path, fps=fps, width=64, height=48) as video:
        for t in range(round(seconds * fps)):
            video.write(np.full((48, 64, 3), 4 * t % 240, np.uint8))
    return path


def write_input_rec(path: Path, *, seconds: float = 4.0, without: tuple[float, float] = (0, 0)):
    """SOUTH is down from 1.02 to 1.06 s, the left stick is up from 2 s on."""
    time = np.arange(0, round(seconds * 1e6), 2000)
    time = time[(time < without[0] * 1e6) | (time >= without[1] * 1e6)]
    columns: dict[str, Any] = {"time": time}
    columns |= {name: np.zeros(len(time), dtype=bool) for name in BUTTONS}
    columns |= {name: np.zeros(len(time), dtype=np.int16) for name in AXES}
    columns["SOUTH"] = (time >= 1_020_000) & (time < 1_060_000)
    columns["LEFTY"] = np.where(time >= 2_000_000, -32768, 0).astype(np.int16)
    columns["RIGHT_TRIGGER"] = np.where(time >= 3_000_000, 20000, 0).astype(np.int16)
    pq.write_table(pa.table(columns), path)
    return path


def ingest(*arguments: object) -> int:
    return main(["ingest", "recording", *map(str, arguments), "--game", "grey"])


def clip_of(folder: Path) -> PlannedClip:
    unit = plan_recording(find_recordings([folder])[0], settings=SETTINGS)
    return unit.clips[0]


def pressed(clip: PlannedClip, button: str) -> list[int]:
    return np.flatnonzero(clip.actions.rows.buttons[:, GAMEPAD.buttons.index(button)]).tolist()


def test_an_obs_recording_becomes_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "2026-01-02 03-04-05.mp4")
    write_input_rec(video.with_suffix(".parquet"))
    out = tmp_path / "out"

    assert ingest(video, "--out", out, "--licence", "CC0-1.0") == 0
    said = capsys.readouterr().out
    clip = clip_of(out)

    assert "MISC1, RIGHT_PADDLE1" in said
    assert "1 recording" in said
    assert pressed(clip, "SOUTH") == [10]
    assert pressed(clip, "RIGHT_TRIGGER") == list(range(30, 40))
    assert clip.actions.rows.sticks[:, 1].tolist() == [0.0] * 20 + [-1.0] * 20
    assert clip.actions.right_trigger_value is not None
    assert clip.actions.valid.all()
    assert clip.metadata.licence == "CC0-1.0"
    assert find_recordings([out])[0].read_facts().device == "gamepad by OBS input-rec"


def test_an_offset_moves_the_rows(tmp_path: Path) -> None:
    video = write_video(tmp_path / "run.mp4")
    write_input_rec(video.with_suffix(".parquet"))

    assert ingest(video, "--out", tmp_path / "out", "--offset-ms", 300) == 0
    clip = clip_of(tmp_path / "out")

    assert pressed(clip, "SOUTH") == [13]
    # The log begins 300 ms into the video: nobody knows what was held before.
    assert clip.actions.valid.tolist() == [False] * 3 + [True] * 37


def test_an_unplugged_pad_is_let_go_and_not_learned_from(tmp_path: Path) -> None:
    video = write_video(tmp_path / "run.mp4")
    write_input_rec(video.with_suffix(".parquet"), without=(2.5, 3.4))

    assert ingest(video, "--out", tmp_path / "out") == 0
    clip = clip_of(tmp_path / "out")

    assert np.flatnonzero(~clip.actions.valid).tolist() == list(range(24, 34))
    assert clip.actions.rows.sticks[20:, 1].tolist() == [-1.0] * 5 + [0.0] * 9 + [-1.0] * 6


CSV = "time_ms,A,LX,LY,RT\n0,0,0.5,1,0\n1000,1,0.5,0,255\n2000,0,-1,0,0\n4000,0,0,0,0\n"


def test_a_csv_becomes_a_recording(tmp_path: Path) -> None:
    video = write_video(tmp_path / "run.mp4")
    video.with_suffix(".csv").write_text(CSV)
    options = ("--stick-range", "unit", "--stick-y", "up", "--trigger-range", "byte")

    assert ingest(video, "--out", tmp_path / "out", *options, "--copy") == 0
    clip = clip_of(tmp_path / "out")

    assert pressed(clip, "SOUTH") == pressed(clip, "RIGHT_TRIGGER") == list(range(10, 20))
    assert clip.actions.rows.sticks[0].tolist() == [0.5, -1.0, 0.0, 0.0]
    assert (tmp_path / "out" / "run.mp4").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CSV, [], "give --stick-range unit"),
        (CSV.replace("time_ms", "time"), [], "give --time-unit"),
        (CSV.replace("time_ms", "frame"), [], "choose one with --time-column"),
        (CSV.replace("A,", "SOUTH,", 1).replace("LX", "Cross"), [], "both mean SOUTH"),
        (CSV, ["--columns", "B=EAST"], "no column 'B'"),
        (CSV, ["--columns", "A=SOUTH", "--time-unit", "us"], "check --time-unit"),
        (
            CSV.replace("1000,1", "1000,down"),
            ["--columns", "A=SOUTH"],
            "A, row 2: expected a number, or true or false, got 'down'",
        ),
        (CSV.replace("2000,", "200,"), ["--columns", "A=SOUTH"], "runs backwards"),
        (CSV.split("\n")[0] + "\n", ["--columns", "A=SOUTH"], "holds no row"),
        ("", [], "not readable"),
        ("\x00\xff\xfe", [], "not readable|column"),
    ],
)
def test_a_log_that_is_not_understood_is_dropped_with_its_reason(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    message: str,
) -> None:
    video = write_video(tmp_path / "run.mp4")
    video.with_suffix(".csv").write_text(text)

    assert ingest(video, "--out", tmp_path / "out", *options) == 1
    lines = capsys.readouterr().out.splitlines()

    assert lines[0].startswith("run.mp4: dropped: ")
    assert any(word in lines[0] for word in message.split("|"))
    assert not list((tmp_path / "out").glob("*.json"))


def test_columns_come_from_a_yaml_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "run.mp4")
    video.with_suffix(".csv").write_text(CSV.replace("A,", "Jump,"))
    (tmp_path / "columns.yaml").write_text("Jump: SOUTH\n")

    status = ingest(video, "--out", tmp_path / "out", "--columns", tmp_path / "columns.yaml")

    assert status == 0
    assert pressed(clip_of(tmp_path / "out"), "SOUTH") == list(range(10, 20))


def test_a_log_of_our_own_is_taken(tmp_path: Path, write_recording: Callable[..., Path]) -> None:
    (tmp_path / "in").mkdir()
    folder = write_recording(tmp_path / "in")
    video, out = folder / "run-0.mp4", tmp_path / "out"

    assert ingest(video, "--out", out, "--stick-y", "down", "--video-start", 5) == 0

    ours, theirs = clip_of(out).actions, clip_of(folder).actions
    np.testing.assert_array_equal(ours.rows.buttons, theirs.rows.buttons)
    np.testing.assert_allclose(ours.rows.sticks, theirs.rows.sticks)


def test_a_second_run_keeps_what_is_there_and_refuses_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "run.mp4")
    write_input_rec(video.with_suffix(".parquet"))
    out = tmp_path / "out"
    ingest(video, "--out", out)
    first, before = capsys.readouterr().out, (out / "run.json").stat().st_mtime_ns

    assert ingest(video, "--out", out) == 0
    assert capsys.readouterr().out == first
    assert (out / "run.json").stat().st_mtime_ns == before
    assert ingest(video, "--out", out, "--offset-ms", 10) == 1
    assert "other" in capsys.readouterr().out


def test_a_hidden_video_is_refused_since_shard_would_not_see_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_input_rec(write_video(tmp_path / "run.mp4").with_suffix(".parquet"))
    hidden = (tmp_path / "run.mp4").rename(tmp_path / ".run.MP4")

    assert ingest(hidden, "--log", tmp_path / "run.parquet", "--out", tmp_path / "out") == 1

    assert "is a hidden file" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_game_that_the_folder_spells_otherwise_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "run.mp4")
    write_input_rec(video.with_suffix(".parquet"))
    assert ingest(video, "--out", tmp_path / "out") == 0
    other = write_video(tmp_path / "other.mp4")
    write_input_rec(other.with_suffix(".parquet"))

    command = ["ingest", "recording", str(other), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*command, "--game", "Grey"])

    assert "got 'Grey'; write grey" in capsys.readouterr().err
    assert not (tmp_path / "out" / "other.json").exists()


def test_what_cannot_be_measured_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "run.mp4")
    write_input_rec(video.with_suffix(".parquet"))
    out = tmp_path / "out"

    assert ingest(video, "--out", out, "--estimate-offset") == 1
    assert "cannot be known" in capsys.readouterr().out
    assert not list(out.glob("*.json"))
    assert ingest(video, "--out", out, "--estimate-offset", "--keep-unknown") == 0
    assert "offset +0 ms, drift +0 ppm (as given; unknown: " in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["no log", "two logs", "other suffix", "not a video", "apart"])
def test_a_pair_that_does_not_fit_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    video = write_video(tmp_path / "run.mp4")
    log = write_input_rec(video.with_suffix(".parquet"))
    options: list[object] = []
    if fault == "no log":
        log.unlink()
    elif fault == "two logs":
        video.with_suffix(".csv").write_text(CSV)
    elif fault == "other suffix":
        video = video.rename(video.with_suffix(".avi"))
    elif fault == "not a video":
        video.write_bytes(b"nothing" * 100)
    else:
        options = ["--offset-ms", 60_000]

    assert ingest(video, "--out", tmp_path / "out", *options) == 1
    assert "dropped: " in capsys.readouterr().out


def test_a_video_of_varying_frame_rate_becomes_a_clip(tmp_path: Path) -> None:
    ticks = [0, 100, 200, 260, 300, 400, 700, 800, 900, 1000, *range(1100, 4000, 100)]
    with av.open(str(tmp_path / "run.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(
                np.full((64, 64, 3), 4 * index, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_input_rec(tmp_path / "run.parquet")

    assert ingest(tmp_path / "run.mkv", "--out", tmp_path / "out") == 0
    clip = clip_of(tmp_path / "out")

    assert (clip.metadata.fps, clip.metadata.num_frames) == (10.0, 40)
    assert pressed(clip, "SOUTH") == [10]
    assert clip.actions.rows.sticks[:, 1].tolist() == [0.0] * 20 + [-1.0] * 20
    shades = [frame.to_ndarray(format="gray").mean() for frame in clip.video.read()]
    # The picture of 0.4 s stays until that of 0.7 s.
    assert shades[4] == shades[5] == shades[6] != shades[7]
