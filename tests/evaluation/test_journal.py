from pathlib import Path

import pytest

from nitrogen_train.evaluation.closed_loop import Journal, PlayedEpisode


def make_episode(seed: int) -> PlayedEpisode:
    return PlayedEpisode(
        player="policy", fingerprint="f", game="toy", seed=seed, score=seed / 3, num_rows=9
    )


def test_what_was_added_is_there_after_a_restart(tmp_path: Path):
    Journal(tmp_path / "j.jsonl").add([make_episode(1), make_episode(2)])

    again = Journal(tmp_path / "j.jsonl")
    again.add([make_episode(3)])

    scores = [
        Journal(tmp_path / "j.jsonl").score("policy", fingerprint="f", game="toy", seed=seed)
        for seed in (1, 2, 3, 4)
    ]
    assert scores == [1 / 3, 2 / 3, 1.0, None]
    assert [path.name for path in tmp_path.iterdir()] == ["j.jsonl"]


def test_other_settings_find_nothing(tmp_path: Path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.add([make_episode(1)])

    assert journal.score("policy", fingerprint="g", game="toy", seed=1) is None
    assert journal.score("expert", fingerprint="f", game="toy", seed=1) is None


@pytest.mark.parametrize("line", ["{}", "[1]", "no json", '{"player": "policy"}'])
def test_a_file_that_holds_something_else_is_refused_by_line(tmp_path: Path, line: str):
    (tmp_path / "j.jsonl").write_text(line + "\n")

    with pytest.raises(ValueError, match="line 1 is no episode"):
        Journal(tmp_path / "j.jsonl")


def test_another_journals_episodes_count_as_played_and_stay_where_they_are(tmp_path: Path):
    Journal(tmp_path / "other.jsonl").add([make_episode(1)])

    journal = Journal(tmp_path / "j.jsonl", known=tmp_path / "other.jsonl")
    journal.add([make_episode(2)])

    assert journal.score("policy", fingerprint="f", game="toy", seed=1) == 1 / 3
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 1
    assert len((tmp_path / "other.jsonl").read_text().splitlines()) == 1
