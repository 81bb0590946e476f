"""A film shows a watched video, what was read from it, and what a policy sees."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64
from watched_play import BRIGHTNESS, FPS, PAD_BRIGHTNESS, write_play

from data_tools.recordings.recording import find_recordings
from data_tools.shards.source_video import read_video_table
from data_tools.watching.watched_film import write_film
from nitrogen_train.viewing.overlays import LIT

NUM_FRAMES = 30
COLUMN = 480
"""Left edge of what is beside the video."""
SQUARE = (668, 133, 124)
"""Left and top edge and side of what a policy sees."""


def film_play(
    tmp_path: Path, states: list[dict[str, float | bool]], control: str
) -> list[Int64[np.ndarray, "h w 3"]]:
    """Return the pictures of the middle second."""
    write_play(tmp_path, states)
    (recording,) = find_recordings([tmp_path])
    write_film(recording, tmp_path / "film.mp4", controls=[control], seconds=1.0, size=96)
    film = read_video_table(tmp_path / "film.mp4")
    assert film.fps == FPS
    return [frame.to_ndarray(format="rgb24").astype(int) for frame in film.read()]


def test_a_film_is_of_the_middle_and_as_long_as_asked(tmp_path: Path) -> None:
    pictures = film_play(tmp_path, [{"SOUTH": row >= 14} for row in range(NUM_FRAMES)], "SOUTH")

    assert len(pictures) == 10
    # Rows 10 to 19: the face button lights up.
    assert np.abs(pictures[0][:125, COLUMN:] - pictures[-1][:125, COLUMN:]).max() > 80


def test_the_video_has_its_pad_and_the_square_picture_has_not(tmp_path: Path) -> None:
    states = [{"LEFT_STICK_X": 1.0}] * NUM_FRAMES
    picture = film_play(tmp_path, states, "LEFT_STICK_X")[-1]

    video = picture[:356, : COLUMN - 4]
    assert np.abs(video[80, COLUMN * 3 // 4] - PAD_BRIGHTNESS).max() < 12
    assert np.abs(video[356 // 2 :] - BRIGHTNESS).max() < 12
    left, top, side = SQUARE
    square = picture[top : top + side, left : left + side]
    assert np.abs(square - BRIGHTNESS).max() < 12


def test_the_course_of_a_control_ends_at_the_row(tmp_path: Path) -> None:
    picture = film_play(tmp_path, [{"SOUTH": row >= 19} for row in range(NUM_FRAMES)], "SOUTH")[-1]

    course = picture[320:355, COLUMN:]
    rows, columns = np.nonzero(np.abs(course - LIT).sum(axis=-1) < 120)
    assert columns[rows == rows.min()].min() > course.shape[1] - 30
    assert columns.min() < course.shape[1] - 60
