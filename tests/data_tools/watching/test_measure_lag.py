"""The lag between a controller on a video and the picture is measured, and undone if asked for."""

from pathlib import Path

import numpy as np
import pytest
from lagging_videos import AT, FPS, LATE_ROWS, PAD_WIDTH, move_stick, show_late, write_turning
from made_readings import make_reading

from data_tools.__main__ import main
from data_tools.recordings.input_log import read_input_log
from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.measure_lag import Lag, measure_lag
from data_tools.watching.watched_recording import make_log
from nitrogen_train.actions import GAMEPAD

NUM_ROWS = 600


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> SourceVideo:
    path = tmp_path_factory.mktemp("late") / "late.mp4"
    return read_video_table(write_turning(path, move_stick(NUM_ROWS), late=LATE_ROWS))


def measure(video: SourceVideo, shown: np.ndarray, learned: np.ndarray | None = None) -> Lag:
    reading = make_reading(FPS, LEFT_STICK_X=shown)
    log = make_log(reading, video.edges_ns(0), graded=frozenset())
    box = (AT[0], AT[1], PAD_WIDTH, 110)
    return measure_lag(
        video, log, np.ones(NUM_ROWS, bool) if learned is None else learned, hidden=[box]
    )


def test_a_controller_that_is_drawn_late_has_that_lag(late: SourceVideo) -> None:
    lag = measure(late, show_late(move_stick(NUM_ROWS), LATE_ROWS))

    assert lag.ms == pytest.approx(1e3 * LATE_ROWS / FPS, abs=10)
    assert lag.confidence is not None
    assert lag.confidence > 0.9
    assert lag.count_rows(FPS) == -LATE_ROWS
    assert lag.describe(-LATE_ROWS).endswith("sure), corrected by -2 rows")


def test_the_lag_of_inputs_that_the_picture_does_not_follow_is_unknown(late: SourceVideo) -> None:
    lag = measure(late, move_stick(NUM_ROWS, seed=5))

    assert lag.ms is None
    assert lag.count_rows(FPS) == 0
    assert "lag unknown (" in lag.describe(0)


def test_the_lag_is_unknown_where_hardly_anything_could_be_read(late: SourceVideo) -> None:
    learned = np.arange(NUM_ROWS) % 100 < 50

    lag = measure(late, move_stick(NUM_ROWS), learned)

    assert lag.why == "the controller can be read in less than two stretches of 5 s"


@pytest.mark.full
def test_a_late_log_is_moved_by_whole_rows_if_asked_for(
    late: SourceVideo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["watch", str(late.path), "--game", "wall", "--skin", "xbox", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "as_shown")]) == 0
    assert "lag +1" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "moved"), "--correct-lag"]) == 0
    assert "corrected by -2 rows" in capsys.readouterr().out

    rows, facts = {}, {}
    for name in ("as_shown", "moved"):
        (recording,) = find_recordings([tmp_path / name])
        facts[name] = recording.read_facts()
        log = read_input_log(recording.log_path, GAMEPAD, stick_y_axis="down")
        rows[name] = log.rows(late.edges_ns(0), GAMEPAD).rows.sticks[:, 0]

    stick = move_stick(NUM_ROWS)
    assert np.abs(rows["as_shown"] - show_late(stick, LATE_ROWS)).mean() < 0.03
    assert np.abs(rows["moved"] - stick)[:-LATE_ROWS].mean() < 0.03
    overlay = facts["moved"].overlay
    assert overlay is not None
    assert (overlay.lag_ms, overlay.shifted_rows) == (pytest.approx(100, abs=10), -LATE_ROWS)
    # What nobody has seen yet is not learned from, and the box stays where the frames are.
    end_ns = int(late.edges_ns(0)[-1])
    assert facts["moved"].disturbed_ns[-1] == (end_ns - round(LATE_ROWS / FPS * 1e9), end_ns)
    assert facts["moved"].masked_boxes == facts["as_shown"].masked_boxes
