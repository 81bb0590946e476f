from pathlib import Path

import numpy as np
import pytest

from data_tools.ingest.recording.clock_fit import read_windows
from data_tools.ingest.recording.lag import read_picture_motion
from data_tools.shards.source_video import read_video_table
from nitrogen_train.data.encode import VideoWriter


def write_panning(path: Path, steps_px: list[int]) -> Path:
    """A view of a wide noisy wall that moves to the right by some pixels after each frame."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 255, (12, 400)), np.ones((8, 8))).astype(np.uint8)
    place = 1000
    with VideoWriter(path, fps=10.0, width=128, height=96) as video:
        for step in steps_px:
            video.write(np.repeat(wall[:96, place : place + 128, None], 3, axis=2))
            place += step
    return path


def test_turns_are_seen_with_their_sign_and_size(tmp_path: Path) -> None:
    steps = [0, 4, -4, 20, -20, 2, 0, 0]
    video = read_video_table(write_panning(tmp_path / "pan.mp4", steps))

    motion = read_picture_motion(video, 0, len(video))

    assert len(motion) == 7
    np.testing.assert_allclose(motion.starts_s, np.arange(7) / 10)
    np.testing.assert_allclose(motion.stops_s, motion.starts_s + 0.1)
    # The wall goes to the left when the view goes to the right; the picture is read at 64 x 48.
    assert motion.values[:, 1] == pytest.approx([-step / 2 for step in steps[:-1]], abs=0.3)
    assert motion.values[:, 0] == pytest.approx([0] * 7, abs=0.3)


def test_a_picture_of_one_colour_does_not_move(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "grey.mp4", fps=10.0, width=64, height=48) as video:
        for _ in range(5):
            video.write(np.full((48, 64, 3), 90, np.uint8))

    motion = read_picture_motion(read_video_table(tmp_path / "grey.mp4"), 0, 5)

    assert np.isfinite(motion.values).all()
    np.testing.assert_allclose(motion.values[:, 2:6], 0, atol=0.1)


def test_windows_cover_the_video(tmp_path: Path) -> None:
    video = read_video_table(write_panning(tmp_path / "pan.mp4", [1] * 120))

    windows = read_windows(video)

    assert [len(window) for window in windows] == [50, 50]
    assert (windows[0].starts_s[0], windows[1].starts_s[0]) == (0.0, 5.0)


def test_what_is_hidden_is_not_looked_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    patches = rng.integers(0, 255, (9, 40, 60, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "patch.mp4", fps=10.0, width=128, height=96) as video:
        for patch in patches:
            picture = np.full((96, 128, 3), 90, np.uint8)
            picture[40:80, 50:110] = patch
            video.write(picture)
    table = read_video_table(tmp_path / "patch.mp4")

    seen = read_picture_motion(table, 0, 9).values
    hidden = read_picture_motion(table, 0, 9, hidden=[(48, 38, 64, 44)]).values
    nothing = read_picture_motion(table, 0, 9, hidden=[(0, 0, 128, 96)]).values

    areas = slice(6, 18)
    assert seen[:, areas].max() > 1
    assert hidden[:, areas].max() < 0.5
    assert np.isfinite(nothing).all()
