"""A contact sheet shows the rows that matter, each frame beside what was read from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8
from made_readings import make_reading, make_stretch

from data_tools.shards.source_video import read_video_table
from data_tools.watching.contact_sheet import choose_rows, draw_sheet, find_least_sure
from data_tools.watching.overlay_layout import OverlayLayout
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.skins.skin import Button, Skin

WIDTH, HEIGHT, NUM_FRAMES = 96, 64, 20
EARLY, LATE = (4, 8, 24, 18), (60, 10, 80, 20)


def test_doubtful_rows_come_first_then_some_from_all_over_then_unreadable_ones() -> None:
    learned = np.ones(400, bool)
    learned[360:] = False
    confidence = np.ones(400, np.float32)
    confidence[[50, 54, 55, 200, 380]] = 0.3, 0.1, 0.2, 0.15, 0.0

    rows = choose_rows(confidence, learned, apart=4)

    assert rows[:12] == [54, 200, *range(0, 50, 5)]
    assert rows[12:20] == [22, 67, 112, 157, 202, 247, 292, 337]
    assert rows[20:] == [365, 375, 385, 395]


def test_neighbours_of_a_doubtful_row_are_left_out() -> None:
    confidence = np.linspace(0, 1, 100, dtype=np.float32)

    assert choose_rows(confidence, np.ones(100, bool), apart=9)[:3] == [0, 10, 20]


def test_the_least_sure_control_of_those_that_are_drawn_is_named() -> None:
    reading = make_reading(SOUTH=np.zeros(2), LEFT_STICK_X=np.zeros(2))
    buttons, sticks = reading.button_confidence, reading.stick_confidence
    buttons[:, GAMEPAD.buttons.index("EAST")] = 0
    buttons[0, GAMEPAD.buttons.index("SOUTH")] = 0.5
    sticks[1, GAMEPAD.sticks.index("LEFT_STICK_X")] = 0.25

    confidence, names = find_least_sure(reading)

    assert confidence.tolist() == [0.5, 0.25]
    assert names == ["SOUTH", "LEFT_STICK_X"]


@pytest.fixture
def sheet(tmp_path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Of a video whose frame t is grey of 10 t and red in the pad's later box; row 15 is learned.

    The pad's picture is green, and blue while SOUTH is pressed, as it is in row 15.
    """
    left, top, right, bottom = LATE
    with VideoWriter(tmp_path / "a.mp4", fps=10.0, width=WIDTH, height=HEIGHT) as writer:
        for row in range(NUM_FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 10 * row, np.uint8)
            picture[top:bottom, left:right] = (230, 0, 0)
            writer.write(picture)
    looks = [np.full((10, 20, 4), (*rgb, 255), np.uint8) for rgb in ((0, 200, 0), (0, 0, 200))]
    reading = replace(
        make_reading(10.0, SOUTH=(np.arange(NUM_FRAMES) == 15) * 0.9),
        width=WIDTH, height=HEIGHT,
        stretches=(make_stretch(0, 12, EARLY), make_stretch(12, NUM_FRAMES, LATE)),
    )  # fmt: skip
    skin = Skin("dot", "generic", 20, 10, (Button("SOUTH", (0, 0), *looks),))
    video = read_video_table(tmp_path / "a.mp4")
    return np.asarray(draw_sheet(video, reading, np.arange(NUM_FRAMES) == 15, skin))


def test_a_cell_shows_the_frame_around_the_pad_and_the_pad_as_it_was_read(sheet) -> None:
    # Below the gap of 10 and the words; the box and 6 pixels around it are 200 pixels wide.
    top, scale = 10 + 17, 200 / (20 + 12)
    seen, drawn = sheet[top:, 10:210].astype(int), sheet[top:, 210:410].astype(int)
    corner, middle = (int(2 * scale),) * 2, (int(11 * scale), int(16 * scale))

    assert np.abs(seen[corner] - 150).max() < 12
    assert np.abs(seen[middle] - (230, 0, 0)).max() < 50
    assert drawn[corner].tolist() == [70, 70, 70]
    assert np.abs(drawn[middle] - (0, 0, 200)).max() < 3
    assert np.abs(drawn[int(7 * scale), int(25 * scale)] - (0, 0, 200)).max() < 40


def test_a_cell_says_in_red_that_its_row_is_not_learned_from(sheet) -> None:
    first, second = (sheet[10:24, left : left + 400].astype(int) for left in (10, 420))

    assert first.max() > 180
    assert (first[..., 0] - first[..., 2]).max() < 20
    assert (second[..., 0] - second[..., 2]).max() > 100


def test_of_an_unknown_skin_the_places_of_its_controls_are_marked(tmp_path: Path) -> None:
    left, _, right, _ = LATE
    with VideoWriter(tmp_path / "a.mp4", fps=10.0, width=WIDTH, height=HEIGHT) as writer:
        for _ in range(NUM_FRAMES):
            writer.write(np.full((HEIGHT, WIDTH, 3), 60, np.uint8))
    reading = replace(
        make_reading(
            10.0,
            SOUTH=(np.arange(NUM_FRAMES) == 15) * 0.9,
            LEFT_TRIGGER=np.full(NUM_FRAMES, 0.2),
            LEFT_STICK_X=np.ones(NUM_FRAMES),
            LEFT_STICK_Y=np.zeros(NUM_FRAMES),
        ),
        width=WIDTH, height=HEIGHT,
        stretches=(make_stretch(0, NUM_FRAMES, LATE),),
    )  # fmt: skip
    # Told where the controller was smaller, so that places grow with it.
    layout = OverlayLayout(
        layout="xbox", picture=(WIDTH, HEIGHT), box=(0, 0, 10, 5),
        places={
            "SOUTH": (7.0, 2.0, 2.0, 2.0), "LEFT_TRIGGER": (5.5, 4.0, 1.0, 1.0),
            "EAST": (7.0, 0.0, 2.0, 2.0), "LEFT_STICK": (2.0, 2.0, 1.0, 1.0),
        },
        travels={"LEFT_STICK": 2.0},
    )  # fmt: skip
    video = read_video_table(tmp_path / "a.mp4")

    sheet = np.asarray(draw_sheet(video, reading, np.arange(NUM_FRAMES) == 15, layout))

    marked = sheet[10 + 17 :, 210:410].astype(int)
    scale = 200 / (right - left + 12)

    def at(x: float, y: float) -> np.ndarray:
        """The pixel at a place of the box, whose left edge is 6 pixels from that of the cell."""
        return marked[round((6 + 2 * y) * scale), round((6 + 2 * x) * scale)]

    pressed = at(8, 3)
    assert pressed[0] > 200
    assert pressed[2] < 120
    assert at(6, 4.5)[0] < 120
    # Its axis is 1: the cap is two small pixels to the right of rest, and is a green ring there.
    ring = marked[:, round((6 + 2 * 4) * scale) : round((6 + 2 * 5) * scale) + 1]
    assert (ring[..., 1] - ring[..., 0]).max() > 80
    rest = marked[:, round((6 + 2 * 2) * scale) : round((6 + 2 * 3) * scale)]
    assert (rest[..., 1] - rest[..., 0]).max() < 40
    # EAST is not read, so it is not marked.
    assert np.ptp(at(8, 1)) < 12
