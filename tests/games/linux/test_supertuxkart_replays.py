"""What a few lines of a replay are said to hold."""

from pathlib import Path

import pytest

from nitrogen_train.games.linux.supertuxkart_replays import describe_replays, read_replay

HEADER = "version: 4\nstk_version: 1.4\nkart_list_end\nmode: time-trial\ntrack: loop\nsize: 3\n"


def write(path: Path, *, steers: tuple[float, ...] = (0.0, 1.0, 0.5, -1.0)) -> Path:
    rows = []
    for number, steer in enumerate(steers):
        columns = [0.0] * 26
        columns[0], columns[9], columns[20] = number * 0.1, steer, -10.0 + 5 * number
        rows.append(" ".join(map(str, columns)))
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_a_replay_holds_the_steering_of_each_moment(tmp_path):
    replay = read_replay(write(tmp_path / "a.replay"))

    assert (replay.track, replay.mode, replay.num_rows) == ("loop", "time-trial", 4)
    assert replay.steers == (0.0, 1.0, 0.5, -1.0)
    assert replay.duration_s == pytest.approx(0.3)
    assert replay.metres == 15.0


def test_replays_are_described_together(tmp_path):
    text = describe_replays([write(tmp_path / name) for name in ("a.replay", "b.replay")])

    assert text.startswith("2 races on 1 tracks, 0.0 min, 8 rows, 13.3 a second\n")
    assert "steering: 25 % straight, 50 % at an end, 25 % between" in text


def test_a_line_that_is_cut_off_is_named(tmp_path):
    path = write(tmp_path / "a.replay")
    path.write_text(path.read_text() + "0.4 1.0\n")

    with pytest.raises(ValueError, match="line 11: 2 numbers, expected 26"):
        read_replay(path)


def test_what_is_no_replay_is_refused(tmp_path):
    path = tmp_path / "a.replay"
    path.write_text("hello\n")

    with pytest.raises(ValueError, match="no replay of version 4"):
        read_replay(path)
