from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_source_video import write_video

from data_tools.shards.shard_recordings import find_shown, to_constant_rate
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError


def make_video(ticks: Sequence[int], fps: float = 10.0) -> SourceVideo:
    return SourceVideo(
        path=Path("video.mp4"), width=64, height=64, fps=fps, time_base=Fraction(1, 1000),
        ticks=np.array(ticks, np.int64),
    )  # fmt: skip


def test_frames_are_repeated_and_left_out() -> None:
    # The drawing of the module.
    converted = to_constant_rate(make_video([0, 90, 160, 210, 390, 510]), 10.0)

    assert converted.frames.tolist() == [0, 1, 3, 3, 4, 5]
    assert converted.video.ticks.tolist() == [0, 90, 210, 210, 390, 510]
    edges_ms = (converted.edges_ns(0) / 1e6).tolist()
    assert edges_ms == [0, 90, 210, 300, 390, 510, 610]


def test_half_the_rate_leaves_out_every_second_frame() -> None:
    converted = to_constant_rate(make_video(range(0, 1000, 100)), 5.0)

    assert converted.video.fps == 5.0
    # Times between two of the grid go to the later one, and the later frame is shown.
    assert converted.frames.tolist() == [0, 2, 4, 6, 8, 9]


def test_a_constant_rate_stays() -> None:
    video = make_video([round(1000 * index / 60) for index in range(600)], fps=60.0)

    converted = to_constant_rate(video, 60.0)

    assert converted.frames.tolist() == list(range(600))


def test_no_row_reaches_past_the_next_frame() -> None:
    rng = np.random.default_rng(3)
    ticks = np.cumsum(rng.integers(1, 400, 300))
    video = make_video((ticks - ticks[0]).tolist())
    converted = to_constant_rate(video, 10.0)

    edges = converted.edges_ns(7)

    assert (np.diff(edges) > 0).all()
    new = np.flatnonzero(np.diff(converted.frames)) + 1
    np.testing.assert_array_equal(edges[new], 7 + 1_000_000 * converted.video.ticks[new])


def test_the_frame_shown_at_a_time_is_the_nearest_or_stays() -> None:
    # 200 ms after 0: as a video that begins later.
    video = make_video([200, 290, 360, 410, 590, 710])

    assert find_shown(video, first_s=0.0, fps=10.0, count=6).tolist() == [0, 1, 3, 3, 4, 5]
    assert find_shown(video, first_s=0.3, fps=10.0, count=4).tolist() == [3, 4, 5, 5]
    assert find_shown(video, first_s=-0.2, fps=10.0, count=3).tolist() == [0, 0, 0]


def test_long_gaps_are_refused() -> None:
    with pytest.raises(ShardError, match=r"2 frames in the time of 100001 .*long gaps"):
        to_constant_rate(make_video([0, 10_000_000]), 10.0)
    with pytest.raises(ShardError, match="above 0"):
        to_constant_rate(make_video([0, 100]), 0.0)


def test_a_video_of_varying_rate_is_read_and_decoded(tmp_path: Path) -> None:
    ticks = [0, 90, 160, 210, 390, 510]
    video = read_video_table(write_video(tmp_path / "video.mp4", ticks))

    assert video.find_unsteady() is not None
    with pytest.raises(ShardError, match="no constant frame rate"):
        video.check_constant_rate()
    frames = to_constant_rate(video, 10.0).video.read()
    shades = [round(float(frame.to_ndarray(format="rgb24").mean()) / 2) for frame in frames]
    assert shades == pytest.approx([0, 1, 3, 3, 4, 5], abs=1)
