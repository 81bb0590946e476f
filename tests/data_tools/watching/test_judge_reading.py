"""What was read from videos is judged by the logs of the play."""

from pathlib import Path

import pytest
from watched_play import write_play

from data_tools.watching.judge_reading import judge_reading
from nitrogen_train.data.schema import ShardError

REST = {"SOUTH": False, "EAST": False, "LEFT_STICK_X": 0.0}
PRESS = REST | {"SOUTH": True}


def write_both(
    tmp_path: Path,
    read: list[dict[str, float | bool]],
    true: list[dict[str, float | bool]],
    unread: tuple[int, int] | None = None,
) -> tuple[Path, Path]:
    write_play(tmp_path / "watched", read, unread=unread)
    write_play(tmp_path / "truth", true, is_watched=False)
    return tmp_path / "watched", tmp_path / "truth"


def test_a_perfect_reading_is_judged_so(tmp_path: Path) -> None:
    states = [REST, PRESS, REST | {"LEFT_STICK_X": -0.5}, REST]

    judged = judge_reading(*write_both(tmp_path, states, states))

    assert (judged.num_rows, judged.readable) == (4, 1.0)
    assert (judged.accuracy, judged.press_f1, judged.onsets) == (1.0, 1.0, 1.0)
    assert judged.stick_r2 == {"LEFT_STICK_X": 1.0}
    assert judged.stick_error == 0.0


def test_mistakes_count_by_row_by_press_and_by_axis(tmp_path: Path) -> None:
    true = [REST, PRESS, PRESS, REST, REST, REST, REST, PRESS | {"LEFT_STICK_X": 1.0}]
    # The first press a row late, the second not at all, a third that nobody made.
    read = [REST, REST, PRESS, REST, REST | {"EAST": True}, REST, REST, REST]

    judged = judge_reading(*write_both(tmp_path, read, true), ["SOUTH", "EAST", "LEFT_STICK_X"])

    assert judged.accuracy == pytest.approx(1 - 3 / 16)
    assert judged.press_f1 == pytest.approx(2 * 1 / (3 + 2))
    assert judged.onsets == 0.5
    assert judged.stick_r2["LEFT_STICK_X"] == pytest.approx(1 - (1 / 8) / (7 / 64))
    assert judged.stick_error == pytest.approx(1 / 8)


def test_rows_that_were_not_read_are_counted_and_not_judged(tmp_path: Path) -> None:
    true, read = [REST, PRESS, PRESS, REST], [REST, REST, REST, REST]

    judged = judge_reading(*write_both(tmp_path, read, true, unread=(1, 3)))

    assert (judged.num_rows, judged.readable) == (4, 0.5)
    assert judged.accuracy == 1.0
    assert (judged.press_f1, judged.onsets) == (None, None)
    assert len(judged.controls) == 21
    assert "RIGHT_UP" not in judged.controls
    assert judged.stick_r2 == {}


def test_a_recording_without_a_log_to_judge_it_by_is_named(tmp_path: Path) -> None:
    watched, truth = write_both(tmp_path, [REST], [REST])
    write_play(watched, [REST], name="other")

    with pytest.raises(ShardError, match="holds no recording other"):
        judge_reading(watched, truth)


def test_a_video_of_another_length_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="has 2 frames"):
        judge_reading(*write_both(tmp_path, [REST, REST], [REST]))
