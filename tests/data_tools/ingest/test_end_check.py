"""Logs that go on after their video, of a picture that turns as the stick says."""

from pathlib import Path

import numpy as np
import pytest
from remuxed_videos import remux

from data_tools.__main__ import main
from nitrogen_train.data.encode import VideoWriter

FPS, SECONDS = 20.0, 60.0
_TURN_PX = 6.0


def hold_stick(times_s: np.ndarray) -> np.ndarray:
    """Where the stick is: at another place two and a half times a second."""
    places = np.random.default_rng(3).uniform(-1, 1, 1000)
    return places[(np.asarray(times_s) * 2.5).astype(int)]


def write_pair(folder: Path, shown_s: np.ndarray, log_s: float) -> Path:
    """Write a video that shows these moments, and a log of everything from 0 on."""
    rng = np.random.default_rng(5)
    texture = rng.integers(0, 255, (12, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    fine = np.arange(0, shown_s.max() + 1, 1 / FPS)
    place = np.append(0, np.cumsum(hold_stick(fine) * _TURN_PX))
    with VideoWriter(folder / "run.mp4", fps=FPS, width=64, height=48) as video:
        for moment in shown_s:
            turned = np.roll(texture, -int(place[round(moment * FPS)]), axis=1)
            video.write(np.ascontiguousarray(turned[:, :64]))
    times = np.arange(0, log_s, 0.02)
    rows = [f"{t:.3f},{x:.3f}" for t, x in zip(times, hold_stick(times), strict=True)]
    (folder / "run.csv").write_text("time_s,RX\n" + "\n".join(rows) + "\n")
    return folder / "run.mp4"


def ingest(video: Path, *options: object) -> int:
    out = video.parent / "out"
    words = ["ingest", "recording", video, "--out", out, "--game", "turns", "--stick-range", "unit"]
    return main([*map(str, words), *map(str, options)])


MOMENTS = np.arange(0, SECONDS, 1 / FPS)


def pause(at_s: float, length_s: float) -> np.ndarray:
    return np.where(at_s > MOMENTS, MOMENTS, MOMENTS + length_s)


def test_a_log_that_is_longer_than_a_video_that_tells_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, pause(2.0, 6.0)[:100], 11.0)

    assert ingest(video) == 1
    assert "the log goes on for 6.0 s after the video's end" in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.parametrize("at_s", [10.0, 40.0])
def test_a_log_that_went_on_while_the_video_was_paused_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at_s: float
) -> None:
    video = write_pair(tmp_path, pause(at_s, 6.0), SECONDS + 6)

    assert ingest(video) == 1
    assert "the log goes on for 6.0 s after the video's end" in capsys.readouterr().out
    # Most of the picture agrees with one offset.
    assert ingest(video, "--estimate-offset") == 1
    assert "dropped" in capsys.readouterr().out


@pytest.mark.slow
def test_the_log_of_a_whole_session_is_refused_for_its_second_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, MOMENTS + 20, SECONDS + 20)

    assert ingest(video) == 1
    assert "--video-start SECONDS" in capsys.readouterr().out
    assert ingest(video, "--video-start", 20) == 0


def test_a_log_that_goes_on_is_kept_if_the_last_pictures_answer_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, MOMENTS[:800], 46.0)

    assert ingest(video) == 0
    assert "so it was not paused" in capsys.readouterr().out


def test_a_log_that_goes_on_is_kept_and_named_if_a_person_says_where_the_video_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, MOMENTS[:100], 300.0)

    assert ingest(video) == 1
    assert ingest(video, "--video-start", 0) == 0
    assert "the log goes on for 295.0 s after the video's end" in capsys.readouterr().out


@pytest.mark.parametrize("surplus_s", [-0.8, 0.0, 0.8])
def test_what_starting_and_stopping_cost_is_no_reason_to_refuse(
    tmp_path: Path, surplus_s: float
) -> None:
    assert ingest(write_pair(tmp_path, MOMENTS[:100], 5.0 + surplus_s)) == 0


@pytest.mark.full
def test_a_jump_of_a_few_frames_is_found_where_the_clock_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, pause(38.0, 0.4), SECONDS + 0.4)

    assert ingest(video, "--estimate-offset") == 1
    assert "no one offset fits" in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.parametrize("is_paused", [False, True])
def test_of_a_video_that_was_cut_off_the_last_pictures_tell_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_paused: bool
) -> None:
    whole = write_pair(tmp_path, pause(10.0, 6.0) if is_paused else MOMENTS, SECONDS + 6)
    path = whole.with_suffix(".ts")
    remux(whole, path)
    video = whole.with_suffix(".mkv")
    whole.unlink()
    data = path.read_bytes()
    path.unlink()
    video.write_bytes(data[: len(data) * 3 // 5])

    assert ingest(video) == int(is_paused)
    said = capsys.readouterr().out
    assert "the log goes on for" in said
    assert is_paused or "is cut off: its first" in said


def test_a_trimmed_video_that_was_paused_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trimmed = write_pair(tmp_path, pause(2.0, 6.0)[:105], 11.0)
    whole = trimmed.rename(tmp_path / "whole.mp4")
    remux(whole, trimmed, shift_s=0.25)

    assert ingest(trimmed) == 1
    assert "after the video's end" in capsys.readouterr().out


def test_a_log_on_another_clock_is_told_so_and_not_that_it_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_pair(tmp_path, MOMENTS[:100], 5.0)
    rows = [row.split(",") for row in (tmp_path / "run.csv").read_text().splitlines()[1:]]
    text = "\n".join(f"{1764300000 + float(time):.3f},{x}" for time, x in rows)
    (tmp_path / "run.csv").write_text(f"time_s,RX\n{text}\n")

    assert ingest(video) == 1
    assert "check --time-unit, --video-start and --offset-ms" in capsys.readouterr().out
