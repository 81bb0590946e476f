"""Playing a game through: several episodes in lock step, so that a policy is asked once for all.

Before each row a player is asked for the controller state of every episode that still runs. The
sum of an episode's rewards is its score.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.games import Frame, Game
from nitrogen_train.games.players import random_player


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a player may look at in one running episode."""

    frame: Frame
    """The picture on the screen now."""
    game: Game
    """The game itself: its scripted expert reads it, a policy does not."""


@runtime_checkable
class Player(Protocol):
    """Chooses the next controller state of every running episode."""

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Choose for each episode, named by its seed; episodes that ended are not named again."""
        ...


class ExpertPlayer:
    """The game's scripted expert."""

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Ask each game for its expert's action."""
        return {seed: moment.game.expert() for seed, moment in moments.items()}


class RandomPlayer:
    """Presses at random, in each episode by the episode's seed."""

    def __init__(self) -> None:
        self._presses: dict[int, Iterator[Controls]] = {}

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Draw the next presses, whatever is on the screen."""
        for seed in moments.keys() - self._presses.keys():
            # Not the seed itself: Gymnasium gives a game the very numbers that follow from it.
            own_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
            self._presses[seed] = random_player(type(moments[seed].game), seed=own_seed)
        return {seed: next(self._presses[seed]) for seed in moments}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an episode ended."""

    seed: int
    score: float
    """Sum of the rewards."""
    num_rows: int
    """Rows that were acted."""


def play_episodes(
    game_class: type[Game], *, seeds: Sequence[int], player: Player
) -> Iterator[Outcome]:
    """Play one episode per seed, in lock step, each to its own end.

    Yields:
        Each episode's outcome, as it ends.

    Raises:
        ValueError: If a game pays rewards that are not finite.
    """
    with contextlib.ExitStack() as stack:
        games = {seed: stack.enter_context(contextlib.closing(game_class())) for seed in seeds}
        moments = {
            seed: Moment(frame=game.reset(seed=seed)[0], game=game) for seed, game in games.items()
        }
        scores, num_rows = dict.fromkeys(seeds, 0.0), 0
        while moments:
            num_rows += 1
            for seed, controls in player.act(moments).items():
                frame, reward, terminated, truncated, _ = games[seed].step(controls)
                scores[seed] += float(reward)
                moments[seed] = Moment(frame=frame, game=games[seed])
                if not np.isfinite(scores[seed]):
                    raise ValueError(
                        f"{game_class.info.name}, seed {seed}: the reward of row {num_rows - 1} is "
                        f"{reward}; rewards must be finite"
                    )
                if terminated or truncated:
                    del moments[seed]
                    yield Outcome(seed=seed, score=scores[seed], num_rows=num_rows)
