"""Let random player, expert and policy play the same held-out seeds of real games.

    seeds ─► groups played in lock step, each by one of several processes ─► ledger ─► scores

A finished group of episodes is written to a ledger and not played again. Groups follow from the
settings alone, so an evaluation that was interrupted ends with the scores that it would have had.

The scores of a game's episodes become one number that can be compared.

    normalized = (policy - random) / (reference - random)

0 is the random player, 1 the reference: the larger of our expert's mean on the same seeds and the
game's published expert score, so a weak expert of ours cannot flatter a policy. The interval is a
percentile bootstrap over episodes of the policy's mean, with random and reference held fixed.

Source:
    Agarwal et al. 2021, arXiv:2108.13264 (normalized scores with bootstrap intervals).
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import bootstrap

from nitrogen_train.evaluation.live_play import LiveAgent
from nitrogen_train.evaluation.play import Agent, ExpertPlayer, Player, RandomPlayer, play_episodes
from nitrogen_train.games import GameInfo, choose_heldout_seeds, load_game
from nitrogen_train.models.load import PolicySource
from nitrogen_train.models.playing import PlaySettings
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.runtime.ledger import Ledger
from nitrogen_train.runtime.processes import open_pool, submit
from nitrogen_train.runtime.progress import Progress

CONFIDENCE = 0.95
LEDGER_NAME = "episodes.jsonl"
_NUM_RESAMPLES = 10_000

PlayerName = Literal["policy", "expert", "random"]

Scores = dict[tuple[PlayerName, str, str, int], float]
"""Scores of what has been played, by player, fingerprint, game and seed."""


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


@dataclass(frozen=True, kw_only=True)
class PlayedEpisode:
    """A game that was played to its end."""

    player: PlayerName
    fingerprint: str
    """Fingerprint of all else that decides how the episode goes: settings of game and policy."""
    game: str
    seed: int
    score: float
    """Sum of the rewards."""
    num_rows: int
    """Rows that were acted."""


def read_scores(episodes: Iterable[PlayedEpisode]) -> Scores:
    """Collect the scores of episodes, such as those of a ledger."""
    return {(each.player, each.fingerprint, each.game, each.seed): each.score for each in episodes}


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Episodes that one process plays in lock step."""

    player: PlayerName
    fingerprint: str
    game: str
    seeds: tuple[int, ...]


def evaluate_closed_loop(
    *,
    source: PolicySource,
    settings: PlaySettings,
    games: Sequence[str],
    num_episodes: int,
    group_size: int,
    num_processes: int,
    output_dir: Path,
    known_dir: Path | None = None,
) -> dict[str, GameScore]:
    """Play every game with every player, and score the policy.

    Args:
        source: A folder that `save_pretrained` wrote, or an ng.pt.
        settings: How the policy plays.
        games: Names in `GAMES`, or `module:Class`.
        num_episodes: Held-out seeds of each game, the first ones.
        group_size: Episodes that one process plays in lock step.
        num_processes: Each computes on one core; 1 plays in this process.
        output_dir: Where the finished episodes are kept.
        known_dir: Where those of another evaluation are: an episode that would go the same way,
            such as one of the random player, is taken from there.

    Returns:
        The score of each game, in the order of `games`.

    Raises:
        ValueError: If a game is unknown or has fewer held-out seeds, or the settings do not fit.
        ChildProcessError: If a process died.
        FileNotFoundError: If `known_dir` holds no episodes.
    """
    policy_fingerprint = _hash(_hash_policy(source.path), repr(settings))
    groups = [
        group
        for game in games
        for player in get_args(PlayerName)
        for group in _cut_groups(
            game,
            player,
            num_episodes=num_episodes,
            group_size=group_size,
            policy_fingerprint=policy_fingerprint,
        )
    ]
    for game in games:
        # Before any process starts: a misfit should cost a second, not an evaluation.
        game_class = load_game(game)
        if missing := game_class.find_missing():
            raise ValueError(missing)
        if game_class.info.score is None:
            raise ValueError(f"{game} has no score, so nothing says how well it is played")
        if not game_class.info.has_expert:
            raise ValueError(
                f"{game} has no expert, whose score is 1 in an evaluation: give it one"
            )
        _build_agent(source, game_class.info, settings)
    ledger = Ledger(output_dir / LEDGER_NAME, PlayedEpisode)
    scores = read_scores(ledger)
    if known_dir is not None:
        (known_dir / LEDGER_NAME).stat()
        scores = read_scores(Ledger(known_dir / LEDGER_NAME, PlayedEpisode)) | scores
    play = functools.partial(_play_group, source=source, settings=settings)
    missing = [
        replace(group, seeds=seeds)
        for group in groups
        if (seeds := tuple(seed for seed in group.seeds if _look_up(group, seed, scores) is None))
    ]
    total = sum(len(group.seeds) for group in groups)
    done = total - sum(len(group.seeds) for group in missing)
    with Progress(total=total, initial=done, label="play", unit="episode") as progress:
        for episodes in _play_groups(missing, play, num_processes=num_processes):
            ledger.add(*episodes)
            scores |= read_scores(episodes)
            progress.update(len(episodes), note=_running_mean(episodes[0], groups, scores))
    return {game: _score(game, groups, scores) for game in games}


