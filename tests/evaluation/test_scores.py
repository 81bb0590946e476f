import numpy as np
import pytest

from nitrogen_train.evaluation.closed_loop import bootstrap_interval, score_game


def score(policy: list[float], *, published: float | None = None, expert: float = 10.0):
    return score_game(
        seeds=range(len(policy)),
        random_scores=[2.0] * len(policy),
        expert_scores=[expert] * len(policy),
        policy_scores=policy,
        published=published,
    )


def test_random_is_zero_and_the_expert_is_one():
    assert score([2.0, 2.0]).score == 0
    assert score([10.0, 10.0]).score == 1


def test_a_published_score_above_our_expert_becomes_the_denominator():
    result = score([10.0, 10.0], published=18.0)

    assert (result.score, result.reference) == (0.5, 18)
    assert result.reference_source == "published expert score"
    assert result.expert == 10


def test_a_published_score_below_our_expert_changes_nothing():
    result = score([10.0, 10.0], published=5.0)

    assert (result.score, result.reference_source) == (1, "expert on the same seeds")


def test_the_interval_holds_the_mean_and_is_the_same_each_time():
    first, second = (score([3.0, 6.0, 9.0, 4.0, 7.0]) for _ in range(2))

    assert first.low < first.score < first.high
    assert first == second


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(generator.normal(size=20)) for _ in range(60)]

    assert 0.8 < np.mean([low <= 0 <= high for low, high in intervals]) <= 1


def test_equal_episodes_have_an_interval_of_no_width():
    result = score([6.0, 6.0, 6.0])

    assert result.low == result.score == result.high == 0.5


def test_one_episode_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        score([3.0])


def test_an_expert_no_better_than_random_is_refused():
    with pytest.raises(ValueError, match="no length"):
        score([3.0, 3.0], expert=2.0)
