import pytest

from nitrogen_train.data.schema import ShardError, find_respelt, refuse_respelt


@pytest.mark.parametrize(
    "games",
    [
        ["Celeste", "celeste"],
        ["hollow_knight", "Hollow Knight"],
        ["half-life", "halflife"],
        ["Pok\u00e9mon", "poke\u0301mon"],
    ],
)
def test_one_game_in_two_spellings_is_found(games: list[str]) -> None:
    assert find_respelt(games) == [tuple(sorted(games))]


def test_games_that_differ_in_more_than_spelling_are_left_alone() -> None:
    assert find_respelt(["N", "N+", "N++", "celeste", "celeste_2", "celeste", "."]) == []


def test_a_refusal_names_both_spellings() -> None:
    with pytest.raises(ShardError, match="the set: 'Celeste' and 'celeste' differ in their spell"):
        refuse_respelt(["celeste", "doom", "Celeste"], what="the set")
