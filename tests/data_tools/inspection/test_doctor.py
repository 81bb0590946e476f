"""What `verify` suspects, and what it finds between data sets; its other faults: test_verify."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_faults import list_faults

from data_tools.__main__ import main
from data_tools.inspection.clip_checks import MAX_LAG, estimate_offset, measure_offset
from data_tools.inspection.verify import Finding, verify_datasets
from data_tools.recordings.record_games import record_game
from data_tools.shards.shard_plan import ShardSettings
from data_tools.shards.shard_recordings import shard_recordings
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.manifest import read_manifest, write_manifest

ROWS = 160
"""Of a clip: two of them, at 10 fps, last just longer than what is judged."""


def check(*folders: Path) -> list[Finding]:
    return verify_datasets(folders, workers=1)


def texts(findings: list[Finding], level: str) -> list[str]:
    return [finding.text for finding in findings if finding.level == level]


@pytest.fixture
def write_session(make_clip: Callable, write_clips: Callable) -> Callable[..., Path]:
    """Write a data set of one session of 32 s, in which every row's controls are the same."""

    def write(folder: Path, states: list[dict[str, Any]], **facts: Any) -> Path:
        facts = {"session_id": "evening", "num_frames": ROWS, "states": states} | facts
        return write_clips(folder, [make_clip("a", **facts), make_clip("b", **facts)])

    return write


def model_space() -> list[dict[str, float]]:
    """A pad's rows as a network sees them, written as if they were physical."""
    rng = np.random.default_rng(0)
    steps = rng.choice([0.0, 0.5, 1.0], p=[0.15, 0.7, 0.15], size=(ROWS, 2))
    rest = {"RIGHT_STICK_X": 0.5, "RIGHT_STICK_Y": 0.5}
    return [{"LEFT_STICK_X": float(x), "LEFT_STICK_Y": float(y)} | rest for x, y in steps]


SUSPICIOUS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "button always on": ([{"START": True}] * ROWS, "START is down in 100.0% of the rows"),
    "stick in a corner": (
        [{"RIGHT_STICK_X": -1.0, "RIGHT_STICK_Y": -1.0}] * ROWS,
        "RIGHT_STICK is at (-1, -1) in 100.0% of the rows",
    ),
    "model space": (model_space(), "no axis is ever negative, and LEFT_STICK_X, LEFT_STICK_Y"),
}


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_mistakes_in_a_layout_are_suspicions(
    tmp_path: Path, write_session: Callable, name: str
) -> None:
    states, expected = SUSPICIOUS[name]
    folder = write_session(tmp_path, states)

    (finding,) = check(folder)

    assert finding.level == "suspicion"
    assert finding.text.startswith(f"made: {expected}")
    assert list_faults(folder) == []


def test_real_use_of_the_same_controls_is_not_suspicious(
    tmp_path: Path, write_session: Callable
) -> None:
    # Held most of the time, run diagonally, walk to the right and never to the left.
    states: list[dict[str, Any]] = [
        {"RIGHT_TRIGGER": t % 20 > 0, "LEFT_STICK_X": 1.0, "LEFT_STICK_Y": -1.0 if t % 50 else 0.5}
        for t in range(ROWS)
    ]

    assert check(write_session(tmp_path, states)) == []