def _cut_groups(
    game: str,
    player: PlayerName,
    *,
    num_episodes: int,
    group_size: int,
    policy_fingerprint: str,
) -> list[_Group]:
    info = load_game(game).info
    seeds = choose_heldout_seeds(game, num_episodes)
    # A change of the game's frame skip or length must not be answered with old episodes.
    fingerprint = _hash(repr(info), policy_fingerprint if player == "policy" else "")
    return [
        _Group(
            player=player,
            fingerprint=fingerprint,
            game=game,
            seeds=tuple(seeds[first : first + group_size]),
        )
        for first in range(0, num_episodes, group_size)
    ]


def _play_groups(
    groups: Sequence[_Group], play: Callable[[_Group], list[PlayedEpisode]], *, num_processes: int
) -> Iterator[list[PlayedEpisode]]:
    if min(num_processes, len(groups)) <= 1:
        yield from map(play, groups)
        return
    with open_pool(min(num_processes, len(groups)), initializer=_compute_on_one_core) as pool:
        futures = [submit(pool, play, group) for group in groups]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "a process that played has died, perhaps out of memory; finished episodes are "
                "kept: run the same command again, with fewer processes or smaller groups"
            ) from error


def _compute_on_one_core() -> None:
    torch.set_num_threads(1)


def _play_group(
    group: _Group, *, source: PolicySource, settings: PlaySettings
) -> list[PlayedEpisode]:
    game_class = load_game(group.game)
    player: Player
    if group.player == "policy":
        player = _build_agent(source, game_class.info, settings)
    else:
        player = ExpertPlayer() if group.player == "expert" else RandomPlayer()
    return [
        PlayedEpisode(
            player=group.player,
            fingerprint=group.fingerprint,
            game=group.game,
            seed=outcome.seed,
            score=outcome.score,
            num_rows=outcome.num_rows,
        )
        for outcome in play_episodes(game_class, seeds=group.seeds, player=player)
    ]


def _build_agent(source: PolicySource, game: GameInfo, settings: PlaySettings) -> Player:
    agent = Agent if settings.latency is None else LiveAgent
    return agent(_load(source), game=game, settings=settings)


@functools.cache
def _load(source: PolicySource) -> VisualPolicy:
    return source.load()


def _look_up(group: _Group, seed: int, scores: Scores) -> float | None:
    return scores.get((group.player, group.fingerprint, group.game, seed))


def _choose_scores(
    game: str, player: PlayerName, groups: Sequence[_Group], scores: Scores
) -> dict[int, float]:
    """Collect what a player has reached so far, by seed."""
    return {
        seed: score
        for group in groups
        if (group.game, group.player) == (game, player)
        for seed in group.seeds
        if (score := _look_up(group, seed, scores)) is not None
    }


def _running_mean(episode: PlayedEpisode, groups: Sequence[_Group], scores: Scores) -> str:
    chosen = _choose_scores(episode.game, episode.player, groups, scores).values()
    return f"{episode.game} {episode.player} {np.mean(list(chosen)):.4g}"


def _score(game: str, groups: Sequence[_Group], scores: Scores) -> GameScore:
    by_player = {
        player: _choose_scores(game, player, groups, scores) for player in get_args(PlayerName)
    }
    return score_game(
        seeds=list(by_player["policy"]),
        random_scores=list(by_player["random"].values()),
        expert_scores=list(by_player["expert"].values()),
        policy_scores=list(by_player["policy"].values()),
        published=load_game(game).info.reference_score,
    )


def _hash_policy(path: Path) -> str:
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    return _hash(*(f"{file.name} {_hash_file(file)}" for file in files))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


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
            "play more episodes, or give the game a better expert or a reference_score"
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
