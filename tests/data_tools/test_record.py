import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_game import ToyGame

from data_tools.__main__ import main
from data_tools.recordings.record_games import record_game
from data_tools.recordings.recording import RecordingFacts, find_recordings
from data_tools.shards.source_video import read_video_table

TOY = "toy_game:ToyGame"


def record(folder: Path, **changes: Any) -> list[RecordingFacts]:
    settings: dict[str, Any] = {
        "game": TOY,
        "num_episodes": 2,
        "first_seed": None,
        "disturbance": 0.0,
        "size": None,
        "workers": 1,
    }
    return record_game(out_dir=folder, **(settings | changes))


def log_of(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / f"{name}.inputs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_episode_becomes_a_recording(tmp_path: Path) -> None:
    facts = record(tmp_path)

    assert [recording.name for recording in find_recordings([tmp_path])] == [
        "toy-000100",
        "toy-000101",
    ]
    assert [fact.score for fact in facts] == [40.0, 40.0]
    assert facts[0] == find_recordings([tmp_path])[0].read_facts()
    assert (facts[0].session_id, facts[0].seed, facts[0].licence) == ("toy-000100", 100, "CC0-1.0")


def test_frame_t_is_what_was_shown_before_row_t(tmp_path: Path) -> None:
    record(tmp_path, num_episodes=1)

    video = read_video_table(tmp_path / "toy-000100.mp4")
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.read()]).astype(int)
    log = log_of(tmp_path, "toy-000100")

    assert len(frames) == len(log) == 40
    assert np.abs(frames[:, 5:15].mean(axis=(1, 2, 3)) - 3 * np.arange(40)).max() < 2
    # What is held in row t is seen in frame t + 1.
    held = [row["controls"]["LEFT_STICK_X"] for row in log]
    seen = (frames[:, 30:40].mean(axis=(1, 2, 3)) - 127) / 100
    np.testing.assert_allclose(seen, [0.0, *held[:-1]], atol=0.02)
    assert [row["t_ns"] for row in log] == [100_000_000 * t for t in range(40)]


def test_every_row_names_every_control_of_the_game(tmp_path: Path) -> None:
    record(tmp_path, num_episodes=1)

    assert all(
        row["controls"].keys() == {"LEFT_STICK_X", "RIGHT_TRIGGER"}
        for row in log_of(tmp_path, "toy-000100")
    )


def test_disturbances_are_executed_and_listed(tmp_path: Path) -> None:
    facts = record(tmp_path, num_episodes=20, disturbance=0.3)

    disturbed = 0
    for fact in facts:
        for row in log_of(tmp_path, fact.session_id):
            inside = any(start <= row["t_ns"] < stop for start, stop in fact.disturbed_ns)
            disturbed += inside
            assert inside == (abs(row["controls"]["LEFT_STICK_X"]) != 0.5)
    assert disturbed / 800 == pytest.approx(0.3, abs=0.08)
    assert np.mean([fact.score for fact in facts if fact.score is not None]) < 39


def test_a_burst_holds_one_state(tmp_path: Path) -> None:
    (facts,) = record(tmp_path, num_episodes=1, disturbance=0.3)
    log = log_of(tmp_path, "toy-000100")

    start, stop = facts.disturbed_ns[0]
    burst = [row["controls"]["LEFT_STICK_X"] for row in log if start <= row["t_ns"] < stop]
    lengths = [len(list(run)) for run in np.split(burst, np.flatnonzero(np.diff(burst)) + 1)]
    assert all(3 <= length <= 12 for length in lengths[:-1])


def test_a_finished_recording_is_never_redone(tmp_path: Path) -> None:
    record(tmp_path, num_episodes=1)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    record(tmp_path, num_episodes=2)

    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before.items() <= after.items()
    assert len(after) == 6


def test_what_is_kept_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", TOY, "--out", str(tmp_path), "--workers", "1", "--episodes"]

    assert main([*words, "1"]) == 0
    assert "are kept" not in capsys.readouterr().out
    assert main([*words, "1"]) == 0
    assert "all 1 were there already and are kept: nothing was rec" in capsys.readouterr().out
    assert main([*words, "2"]) == 0
    assert "1 recorded now, 1 were there already and are kept" in capsys.readouterr().out


def test_an_unfinished_recording_is_redone_to_the_same_bytes(tmp_path: Path) -> None:
    record(tmp_path / "whole", disturbance=0.2)
    record(tmp_path / "again", disturbance=0.2)
    (tmp_path / "again" / "toy-000101.json").unlink()
    (tmp_path / "again" / "toy-000101.mp4").write_bytes(b"half")

    record(tmp_path / "again", disturbance=0.2)

    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_crash_leaves_no_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: ToyGame) -> dict[str, float]:
        if self.num_steps == 10:
            raise RuntimeError("the engine died")
        return {}

    monkeypatch.setattr(ToyGame, "expert", crash)

    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match="the engine died"):
            record(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"disturbance": 0.5}, {"size": 32}], ids=["disturbance", "size"]
)
def test_recordings_of_two_ways_are_not_mixed(tmp_path: Path, changes: dict[str, Any]) -> None:
    record(tmp_path, num_episodes=1)

    with pytest.raises(ValueError, match=r"was recorded by .*choose another --out"):
        record(tmp_path, num_episodes=2, **changes)


def test_frames_can_be_squashed(tmp_path: Path) -> None:
    record(tmp_path, num_episodes=1, size=32)

    video = read_video_table(tmp_path / "toy-000100.mp4")
    assert (video.width, video.height) == (32, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_seed": 1000}, "toy records seeds 100 to 199, the others are kept for evaluation"),
        ({"first_seed": 199}, "got 2 episodes from seed 199"),
        ({"num_episodes": 0}, "episodes must be at least 1, got 0"),
        ({"disturbance": 1.0}, r"share of the rows in \[0, 1\), got 1.0"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        record(tmp_path, **changes)


def test_a_mistake_in_a_game_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"FailingGame: ZeroDivisionError: .*\(toy_game\.py, "):
        record(tmp_path, game="toy_game:FailingGame")


def test_a_picture_that_is_not_as_the_game_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 of \(.*\): GameInfo\.frame_size"):
        record(tmp_path, game="toy_game:TallGame")
    assert not list(tmp_path.glob("*.json"))
