import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import UInt8

from data_tools.__main__ import main
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer, composite

WriteRecording = Callable[..., Path]
SMALL = ["--size", "320x180", "--width", "120", "--workers", "1"]


def draw(source: Path, out: Path, *words: str, skin: str = "xbox") -> int:
    return main(["overlay", "draw", str(source), "--out", str(out), "--skin", skin, *SMALL, *words])


def read_frames(path: Path) -> tuple[UInt8[np.ndarray, "f h w 3"], float]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return np.stack(frames), float(container.streams.video[0].average_rate or 0)


def expected(
    state: dict[str, float], grey: int, at: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a frame; a pad whose place is not given is at the right bottom."""
    pad = Renderer(open_skin("xbox"), 120).render(state)
    frame = np.full((180, 320, 3), grey, np.uint8)
    margin = round(0.02 * 320)
    return composite(frame, pad, at or (194, 180 - pad.shape[0] - margin), 0.9)


def off(frame: UInt8[np.ndarray, "h w 3"], expected: UInt8[np.ndarray, "h w 3"]) -> float:
    return float(np.abs(frame.astype(int) - expected).mean())


def test_every_frame_shows_its_row(write_recording: WriteRecording, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    write_recording(folder, num_frames=20)

    assert draw(folder, tmp_path / "out") == 0

    frames, rate = read_frames(tmp_path / "out" / "run-0.mp4")
    assert (frames.shape, rate) == ((20, 180, 320, 3), 10)
    for t in (0, 7, 18):
        state = {"LEFT_STICK_X": t / 100, "SOUTH": float(t % 2)}
        right = np.abs(frames[t].astype(int) - expected(state, 4 * t)).mean()
        flipped = state | {"SOUTH": 1 - state["SOUTH"]}
        assert right < 3
        assert right < np.abs(frames[t].astype(int) - expected(flipped, 4 * t)).mean()


def test_the_rate_is_changed_without_a_shift(
    write_recording: WriteRecording, tmp_path: Path
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    write_recording(folder, num_frames=10)

    draw(folder, tmp_path / "out", "--fps", "20")

    frames, rate = read_frames(tmp_path / "out" / "run-0.mp4")
    assert rate == 20
    assert len(frames) in (19, 20)
    for t in (6, 7):
        state = {"LEFT_STICK_X": 0.03, "SOUTH": 1.0}
        assert np.abs(frames[t].astype(int) - expected(state, 12)).mean() < 3


def test_sticks_up_and_triggers_in_part_are_drawn_at_a_given_place(
    write_recording: WriteRecording, tmp_path: Path
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    controls = {"LEFT_STICK_Y": 1.0, "LEFT_TRIGGER": 0.6}
    rows = [{"t_ns": 5_000_000_000 + t * 10**8, "controls": controls} for t in range(4)]
    write_recording(folder, num_frames=4, log_rows=rows, stick_y_axis="up")

    draw(folder, tmp_path / "out", "--at", "100,10", "--bitrate", "20M")

    frames, _ = read_frames(tmp_path / "out" / "run-0.mp4")
    state, at = {"LEFT_STICK_Y": -1.0, "LEFT_TRIGGER": 0.6}, (100, 10)
    others = [state | {"LEFT_STICK_Y": 1.0}, state | {"LEFT_TRIGGER": 1.0}, {"LEFT_STICK_Y": -1.0},
              {"LEFT_STICK_Y": -1.0, "RIGHT_TRIGGER": 0.6}]  # fmt: skip
    right = off(frames[2], expected(state, 8, at))
    assert right < 3
    assert all(right < off(frames[2], expected(other, 8, at)) for other in others)


def test_a_lower_bit_rate_makes_a_smaller_file(
    write_recording: WriteRecording, tmp_path: Path
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    write_recording(folder, num_frames=20)

    for rate in ("30k", "20M"):
        draw(folder, tmp_path / rate, "--bitrate", rate)

    small, large = ((tmp_path / rate / "run-0.mp4").stat().st_size for rate in ("30k", "20M"))
    assert small < large / 2


def test_finished_videos_are_kept_and_other_settings_refused(
    write_recording: WriteRecording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "rec", tmp_path / "out"
    folder.mkdir()
    write_recording(folder, "a", num_frames=5)
    draw(folder, out)
    first = (out / "a.mp4").stat().st_mtime_ns
    write_recording(folder, "b", num_frames=5)

    assert draw(folder, out) == 0
    assert "2 videos in" in capsys.readouterr().out
    assert (out / "a.mp4").stat().st_mtime_ns == first
    assert (out / "b.mp4").is_file()
    (out / "a.mp4").unlink()
    assert draw(folder, out) == 0
    assert (out / "a.mp4").is_file()
    assert draw(folder, out, skin="switch") == 2
    assert "was made with --skin xbox (" in capsys.readouterr().err


def test_a_recording_that_has_changed_is_drawn_again(
    write_recording: WriteRecording, tmp_path: Path
) -> None:
    folder, out = tmp_path / "rec", tmp_path / "out"
    folder.mkdir()
    write_recording(folder, num_frames=5)
    draw(folder, out)
    before = (out / "run-0.mp4").read_bytes()
    log = folder / "run-0.inputs.jsonl"
    size = log.stat().st_size
    log.write_text(log.read_text().replace("false", "true ").replace("SOUTH", "NORTH"))
    assert log.stat().st_size == size

    draw(folder, out)

    assert (out / "run-0.mp4").read_bytes() != before


def test_the_same_bytes_come_again(write_recording: WriteRecording, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    write_recording(folder, num_frames=20)
    for name in ("one", "two"):
        draw(folder / "run-0.mp4", tmp_path / name, skin="drawn-3")

    one, two = (tmp_path / name / "run-0.mp4" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_two_recordings_of_one_name_are_told_apart(
    write_recording: WriteRecording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_recording(tmp_path / name, num_frames=4)
    words = ["--out", str(tmp_path / "out"), "--skin", "xbox", *SMALL]
    one, two = (tmp_path / name / "run-0.mp4" for name in ("one", "two"))

    assert main(["overlay", "draw", str(one.parent), str(one), *words]) == 0
    assert main(["overlay", "draw", str(one.parent), str(two), *words]) == 1
    assert "run-0.mp4 have one name; rename one" in capsys.readouterr().out


def test_a_bad_recording_does_not_stop_the_others(
    write_recording: WriteRecording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    for name in ("bad-log", "good", "keys", "no-video"):
        write_recording(folder, name, num_frames=4)
    (folder / "bad-log.inputs.jsonl").write_text('{"t_ns": 1, "controls": {"SOUTHH": 1}}\n')
    (folder / "no-video.mp4").write_bytes(b"\0" * 100)
    (folder / "lacks-log.mp4").write_bytes(b"")
    facts = json.loads((folder / "keys.json").read_text()) | {"action_space": "keyboard_mouse"}
    (folder / "keys.json").write_text(json.dumps(facts))

    status = draw(folder, tmp_path / "out")

    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[-1] == f"1 video in {tmp_path / 'out'}"
    assert len(lines) == 5
    assert {p.name for p in (tmp_path / "out").glob("*.mp4")} == {"good.mp4"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--at", "middle"], "--at takes top-left"),
        (["--at", "300,10"], "a controller of 120x"),
        (["--at", "5000,5000"], "--at 5000,5000 lies outside of the picture of 320x180 pixels"),
        (["--opacity", "0"], "--opacity lies above 0"),
        (["--opacity", "nan"], "--opacity lies above 0"),
        (["--width", "4000"], "--width lies from 16"),
        (["--size", "321x180"], "even numbers"),
        (["--bitrate", "1"], "--bitrate lies from"),
        (["--fps", "1000"], "--fps lies from"),
        (["--skin", "xbix"], "did you mean xbox"),
    ],
)
def test_a_wrong_setting_is_one_line(
    write_recording: WriteRecording,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    write_recording(folder, num_frames=2)

    status = draw(folder, tmp_path / "out", *words)

    error = capsys.readouterr().err
    assert status == 2
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_recordings_is_left_alone(
    write_recording: WriteRecording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path, num_frames=2)

    assert draw(tmp_path, tmp_path) == 2
    assert "choose another folder" in capsys.readouterr().err
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "run-0.mp4", other / "mine.mp4")
    assert draw(tmp_path, other) == 2
    assert "not drawn here" in capsys.readouterr().err
