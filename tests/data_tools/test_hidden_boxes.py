from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from data_tools.shards.hidden_boxes import BoxFilling
from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_writer import encode_stretch
from data_tools.shards.source_video import read_video_table
from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.schema import Box
from nitrogen_train.data.video import PyAVDecoder

SIZE = 64


def make_picture(bright: np.ndarray, colours: tuple[int, int] = (90, 170)) -> VideoFrame:
    half = SIZE * SIZE // 4
    planes = [bright.ravel(), *(np.full(half, colour) for colour in colours)]
    planes = np.concatenate(planes).astype(np.uint8)
    return VideoFrame.from_ndarray(planes.reshape(SIZE * 3 // 2, SIZE), format="yuv420p")


def fill(picture: VideoFrame, *boxes: Box, area: Box = (0, 0, SIZE, SIZE)) -> np.ndarray:
    return BoxFilling.find(boxes, area, SIZE).fill(picture).to_ndarray()


@pytest.mark.parametrize(
    "boxes",
    [
        [(20, 24, 18, 9)],
        [(0, 0, 18, 9)],
        [(50, 60, 30, 30)],
        [(10, 10, 20, 20), (25, 15, 20, 30)],
        [(0, 20, 64, 9)],
    ],
    ids=["within", "corner", "beyond the edge", "two that overlap", "from edge to edge"],
)
def test_slopes_go_on(boxes: list[Box]) -> None:
    slope = np.broadcast_to(np.arange(SIZE) * 2 + 40, (SIZE, SIZE)).T
    shown = make_picture(slope).to_ndarray()
    hidden = slope.copy()
    for x, y, width, height in boxes:
        hidden[y : y + height, x : x + width] = 16
    filled = fill(make_picture(hidden), *boxes)
    for x, y, width, height in boxes:
        # At an edge a slope is not known to go on: what is next to the box does.
        open_sides = y == 0 or y + height >= SIZE
        most = height * 2 + 4 if open_sides else 14
        inner = np.s_[y : y + height, x : x + width]
        assert np.abs(filled[inner].astype(int) - shown[inner]).max() <= most
        assert filled[inner].min() > 35
    np.testing.assert_array_equal(filled[SIZE:], shown[SIZE:])


def test_filling_is_in_between_what_is_next_to_the_box() -> None:
    bright = np.full((SIZE, SIZE), 100)
    bright[:, 32:] = 200
    filled = fill(make_picture(bright), (24, 24, 16, 16))
    inner = filled[24:40, 24:40].astype(int)
    assert inner.min() >= 100
    assert inner.max() <= 200
    # Columns rise from the left to the right, rows are alike from top to bottom.
    assert (np.diff(inner, axis=1) >= 0).all()
    np.testing.assert_array_equal(inner, inner[::-1])


def test_nothing_of_the_boxes_enters() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(16, 235, (SIZE, SIZE))
    other = one.copy()
    other[10:31, 7:44] = rng.integers(16, 235, (21, 37))
    filled = [fill(make_picture(each), (7, 10, 37, 21)) for each in (one, other)]
    np.testing.assert_array_equal(*filled)
    np.testing.assert_array_equal(filled[0][40:SIZE], one[40:])


def test_a_picture_without_surroundings_stays_as_it_is() -> None:
    bright = np.full((SIZE, SIZE), 16)
    np.testing.assert_array_equal(
        fill(make_picture(bright), (0, 0, SIZE, SIZE)), make_picture(bright).to_ndarray()
    )


@pytest.mark.parametrize("area", [None, (40, 20, 100, 80)], ids=["whole", "area"])
def test_videos_are_filled_where_their_boxes_are(tmp_path: Path, area: Box | None) -> None:
    frames = [np.full((120, 160, 3), (60, 140, 90), np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[40:70, 60:110] = (250, 30 * number, 10)
    (tmp_path / "play.mp4").write_bytes(encode_video(frames, fps=30.0, width=160, height=120))
    video = read_video_table(tmp_path / "play.mp4")
    shown = {}
    for filling in ("black", "surroundings"):
        data = encode_stretch(
            video, fps=30.0, size=96, masked_boxes=[(58, 38, 54, 34)], area=area, filling=filling
        )
        shown[filling] = PyAVDecoder().decode(data).astype(int)
    assert np.abs(shown["surroundings"] - (60, 140, 90)).max() <= 12
    assert shown["black"].min() <= 4
    middle = np.s_[:, 44:46, 48:50] if area is None else np.s_[:, 40:42, 40:42]
    assert shown["black"][middle].max() <= 12


def test_settings_of_data_sets_that_were_made_before_are_the_same() -> None:
    assert "filling" not in ShardSettings().describe()
    assert ShardSettings(filling="surroundings").describe()["filling"] == "surroundings"
