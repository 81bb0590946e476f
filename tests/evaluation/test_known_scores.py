from pathlib import Path

from nitrogen_train.evaluation.closed_loop import PlayedEpisode, read_scores
from nitrogen_train.runtime.ledger import Ledger


def make_episode(seed: int) -> PlayedEpisode:
    return PlayedEpisode(
        player="policy", fingerprint="f", game="toy", seed=seed, score=seed / 3, num_rows=9
    )


def test_scores_are_found_by_player_settings_game_and_seed(tmp_path: Path) -> None:
    Ledger(tmp_path / "j.jsonl", PlayedEpisode).add(make_episode(1), make_episode(2))

    scores = read_scores(Ledger(tmp_path / "j.jsonl", PlayedEpisode))

    assert scores == {("policy", "f", "toy", 1): 1 / 3, ("policy", "f", "toy", 2): 2 / 3}


def test_the_file_of_the_version_before_goes_on(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text(
        '{"player": "policy", "fingerprint": "f", "game": "toy", "seed": 1, "score": 0.5, '
        '"num_rows": 9}\n'
    )

    Ledger(tmp_path / "j.jsonl", PlayedEpisode).add(make_episode(3))

    scores = read_scores(Ledger(tmp_path / "j.jsonl", PlayedEpisode))
    assert scores == {("policy", "f", "toy", 1): 0.5, ("policy", "f", "toy", 3): 1.0}
