"""The weights that a run starts from: rows of games by name, and nothing that does not fit."""

import logging
from pathlib import Path

import pytest
import torch
from tiny_policy import build_tiny_policy

from nitrogen_train.config import NgOptions
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.run.policy_of_run import initialize


def start(
    folder: Path, *, known: tuple[str, ...], games: tuple[str, ...], trained: tuple[str, ...]
) -> tuple[VisualPolicy, VisualPolicy]:
    """Start a policy of other random weights, told some games, from a saved one."""
    old, new = build_tiny_policy(games=known), build_tiny_policy(seed=1, games=games)
    old.save_pretrained(folder)
    initialize(new, str(folder), ng=NgOptions(), trained_games=trained)
    return old, new


def rows(policy: VisualPolicy) -> dict[str, torch.Tensor]:
    assert policy.game_embedding is not None
    return dict(zip(("", *policy.games), policy.game_embedding.weight.detach(), strict=True))


def test_rows_of_games_follow_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    old, new = start(
        tmp_path, known=("chase", "flee"), games=("celeste", "flee", "chase"),
        trained=("celeste", "flee"),
    )  # fmt: skip

    before, after = rows(old), rows(new)
    for game, was in {"": "", "celeste": "", "flee": "flee", "chase": "chase"}.items():
        assert torch.equal(after[game], before[was]), game
    assert caplog.messages == [
        "games from the unconditional row: celeste; from their own rows: flee; "
        "kept, though no data train them: chase"
    ]


def test_as_many_games_of_other_names_take_no_row_of_theirs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    old, new = start(tmp_path, known=("chase", "flee"), games=("a", "b"), trained=("a", "b"))

    assert torch.equal(rows(new)["a"], rows(old)[""])
    assert torch.equal(rows(new)["b"], rows(old)[""])
    assert caplog.messages == ["games from the unconditional row: a, b; dropped: chase, flee"]


def test_everything_else_is_taken_over(tmp_path: Path) -> None:
    old, new = start(tmp_path, known=("chase",), games=("chase", "a"), trained=("a",))

    expected = old.state_dict()
    for name, value in new.state_dict().items():
        if name != "game_embedding.weight":
            assert torch.equal(value, expected[name]), name


def test_a_policy_that_is_not_told_the_game_starts_none_that_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not hold the weights .*game_embedding") as caught:
        start(tmp_path, known=(), games=("a",), trained=("a",))

    assert "\n" not in str(caught.value)
