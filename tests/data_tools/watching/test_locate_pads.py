"""Pads are located without being told what they look like, by stretch of time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.any_skin.locate_pads import Find, PadDetector, locate_pads
from nitrogen_train.data.encode import StreamEncoding, VideoWriter

WIDE, TALL = 640, 360
ONE, OTHER = (40, 40, 140, 100), (480, 240, 600, 320)


def draw(path: Path, num_rows: int, places: Callable[[int], list[tuple[int, ...]]]) -> SourceVideo:
    """Draw boards of squares, each row's at its places, over a game that moves."""
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 200, (60, 90)), np.ones((12, 12))).astype(np.uint8)
    encoding = StreamEncoding(bitrate=2_000_000, preset="ultrafast")
    with VideoWriter(path, fps=10.0, width=WIDE, height=TALL, encoding=encoding) as writer:
        for row in range(num_rows):
            left, top = rng.integers(0, 400), rng.integers(0, 300)
            frame = world[top : top + TALL, left : left + WIDE].copy()
            for x0, y0, x1, y1 in places(row):
                squares = (np.arange(y1 - y0)[:, None] // 10 + np.arange(x1 - x0) // 10) % 2
                frame[y0:y1, x0:x1] = 20 + 220 * squares
            writer.write(np.repeat(frame[..., None], 3, axis=2))
    return read_video_table(path)


class BoardDetector:
    """Finds the boards at places that are known, where more than half of the moments have them."""

    def detect(self, moments: np.ndarray) -> list[Find]:
        finds = []
        for box in (ONE, OTHER):
            x0, y0, x1, y1 = box
            inside = np.median(np.asarray(moments)[:, y0:y1, x0:x1], axis=0)
            if np.mean((inside < 60) | (inside > 200)) > 0.9:
                finds.append(Find(tuple(float(edge) for edge in box), 0.9))
        return finds


def locate(video: SourceVideo) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(pad.start, pad.stop, pad.box) for pad in locate_pads(video, BoardDetector())]


def test_a_pad_that_stays_is_one_stretch_of_all_rows(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", 60, lambda _: [ONE])

    assert locate(video) == [(0, 60, ONE)]


def test_two_pads_are_two_stretches_at_the_same_time(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", 60, lambda _: [ONE, OTHER])

    assert locate(video) == [(0, 60, ONE), (0, 60, OTHER)]


@pytest.mark.parametrize("seconds", [12, 40])
def test_a_pad_that_moves_is_two_stretches_one_after_the_other(
    tmp_path: Path, seconds: int
) -> None:
    half = 5 * seconds
    video = draw(tmp_path / "a.mp4", 2 * half, lambda row: [ONE if row < half else OTHER])

    first, second = locate(video)

    assert (first[2], second[2]) == (ONE, OTHER)
    assert first[0] == 0
    assert second[1] == 2 * half
    assert abs(first[1] - half) <= 4
    assert abs(second[0] - half) <= 4


def test_a_pad_that_is_away_for_a_while_is_two_stretches(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", 120, lambda row: [] if 40 <= row < 80 else [ONE])

    first, second = locate(video)

    assert (first[0], second[1]) == (0, 120)
    assert abs(first[1] - 40) <= 4
    assert abs(second[0] - 80) <= 4


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", 60, lambda _: [])

    assert locate(video) == []
    assert locate_pads(video) == ()


@pytest.mark.parametrize("content", [b"", b"nothing of ONNX", b"\x08\x07" * 500])
def test_other_weights_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "locator.onnx"
    path.write_bytes(content)
    path.with_suffix(".json").write_text('{"threshold": 0.5}')

    with pytest.raises(ValueError, match="no weights of the locator") as caught:
        PadDetector(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("facts", ["{}", "[1]", "nothing", '{"threshold": "high"}'])
def test_weights_without_their_facts_are_refused(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "locator.onnx"
    path.write_bytes(b"")
    path.with_suffix(".json").write_text(facts)

    with pytest.raises(ValueError, match="no weights of the locator"):
        PadDetector(path)
