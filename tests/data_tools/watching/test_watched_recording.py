"""What a recording of a watched video is made of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_readings import make_reading, make_stretch

from data_tools.recordings.recording import MaskedBox
from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.overlay_layout import place_skin
from data_tools.watching.reading import Reading, ReadingError
from data_tools.watching.watched_recording import (
    ANY_SKIN,
    DAMAGED,
    DOUBTFUL,
    EITHER_WAY,
    NOT_TOLD,
    UNREADABLE,
    WatchedRecording,
    WatchSettings,
    _list_lost,
    find_doubtful,
    find_unlearned,
    leave_unsure,
    list_graded,
    list_masks,
    make_log,
    make_recording,
    mark_rows,
    shift_rows,
)
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.encode import VideoWriter
from nitrogen_train.data.schema import ShardError
from nitrogen_train.skins.open_skin import open_skin

EDGES_NS = np.arange(101) * 10**8
"""Of 100 rows at 10 Hz."""


def test_the_boxes_of_a_pad_that_moves_are_each_for_their_time_and_a_second_around() -> None:
    early, late = (1, 90, 41, 110), (280, 150, 319, 179)
    stretches = ((0, 30, early), (30, 60, late), (60, 80, early))
    reading = replace(
        make_reading(10.0, SOUTH=np.zeros(100)),
        stretches=tuple(make_stretch(*each) for each in stretches),
    )

    assert list(list_masks(reading, EDGES_NS)) == [
        MaskedBox(start_ns=0, stop_ns=9 * 10**9, box=(0, 88, 43, 24)),
        MaskedBox(start_ns=2 * 10**9, stop_ns=7 * 10**9, box=(278, 148, 42, 32)),
    ]


def test_a_log_has_an_event_where_a_control_changes_at_the_time_of_its_frame() -> None:
    reading = make_reading(
        SOUTH=[0.4, 0.6, 0.9, 0.2], LEFT_TRIGGER=[0.0, 0.25, 0.25, 0.6],
        RIGHT_TRIGGER=[0.1, 0.7, 0.8, 0.9], LEFT_STICK_Y=[0.0, 0.0, -0.5, -0.50004],
    )  # fmt: skip
    edges_ns = np.array([0, 10, 25, 45, 60])

    log = make_log(reading, edges_ns, graded=frozenset(["LEFT_TRIGGER"]))

    events = {
        name: list(zip(track.times_ns.tolist(), track.values.tolist(), strict=True))
        for name, track in log.tracks.items()
    }
    assert events == {
        "SOUTH": [(0, 0), (10, 1), (45, 0)],
        "LEFT_TRIGGER": [(0, 0), (10, 0.25), (45, 0.6)],
        "RIGHT_TRIGGER": [(0, 0), (10, 1)],
        "LEFT_STICK_Y": [(0, 0), (25, -0.5)],
    }
    assert (log.first_ns, log.last_ns) == (0, 60)
    assert list_graded(open_skin("xbox")) == {"LEFT_TRIGGER", "RIGHT_TRIGGER"}


def test_what_is_lost_is_unreadable_doubtful_or_from_the_last_decoded_frame_on_damaged() -> None:
    reading = make_reading(10.0, SOUTH=np.zeros(100))
    reading.residual[70:] = 100
    unreadable = mark_rows([(10, 15), (16, 18), (70, 100)], 100)
    learned = ~mark_rows([(10, 18), (30, 32), (60, 100)], 100)

    lost = _list_lost(reading, EDGES_NS, unreadable=unreadable, learned=learned, name="a", game="g")

    assert [(item.reason, item.seconds, item.detail) for item in lost] == [
        (UNREADABLE, pytest.approx(0.8), "1 time, longest for 0.8 s from 1.0 s on"),
        (DOUBTFUL, pytest.approx(1.2), "2 times, longest for 1.0 s from 6.0 s on"),
        (DAMAGED, 3.0, "1 time, longest for 3.0 s from 7.0 s on"),
    ]


def test_rows_whose_least_sure_control_is_not_sure_are_doubtful() -> None:
    reading = make_reading(SOUTH=np.zeros(5), LEFT_STICK_X=np.zeros(5))
    reading.button_confidence[:, GAMEPAD.buttons.index("SOUTH")] = (1.0, 0.04, 0.05, 1.0, 1.0)
    reading.stick_confidence[:, GAMEPAD.sticks.index("LEFT_STICK_X")] = (1, 1, 1, 0.0, 0.6)
    # Not drawn: nobody reads it.
    reading.button_confidence[:, GAMEPAD.buttons.index("EAST")] = 0

    assert find_doubtful(reading).tolist() == [False, True, False, True, False]


def test_a_control_that_is_unsure_in_most_rows_is_left_out_and_not_the_rows() -> None:
    reading = make_reading(SOUTH=np.zeros(5), GUIDE=np.zeros(5))
    reading.button_confidence[:, GAMEPAD.buttons.index("GUIDE")] = (0.0, 0.1, 0.1, 0.9, 0.9)
    reading.readable[3:] = False

    left, unsure = leave_unsure(reading)

    assert unsure == {"GUIDE": pytest.approx(0.1)}
    assert left.drawn == {"SOUTH"}
    assert not find_doubtful(left).any()


@pytest.fixture
def video(tmp_path: Path) -> SourceVideo:
    """A hundred grey frames at 10 Hz."""
    with VideoWriter(tmp_path / "a.mp4", fps=10.0, width=320, height=180) as writer:
        for _ in range(100):
            writer.write(np.full((180, 320, 3), 90, np.uint8))
    return read_video_table(tmp_path / "a.mp4")


def make(video: SourceVideo, reading: Reading, skin: str = "xbox") -> WatchedRecording:
    stretches = (make_stretch(0, 100, (10, 20, 110, 90)),)
    return make_recording(
        video,
        replace(reading, stretches=stretches),
        name="a",
        settings=WatchSettings(skin="xbox", game="g"),
        looks={"skin": skin, "reader": "test"},
        graded=frozenset(),
    )


def test_a_recording_names_what_is_not_learned_from(video: SourceVideo) -> None:
    reading = make_reading(10.0, SOUTH=np.zeros(100), GUIDE=np.zeros(100))
    reading.button_confidence[:, GAMEPAD.buttons.index("GUIDE")] = 0.1
    reading.button_confidence[40:45, GAMEPAD.buttons.index("SOUTH")] = 0.01
    reading.readable[:20] = False

    made = make(video, reading)

    assert made.facts.disturbed_ns == ((0, 2 * 10**9), (4 * 10**9, 45 * 10**8))
    assert (made.seconds, made.kept_s) == (10.0, 7.5)
    assert [(item.reason, item.seconds) for item in made.lost] == [
        (UNREADABLE, 2.0), (DOUBTFUL, 0.5), (NOT_TOLD, 0.0),
    ]  # fmt: skip
    assert made.lost[2].detail.endswith("its median confidence: GUIDE 0.10")
    assert set(made.log.tracks) == {"SOUTH"}
    overlay = made.facts.overlay
    assert overlay is not None
    assert set(overlay.controls) == {"SOUTH"}
    assert overlay.lag_ms is None
    assert "lag unknown (the controller can be read in less than two" in made.place


@pytest.mark.parametrize("skin", ["xbox", ANY_SKIN])
def test_a_button_whose_rest_may_be_its_press_is_named_where_the_skin_is_not_known(
    video: SourceVideo, skin: str
) -> None:
    gas, brake = np.arange(100) % 20 < 9, np.arange(100) % 20 > 16
    reading = make_reading(10.0, RIGHT_TRIGGER=gas, LEFT_TRIGGER=brake, LEFT_STICK_X=np.zeros(100))

    made = make(video, reading, skin)

    told = [item.detail for item in made.lost if item.reason == EITHER_WAY]
    assert [each.split(";")[0] for each in told] == (
        ["pressed RIGHT_TRIGGER in 45% of the rows"] if skin == ANY_SKIN else []
    )
    assert made.kept_s == 10.0


@pytest.mark.parametrize(
    ("confidence", "said"),
    [(0.01, "is none: its controls are read"), (0.04, "is none"), (0.3, "")],
)
def test_what_is_read_with_hardly_any_confidence_is_no_controller(
    video: SourceVideo, confidence: float, said: str
) -> None:
    reading = make_reading(10.0, SOUTH=np.zeros(100), EAST=np.zeros(100))
    reading.button_confidence[:] = confidence

    if not said:
        assert make(video, reading).learned.all()
        return
    with pytest.raises(ReadingError, match=said):
        make(video, reading)


def test_rows_are_moved_and_what_comes_in_is_not_readable() -> None:
    reading = make_reading(SOUTH=[1, 0, 0, 1], LEFT_STICK_X=[0.1, 0.2, 0.3, 0.4])

    early, late = shift_rows(reading, -1), shift_rows(reading, 2)

    assert early.control("SOUTH").tolist() == [0, 0, 1, 0]
    assert late.control("LEFT_STICK_X").tolist() == pytest.approx([0, 0, 0.1, 0.2])
    assert early.readable.tolist() == [True, True, True, False]
    assert late.readable.tolist() == [False, False, True, True]
    assert not shift_rows(reading, 9).readable.any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"box": (0, 0, 0, 5)}, "--box takes X,Y,W,H in pixels, W and H above 0, got 0,0,0,5"),
        ({"game": ""}, "--game takes the name of what is played"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(WatchSettings(skin="xbox", game="g"), **values)


def test_a_place_outside_of_the_picture_is_refused(video: SourceVideo) -> None:
    inside = WatchSettings(skin="xbox", game="g", box=(10, 20, 30, 40))
    outside = replace(inside, box=(300, 0, 30, 40))
    other = replace(
        inside, box=None, layout=place_skin(open_skin("xbox"), (0, 0, 90, 60), picture=(640, 360))
    )

    assert inside.find_box(video) == (10, 20, 40, 60)
    with pytest.raises(ShardError, match=r"inside of the picture of 320x180 .* got .* 300,0,30,40"):
        outside.find_box(video)
    with pytest.raises(ShardError, match="is of a picture of 640x360 pixels, the video has 320x18"):
        other.find_box(video)


def test_the_stretches_of_a_recording_stay_few() -> None:
    readable = np.ones(100_000, bool)
    readable[::5] = False

    runs = find_unlearned(~readable, fps=4.0)

    assert len(runs) <= 3000
    assert mark_rows(runs, len(readable))[~readable].all()
