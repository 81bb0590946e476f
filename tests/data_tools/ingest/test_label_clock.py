import json
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from label_maker import HEIGHT, WIDTH, describe

from data_tools.ingest.nitrogen.label_tar import parse_piece_metadata
from data_tools.ingest.nitrogen.labelled_piece import (
    LabelledPiece,
    LabelledVideo,
    choose_clock,
    find_rate,
    show_rows,
    time_rows,
)
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ShardError

HOUR_S = 3600


def make_video(seconds: np.ndarray, fps: float) -> SourceVideo:
    """Make a table of frames, with ticks of 1/90000 s."""
    return SourceVideo(
        path=Path("video.mp4"), width=WIDTH, height=HEIGHT, fps=fps,
        time_base=Fraction(1, 90_000), ticks=np.rint(seconds * 90_000).astype(np.int64),
    )  # fmt: skip


def make_piece(
    start: int, rows: ActionRows | None = None, *, num_rows: int = 600, **video: Any
) -> LabelledPiece:
    """Make a piece of 30 rows per second."""
    if rows is None:
        rows = GAMEPAD.rows_from_controls([{}] * num_rows)
    values = describe("v", 0, start, start + len(rows), original_video=video)
    return LabelledPiece(
        name=f"piece-{start}",
        metadata=parse_piece_metadata(json.dumps(values).encode()),
        actions=ClipActions(rows=rows, valid=np.ones(len(rows), bool)),
        labels="raw",
        digest="",
    )


def pair(piece: LabelledPiece, labelled: LabelledVideo) -> np.ndarray:
    """Find a piece's frames where no picture tells."""
    return show_rows(time_rows(piece, labelled, None), labelled, len(piece.actions))[0]


@pytest.mark.parametrize("fps", [30.0, 30 / 1.001])
def test_a_steady_video_whose_frames_agree_with_times_is_paired_in_order(fps: float) -> None:
    labelled = find_rate(make_video(np.arange(2000) / fps, fps), 30.0)

    assert labelled.fps == pytest.approx(fps, rel=1e-9)
    # Both clocks are within a frame in the first half minute.
    assert pair(make_piece(300), labelled).tolist() == list(range(300, 900))


def test_frames_in_order_are_right_as_well_where_the_labels_times_are_of_their_rate() -> None:
    fps = 30 / 1.001
    labelled = find_rate(make_video(np.arange(HOUR_S * 30) / fps, fps), 30.0)
    start = HOUR_S * 29

    frames = pair(make_piece(start, start_time=start / fps, duration=20.02), labelled)

    assert frames.tolist() == list(range(start, start + 600))


def test_a_piece_whose_frames_and_times_part_is_refused() -> None:
    fps = 30 / 1.001
    labelled = find_rate(make_video(np.arange(HOUR_S * 30) / fps, fps), 30.0)

    with pytest.raises(
        ShardError, match=r"begins at 3483.48 s .*by its times at 3480.00"
    ) as raised:
        pair(make_piece(HOUR_S * 29), labelled)

    assert raised.value.cause == "clock"


def test_rows_after_frames_are_lost_are_paired_by_time() -> None:
    seconds = np.arange(3000) / 30
    kept = (np.arange(3000) % 6 < 5) | (seconds >= 40)
    labelled = find_rate(make_video(seconds[kept], 28.0), 30.0)

    frames = pair(make_piece(1500), labelled)

    assert np.flatnonzero(kept)[frames].tolist() == list(range(1500, 2100))


def test_the_first_frames_time_is_the_beginning() -> None:
    labelled = find_rate(make_video(0.1 + np.arange(2000) / 30, 30.0), 30.0)

    assert pair(make_piece(0), labelled).tolist() == list(range(600))
    with pytest.raises(ShardError, match=r"first frame .* is at 600.00 s, as in a section"):
        find_rate(make_video(600 + np.arange(2000) / 30, 30.0), 30.0)


def test_another_rate_is_refused() -> None:
    with pytest.raises(ShardError, match=r"have 60 rows per second, .* shows 30.00 frames"):
        find_rate(make_video(np.arange(2000) / 30, 30.0), 60.0)
    jumps = np.delete(np.arange(2000), np.arange(0, 2000, 2)[:300]) / 30
    labelled = find_rate(make_video(jumps, 25.0), 30.0)
    with pytest.raises(ShardError, match=r"have 30 rows per second, .* shows 15.\d+ frames"):
        pair(make_piece(0), labelled)


def test_labels_beyond_the_videos_end_are_refused() -> None:
    labelled = find_rate(make_video(np.arange(600) / 30, 30.0), 30.0)

    assert len(pair(make_piece(0), labelled)) == 600
    with pytest.raises(ShardError, match=r"0.03 to 20.00 s, the last frame .* at 19.97") as raised:
        pair(make_piece(1), labelled)
    assert raised.value.cause == "short"


def play(num_rows: int) -> ActionRows:
    """Press buttons at random, each for some rows."""
    rng = np.random.default_rng(0)
    held = rng.random((num_rows // 5 + 1, len(GAMEPAD.buttons))) < 0.3
    buttons = np.repeat(held, 5, axis=0)[:num_rows] & GAMEPAD.label_mask[: held.shape[1]]
    buttons = np.logical_and(buttons, rng.random((num_rows, 1)) < 0.8)
    return ActionRows(buttons=buttons, sticks=np.zeros((num_rows, 4), np.float32))


def write_pad_video(path: Path, rows: ActionRows, *, fps: float, rows_fps: float) -> SourceVideo:
    """Draw each button in the pad's box as it is by the row of the frame's time."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"preset": "ultrafast"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(int(len(rows) * fps / rows_fps)):
            picture = rng.integers(0, 60, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
            picture = np.kron(picture, np.ones((20, 20, 1), np.uint8))
            row = rows.buttons[round(number * rows_fps / fps)]
            for button in np.flatnonzero(row).tolist():
                x, y = 244 + button % 7 * 10, 130 + button // 7 * 12
                picture[y : y + 10, x : x + 8] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return read_video_table(path)


@pytest.mark.parametrize("truth", ["labels", "video"])
def test_the_pad_in_the_picture_tells_which_clock_counts(
    tmp_path: Path, truth: Literal["labels", "video"]
) -> None:
    rows = play(720)
    rows_fps = 30.0 if truth == "labels" else 29.7
    video = write_pad_video(tmp_path / "v.mp4", rows, fps=29.7, rows_fps=rows_fps)
    labelled = find_rate(video, 30.0)
    part = slice(560, 710)
    late = make_piece(560, ActionRows(buttons=rows.buttons[part], sticks=rows.sticks[part]))
    early = make_piece(0, num_rows=20)

    clock = choose_clock([early, late], labelled)

    assert clock == truth
    frames = show_rows(time_rows(late, labelled, clock), labelled, 150)[0]
    assert np.abs(frames * rows_fps / 29.7 - np.arange(560, 710)).max() < 0.6


def test_a_pad_that_moves_otherwise_tells_nothing(tmp_path: Path) -> None:
    rows = play(720)
    video = write_pad_video(tmp_path / "v.mp4", rows, fps=29.7, rows_fps=29.7)
    others = play(1500).buttons[1200:1350]
    piece = make_piece(560, ActionRows(buttons=others, sticks=np.zeros((150, 4), np.float32)))
    idle = make_piece(540, num_rows=150)

    assert choose_clock([piece, idle], find_rate(video, 30.0)) is None
