"""Turn the scores of episodes into one comparable number per game.

    normalized = (policy - random) / (reference - random)

0 is the random player, 1 the reference: the larger of our expert's mean on the same seeds and the
game's published expert score, so a weak expert of ours cannot flatter a policy. The interval is a
percentile bootstrap over episodes of the policy's mean, with random and reference held fixed.

Source:
    Agarwal et al. 2021, arXiv:2108.13264 (normalized scores with bootstrap intervals).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import bootstrap

CONFIDENCE = 0.95
_NUM_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class GameScore:
    """The score of a policy in one game."""

    score: float
    """Normalized mean: 0 is random, 1 the reference."""
    low: float
    high: float
    """95 % bootstrap interval of `score` over episodes."""
    random: float
    expert: float
    policy: float
    """Mean raw scores on the same held-out seeds."""
    reference: float
    """The raw score that counts as 1."""
    reference_source: str
    """`expert on the same seeds` or `published expert score`."""
    episodes: int
    seeds: list[int]
    random_scores: list[float]
    expert_scores: list[float]
    policy_scores: list[float]
    """Raw scores, in the order of `seeds`."""


def score_game(
    *,
    seeds: Sequence[int],
    random_scores: Sequence[float],
    expert_scores: Sequence[float],
    policy_scores: Sequence[float],
    published: float | None,
) -> GameScore:
    """Normalize a policy's scores.

    Args:
        seeds: The episodes, played by all three.
        random_scores: Sums of rewards of the random player, in the order of `seeds`.
        expert_scores: Those of the scripted expert.
        policy_scores: Those of the policy.
        published: The game's `reference_score`.

    Raises:
        ValueError: If there are fewer than two episodes, or the reference is no better than random.
    """
    if len(seeds) < 2:
        raise ValueError(f"an interval over episodes needs at least 2 of them, got {len(seeds)}")
    random, expert = float(np.mean(random_scores)), float(np.mean(expert_scores))
    reference = max(expert, published if published is not None else expert)
    if reference <= random:
        raise ValueError(
            f"the scale has no length: random reaches {random:g} and the reference {reference:g}; "
            "play more episodes, or give the game a better expert"
        )
    normalized = (np.asarray(policy_scores, dtype=np.float64) - random) / (reference - random)
    low, high = bootstrap_interval(normalized)
    return GameScore(
        score=float(normalized.mean()),
        low=low,
        high=high,
        random=random,
        expert=expert,
        policy=float(np.mean(policy_scores)),
        reference=reference,
        reference_source=(
            "published expert score" if reference > expert else "expert on the same seeds"
        ),
        episodes=len(seeds),
        seeds=list(seeds),
        random_scores=list(random_scores),
        expert_scores=list(expert_scores),
        policy_scores=list(policy_scores),
    )


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Bound the mean of independent values, the same way each time it is asked.

    Args:
        values: At least two. If all are equal, so are the bounds.
    """
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=_NUM_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def bootstrap_runs(values: Float64[np.ndarray, "runs games episodes"]) -> tuple[float, float]:
    """Bound the mean over training runs: they are drawn again, and in each of them its episodes.

    Args:
        values: At least two runs and two episodes.
    """
    rng = np.random.default_rng(0)
    runs, games, episodes = values.shape
    drawn_runs = rng.integers(runs, size=(_NUM_RESAMPLES, runs, 1, 1))
    drawn_episodes = rng.integers(episodes, size=(_NUM_RESAMPLES, runs, games, episodes))
    drawn = values[drawn_runs, np.arange(games)[:, None], drawn_episodes]
    bounds = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(drawn.mean(axis=(1, 2, 3)), bounds)
    return float(low), float(high)
