"""A known skin is read from videos whose states are known, and never guessed."""

from pathlib import Path

import numpy as np
import pytest
from overlay_videos import draw_video, make_skin, make_states

from data_tools.watching.read_known import read_overlay
from data_tools.watching.reading import Reading, ReadingError
from nitrogen_train.data.schema import ShardError

SKIN = make_skin()


def compare(reading: Reading, states: list[dict[str, float]]) -> tuple[float, float]:
    """The share of right buttons, and the largest error of a stick, over readable rows."""
    good = reading.readable
    right, off = [], 0.0
    for name in SKIN.controls:
        true = np.array([state[name] for state in states])[good]
        read = reading.control(name)[good]
        if "STICK" in name:
            off = max(off, float(np.percentile(np.abs(read - true), 95)))
        else:
            right.append(np.mean((read > 0.5) == (true > 0.5)))
    return float(np.mean(right)), off


@pytest.fixture(scope="module")
def states() -> list[dict[str, float]]:
    return make_states(SKIN, 96)


def test_all_states_of_a_clean_video_are_read(tmp_path: Path, states) -> None:
    reading = read_overlay(draw_video(tmp_path / "a.mp4", SKIN, states), SKIN)

    assert reading.readable.all()
    assert reading.drawn == set(SKIN.controls)
    np.testing.assert_allclose(reading.times_s, np.arange(96) / 30, atol=1e-6)
    right, off = compare(reading, states)
    assert right == 1.0
    assert off < 0.05


@pytest.mark.slow
def test_a_pad_is_found_to_a_tenth_of_a_pixel(tmp_path: Path, states) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states, opacity=0.8)

    (stretch,) = read_overlay(path, SKIN).stretches

    assert stretch.box == (170, 80, 300, 162)
    assert stretch.opacity == pytest.approx(0.8, abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("opacity", [1.0, 0.65])
def test_states_are_read_at_a_low_rate(tmp_path: Path, states, opacity: float) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states, opacity=opacity, crf=30)

    right, off = compare(read_overlay(path, SKIN), states)

    # Codecs and sums differ a little by the processor: one press of five rows is 0.0075.
    assert right >= 0.97
    assert off < 0.15


@pytest.mark.slow
def test_a_box_that_is_a_little_wrong_is_enough(tmp_path: Path, states) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states)

    reading = read_overlay(path, SKIN, box=(164, 76, 306, 168))

    assert reading.stretches[0].box == (170, 80, 300, 162)


def test_a_pad_that_is_away_is_not_read(tmp_path: Path, states) -> None:
    away = range(30, 60)

    reading = read_overlay(draw_video(tmp_path / "a.mp4", SKIN, states, away=away), SKIN)

    assert np.flatnonzero(~reading.readable).tolist() == list(away)
    assert not reading.buttons[30:60].any()
    assert not reading.button_confidence[30:60].any()
    assert compare(reading, states)[0] == 1.0


@pytest.mark.slow
def test_a_pad_that_moves_is_read_at_both_places(tmp_path: Path) -> None:
    states = make_states(SKIN, 180)
    path = draw_video(tmp_path / "a.mp4", SKIN, states, moved=range(120, 180))

    reading = read_overlay(path, SKIN)

    assert [(s.start, s.stop) for s in reading.stretches] == [(0, 120), (120, 180)]
    assert reading.readable.mean() > 0.97
    assert compare(reading, states)[0] >= 0.99


def test_a_video_without_a_pad_is_refused_in_one_line(tmp_path: Path, states) -> None:
    path = draw_video(tmp_path / "a.mp4", None, states)

    with pytest.raises(
        ReadingError, match=r"no controller of the skin 'plain' was found"
    ) as caught:
        read_overlay(path, SKIN)

    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_button_that_is_held_is_not_taken_for_rest(tmp_path: Path, states) -> None:
    held = [
        state | {"SOUTH": float(row > 8), "LEFT_STICK_X": 0.7} for row, state in enumerate(states)
    ]

    reading = read_overlay(draw_video(tmp_path / "a.mp4", SKIN, held), SKIN)

    assert compare(reading, held)[0] == 1.0
    assert np.abs(reading.control("LEFT_STICK_X") - 0.7).max() < 0.05


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)

    with pytest.raises(ShardError, match="not readable as a video"):
        read_overlay(tmp_path / "a.mp4", SKIN)


@pytest.mark.slow
def test_a_video_that_is_cut_off_is_read_up_to_there(tmp_path: Path, states) -> None:
    path = draw_video(tmp_path / "a.mp4", SKIN, states)
    whole = path.read_bytes()
    # The index stands at the end, so its media data is overwritten instead of being cut.
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\0" * 3000 + whole[middle + 3000 :])

    reading = read_overlay(path, SKIN)

    assert len(reading) == len(states)
    assert reading.readable[:30].all()
    assert compare(reading, states)[0] > 0.95