def test_little_play_is_not_judged(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    clip = make_clip("short", num_frames=200, states=[{"START": True}] * 200)

    assert check(write_clips(tmp_path, [clip])) == []


def test_one_bad_session_among_good_ones_is_named(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    bad = {"num_frames": ROWS, "states": [{"BACK": True}] * ROWS}
    clips = [
        *(make_clip(name, num_frames=ROWS, session_id="good") for name in "ab"),
        *(make_clip(name, session_id="stuck", **bad) for name in "cd"),
    ]

    (text,) = texts(check(write_clips(tmp_path, clips)), "suspicion")

    assert text.startswith("made, session stuck: BACK is down in 100.0% of the rows")


@pytest.mark.parametrize(
    ("shift", "expected"),
    [(0, None), (1, None), (3, None), (8, "8 rows (0.80 s) after"), (-6, "6 rows (0.60 s) before")],
)
def test_a_picture_that_does_not_answer_the_input_is_suspicious(
    tmp_path: Path, make_clip: Callable, write_clips: Callable, shift: int, expected: str | None
) -> None:
    clips = [
        make_clip(name, session_id="s", **answering(seed, shift)) for seed, name in enumerate("ab")
    ]

    suspicions = texts(check(write_clips(tmp_path, clips)), "suspicion")

    if expected is None:
        assert suspicions == []
    else:
        assert f"made: the picture changes most {expected} the input does" in suspicions[0]


def answering(seed: int, shift: int) -> dict[str, Any]:
    """Play whose picture jumps `shift` rows after the stick does."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, ROWS)
    values = values[np.maximum.accumulate(np.where(rng.random(ROWS) < 0.2, np.arange(ROWS), 0))]
    # Row t is seen in frame t + 1.
    seen = np.roll(values, shift + 1)
    frames = np.zeros((ROWS, 64, 64, 3), np.uint8)
    frames += (120 + 100 * seen).astype(np.uint8)[:, None, None, None]
    return {"frames": frames, "states": [{"LEFT_STICK_X": float(v)} for v in values]}


def test_an_offset_is_not_guessed_where_nothing_tells_it() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (ROWS, 16, 16, 3), dtype=np.uint8)
    values = rng.uniform(-1, 1, ROWS)
    rows = GAMEPAD.rows_from_controls([{"LEFT_STICK_X": float(v)} for v in values])
    still = GAMEPAD.rows_from_controls([{}] * ROWS)
    valid = np.ones(ROWS, dtype=bool)

    assert estimate_offset(measure_offset(frames, rows, valid)) is None
    assert measure_offset(frames, still, valid).num_rows == 0
    few = slice(0, MAX_LAG)
    short = replace(rows, buttons=rows.buttons[few], sticks=rows.sticks[few])
    assert measure_offset(frames[few], short, valid[few]).num_rows == 0


def test_a_video_at_another_rate_than_its_rows_is_a_fault(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    folder = write_clips(tmp_path, [make_clip("fast", fps=10.0, video_fps=20.0)])

    (fault,) = list_faults(folder)

    assert "the video shows 20.000 frames per second, its rows are said to last 1/10.000 s" in fault


def test_a_game_at_two_rates_is_suspicious(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    one = write_clips(tmp_path / "one", [make_clip("slow", fps=30.0)])
    two = write_clips(tmp_path / "two", [make_clip("fast", fps=60.0)])

    assert check(one) == check(two) == []
    (text,) = texts(check(one, two), "suspicion")
    assert text.startswith(f"made has rows at several rates per second: 30 (clip slow of {one})")


def test_ntsc_and_60_are_one_rate(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    clips = [make_clip("ntsc", fps=60_000 / 1001), make_clip("whole", fps=60.0)]

    assert check(write_clips(tmp_path, clips)) == []


def test_a_session_in_both_splits_of_two_data_sets_is_a_fault(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    train = write_clips(tmp_path / "one", [make_clip("a", session_id="evening")])
    val = write_clips(tmp_path / "two", [make_clip("b", session_id="evening", split="val")])
    other = write_clips(
        tmp_path / "three", [make_clip("c", session_id="evening", game="other", split="val")]
    )

    assert check(train) == check(val) == check(train, other) == []
    (fault,) = texts(check(train, val), "fault")
    assert fault.startswith(f"session evening of made is train in {train} and val in {val}")


@pytest.mark.parametrize("together", [True, False])
def test_a_clip_in_both_splits_is_suspicious_whatever_its_name(
    tmp_path: Path, make_clip: Callable, write_clips: Callable, together: bool
) -> None:
    clip = make_clip("original")
    copy = clip | {"clip_id": "renamed", "session_id": "another", "split": "val"}
    if together:
        folders = [write_clips(tmp_path / "one", [clip, copy])]
    else:
        folders = [write_clips(tmp_path / "one", [clip]), write_clips(tmp_path / "two", [copy])]

    (text,) = texts(check(*folders), "suspicion")

    assert text.startswith(
        f"clip renamed (val) has the picture of original of {folders[0]} (train)"
    )


def test_the_same_actions_in_both_splits_are_suspicious(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    clip = make_clip("original")
    again = make_clip("again", states=clip["states"], split="val")

    (text,) = texts(check(write_clips(tmp_path, [clip, again])), "suspicion")

    assert text.startswith("clip again (val) has the actions of original of")


def test_idle_clips_are_no_copies_of_each_other(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    states: list[dict[str, Any]] = [{}] * 40
    clips = [make_clip("a", states=states), make_clip("b", states=states, split="val")]

    assert check(write_clips(tmp_path, clips)) == []


def test_recordings_of_a_game_raise_no_suspicion(tmp_path: Path) -> None:
    # Disturbed, so that no episode of this simple game is like another one.
    record_game(
        "toy_game:ToyGame",
        out_dir=tmp_path / "recordings",
        num_episodes=10,
        first_seed=None,
        disturbance=0.3,
        size=None,
        workers=1,
    )
    shard_recordings(
        [tmp_path / "recordings"],
        out_dir=tmp_path / "set",
        settings=ShardSettings(size=64, heldout_share=0.3),
        workers=1,
    )

    assert len({row.split for row in read_manifest(tmp_path / "set").rows()}) == 2
    assert check(tmp_path / "set") == []


def test_exit_status_and_report_tell_faults_from_suspicions(
    tmp_path: Path, write_session: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_session(tmp_path / "set", [{"START": True}] * ROWS)
    command = ["verify", str(folder), "--workers", "1", "--report", str(tmp_path / "report.json")]

    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("suspicion: made: START is down")
    assert lines[-1] == f"{folder}: sound, 1 suspicion"
    assert main([*command, "--strict"]) == 1

    rows = read_manifest(folder).rows()
    write_manifest(folder, [replace(rows[0], game="chess"), *rows[1:]])
    capsys.readouterr()

    assert main(command) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{folder}: 1 fault")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["datasets"] == [str(folder)]
    assert report["findings"][0]["level"] == "fault"
    assert report["findings"][0]["dataset"] == str(folder)
    assert "'chess' in the manifest" in report["findings"][0]["text"]


def test_one_game_in_two_spellings_is_a_suspicion(
    tmp_path: Path, write_clips: Callable, make_clip: Callable
) -> None:
    first = write_clips(tmp_path / "a", [make_clip("a", game="half-life")])
    second = write_clips(tmp_path / "b", [make_clip("b", game="Half Life")])

    (text,) = [text for text in texts(check(first, second), "suspicion") if "spelling" in text]
    assert text.startswith("'Half Life' and 'half-life' differ in their spelling alone")


def test_findings_name_their_data_set_if_there_are_several(
    tmp_path: Path,
    make_clip: Callable,
    write_clips: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sound = write_clips(tmp_path / "one", [make_clip("a")])

    assert main(["verify", str(sound), str(tmp_path / "none"), "--workers", "1"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"fault: {tmp_path / 'none'}: ")
    assert lines[1] == f"{sound}, {tmp_path / 'none'}: 1 fault"
