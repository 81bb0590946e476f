"""A film shows a watched video, what was read from it, and what a policy sees."""

from pathlib import Path

import numpy as np
from watched_play import BRIGHTNESS, FPS, write_play

from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import read_video_table
from data_tools.watching.watched_film import draw_moment, write_film
from nitrogen_train.viewing.overlays import LIT

NUM_FRAMES = 30
COLUMN = 480
"""Left edge of what is beside the video."""


def test_a_film_is_of_the_middle_and_as_long_as_asked(tmp_path: Path) -> None:
    write_play(tmp_path, [{"SOUTH": row >= 14} for row in range(NUM_FRAMES)])
    (recording,) = find_recordings([tmp_path])

    write_film(recording, tmp_path / "film.mp4", controls=["SOUTH"], seconds=1.0, size=96)

    film = read_video_table(tmp_path / "film.mp4")
    assert (len(film), film.fps) == (10, FPS)
    first, *_, last = (frame.to_ndarray(format="rgb24") for frame in film.read())
    # Rows 10 to 19: the face button lights up.
    assert np.abs(first[:125, COLUMN:].astype(int) - last[:125, COLUMN:]).max() > 80


def test_the_video_has_its_pad_and_the_square_picture_has_not(tmp_path: Path) -> None:
    write_play(tmp_path, [{"LEFT_STICK_X": 1.0}] * NUM_FRAMES)
    (recording,) = find_recordings([tmp_path])

    picture = np.asarray(
        draw_moment(recording, controls=["LEFT_STICK_X"], seconds=1.0, size=96), int
    )

    assert np.abs(picture[:360, :COLUMN] - BRIGHTNESS).max() < 8
    side = 320 - 176 - 2 * 8
    square = picture[133 : 133 + side, COLUMN + 8 : COLUMN + 8 + side]
    assert square[round(side * 0.25), round(side * 0.8)].max() == 0
    assert abs(square[round(side * 0.8), round(side * 0.2)] - BRIGHTNESS).max() < 8


def test_the_courses_of_controls_end_at_the_row(tmp_path: Path) -> None:
    write_play(tmp_path, [{"SOUTH": row >= 19} for row in range(NUM_FRAMES)])
    (recording,) = find_recordings([tmp_path])

    picture = np.asarray(draw_moment(recording, controls=["SOUTH"], seconds=1.0, size=96))

    lit = np.all(picture[140:200, COLUMN + 150 :] == LIT, axis=-1)
    rows, columns = np.nonzero(lit)
    assert columns[rows == rows.min()].min() > lit.shape[1] - 20
