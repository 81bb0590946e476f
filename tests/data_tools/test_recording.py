import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_tools.recordings.recording import RecordingFacts, find_recordings
from nitrogen_train.data.schema import ShardError

FACTS = {
    "schema_version": 1,
    "video_start_ns": 7,
    "game": "grey",
    "session_id": "one",
    "stick_y_axis": "up",
}


def read_facts(**changes: Any) -> RecordingFacts:
    return RecordingFacts.from_json(json.dumps(FACTS | changes).encode(), what="run.json")


def test_facts_survive_their_file(tmp_path: Path) -> None:
    facts = read_facts(disturbed_ns=[[1, 2], [5, 9]], score=21, seed=3, device="pad")

    facts.write(tmp_path / "run.json")

    assert RecordingFacts.from_json((tmp_path / "run.json").read_bytes(), what="x") == facts
    assert facts.disturbed_ns == ((1, 2), (5, 9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stick_y_axis": "left"}, "stick_y_axis must be 'up' or 'down', got 'left'"),
        ({"video_start_ns": 1.5}, "video_start_ns must be a whole number, got 1.5"),
        ({"game": None}, "game must be printable text, got None"),
        ({"labels": "guessed"}, "labels must be"),
        ({"score": "high"}, "score must be a number or null, got 'high'"),
        ({"seed": 1.5}, "seed must be a whole number or null, got 1.5"),
        ({"disturbed_ns": [[2, 1]]}, "disturbed_ns must hold"),
        ({"disturbed_ns": [[1]]}, "disturbed_ns must hold"),
        ({"disturbed_ns": [["a", "b"]]}, "disturbed_ns must hold"),
        ({"disturbed_ns": 3}, "disturbed_ns must hold"),
        ({"sesion_id": "two"}, "unknown field 'sesion_id'; did you mean session_id"),
        ({"schema_version": 9}, "run.json has schema_version 9.*update nitrogen-train"),
    ],
)
def test_a_wrong_fact_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=message):
        read_facts(**changes)


@pytest.mark.parametrize("name", FACTS)
def test_a_missing_fact_is_named(name: str) -> None:
    values = {key: value for key, value in FACTS.items() if key != name}

    with pytest.raises(ShardError, match=name):
        RecordingFacts.from_json(json.dumps(values).encode(), what="run.json")


def test_all_missing_facts_are_named_at_once_with_an_example() -> None:
    with pytest.raises(ShardError) as raised:
        RecordingFacts.from_json(b'{"game": "grey", "source": "mine"}', what="run.json")

    words, _, example = str(raised.value).partition("; it holds at least ")
    assert words == "run.json lacks schema_version, video_start_ns, session_id, stick_y_axis"
    assert RecordingFacts.from_json(example.encode(), what="example").schema_version == 1


def test_recordings_are_found_in_order(tmp_path: Path, write_recording: Callable) -> None:
    write_recording(tmp_path, "b", num_frames=2)
    write_recording(tmp_path, "a", num_frames=2)
    (tmp_path / ".c.mp4.part").write_bytes(b"unfinished")

    assert [recording.name for recording in find_recordings([tmp_path])] == ["a", "b"]


@pytest.mark.parametrize("suffix", [".inputs.jsonl", ".json"])
def test_a_missing_file_is_named(tmp_path: Path, write_recording: Callable, suffix: str) -> None:
    write_recording(tmp_path, "run", num_frames=2)
    (tmp_path / f"run{suffix}").unlink()

    with pytest.raises(FileNotFoundError, match=rf"run\.mp4 lacks its .*run\{suffix}"):
        find_recordings([tmp_path])


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no video"):
        find_recordings([tmp_path])
    with pytest.raises(FileNotFoundError, match="not a folder of recordings"):
        find_recordings([tmp_path / "nowhere"])


def test_one_name_in_two_folders_is_refused(tmp_path: Path, write_recording: Callable) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        write_recording(folder, "run", num_frames=2)

    with pytest.raises(ShardError, match="have one name; rename"):
        find_recordings(folders)


def test_two_logs_are_refused(tmp_path: Path, write_recording: Callable) -> None:
    write_recording(tmp_path, "run", num_frames=2)
    (tmp_path / "run.inputs.parquet").write_bytes(b"")

    with pytest.raises(ShardError, match="two input logs"):
        find_recordings([tmp_path])


@pytest.mark.parametrize(
    "hidden", ["._run.inputs.jsonl", ".rec/run.inputs.jsonl", "run.inputs.jsonl"]
)
def test_what_nobody_means_is_no_hint(tmp_path: Path, hidden: str) -> None:
    path = tmp_path / hidden
    path.parent.mkdir(exist_ok=True)
    path.touch()

    with pytest.raises(FileNotFoundError, match=r"holds no video \([^)]*\)$"):
        find_recordings([tmp_path])


@pytest.mark.parametrize("place", ["rec", "all/rec"])
def test_a_folder_above_recordings_names_theirs(
    tmp_path: Path, write_recording: Callable, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    write_recording(tmp_path / place)

    with pytest.raises(FileNotFoundError, match=f"holds no video .*; .*/{place} holds recordings"):
        find_recordings([tmp_path])
