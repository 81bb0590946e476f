"""Play several episodes of a game in lock step, so that one call of a policy serves all.

    frames of the episodes that still run ─► player ─► their controls ─► step ─► rewards, frames

The sum of an episode's rewards is its score. Episodes whose policy needs a chunk at the same moment
share one call of it (`models.playing`). `record_video` writes a policy at play as a video with its
pad drawn below the picture.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from nitrogen_train.actions import ActionSpace, Controls
from nitrogen_train.actions.space import count_rows_per_action
from nitrogen_train.data.encode import Encoding, VideoWriter
from nitrogen_train.games import Frame, Game, GameInfo, load_game
from nitrogen_train.games.base import random_player
from nitrogen_train.models.playing import Lane, PlaySettings, plan_rows, refuse_rows
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.runtime.progress import Progress, track
from nitrogen_train.viewing.overlays import draw_controls

_ENCODING = Encoding(crf=31, group_s=5.0, decodes_fast=False)
"""Encoding for looking at, not for learning from: a minute takes two to four megabytes."""
_CONTROLS_HEIGHT = 84
"""Black rows below the pad, which a browser's player lays its controls over."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The facts of one running episode that a player may look at."""

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
    """The end of an episode."""

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


class Agent:
    """A policy that plays episodes of one game."""

    def __init__(self, policy: VisualPolicy, *, game: GameInfo, settings: PlaySettings) -> None:
        """Prepare to play; nothing is seen yet.

        Raises:
            ValueError: If the settings do not fit the policy or the game, or the policy does not
                know the game.
        """
        refuse_rows(policy, settings)
        self._game_id = policy.game_id(game.name)
        try:
            self._held = count_rows_per_action(game.fps, settings.action_hz)
        except ValueError as error:
            raise ValueError(
                f"{game.name} has {game.fps:g} rows per second, and the policy plays "
                f"{settings.action_hz:g}: give action_hz={game.fps:g}, and it acts at every row"
            ) from error
        self._policy = policy.eval()
        self._settings = settings
        self._controls = game.controls
        self._lanes: dict[int, Lane] = {}

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        """Execute the next planned row of each episode, planning anew where none is left.

        Raises:
            ValueError: If the policy returns NaN.
        """
        for seed, moment in moments.items():
            if seed not in self._lanes:
                self._lanes[seed] = Lane(
                    self._policy,
                    settings=self._settings,
                    game_id=self._game_id,
                    episode=seed,
                    held=self._held,
                )
            self._lanes[seed].observe(moment.frame)
        running = {seed: self._lanes[seed] for seed in moments}
        if waiting := [lane for lane in running.values() if not lane.plan]:
            plan_rows(self._policy, waiting)
        rows = {seed: lane.plan.popleft() for seed, lane in running.items()}
        return {seed: {name: row[name] for name in self._controls} for seed, row in rows.items()}


def record_video(policy: VisualPolicy, game: str, *, settings: PlaySettings, path: Path) -> Outcome:
    """Play the first held-out episode to its end and film it; it was chosen before anyone looked.

    Args:
        policy: It is put into evaluation mode.
        game: Name in `GAMES`, or `module:Class`.
        settings: How the policy plays.
        path: The H.264 mp4; an existing one is replaced.

    Returns:
        How the episode ended.

    Raises:
        ValueError: If the game is unknown, or the settings do not fit the policy.
    """
    game_class = load_game(game)
    info = game_class.info
    seed = info.heldout_seeds[0]
    agent = Agent(policy, game=info, settings=settings)
    label = f"film {info.name}, seed {seed}"
    # How long an episode lasts is not known before its end.
    with one_thread(), Progress(total=None, label=label, unit="frame") as progress:
        filmed = _FilmedPlayer(agent, progress)
        (outcome,) = play_episodes(game_class, seeds=[seed], player=filmed)
    write_film(path, filmed.rows, game=info, seed=seed, space=policy.action_space)
    return outcome


def write_film(
    path: Path,
    rows: Sequence[tuple[Frame, Controls]],
    *,
    game: GameInfo,
    seed: int,
    space: ActionSpace,
) -> None:
    """Write an episode as a video, with the pad below the picture.

    Args:
        path: The H.264 mp4; an existing one is replaced.
        rows: What was seen and done; at least one.
        game: What was played.
        seed: Of the episode.
        space: Of the controls.
    """
    caption = f"{game.name}, seed {seed}"
    drawn = (
        draw_controls(frame, [(caption, controls)], space=space)
        for frame, controls in track(
            rows, label=f"write {path.name}", unit="frame", total=len(rows)
        )
    )
    pictures = (np.pad(picture, ((0, _CONTROLS_HEIGHT), (0, 0), (0, 0))) for picture in drawn)
    first = next(pictures)
    height, width, _ = first.shape
    with VideoWriter(path, fps=game.fps, width=width, height=height, encoding=_ENCODING) as video:
        video.write(first)
        for picture in pictures:
            video.write(picture)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one core in a block, as the processes that play do.

    One frame of a small policy is too little to divide: on a busy machine threads wait for each
    other 20 to 40 times longer than they compute.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _FilmedPlayer:
    """Keeps what a player saw and did in its one episode."""

    def __init__(self, player: Player, progress: Progress) -> None:
        self._player, self._progress = player, progress
        self.rows: list[tuple[Frame, Controls]] = []

    def act(self, moments: Mapping[int, Moment]) -> dict[int, Controls]:
        actions = self._player.act(moments)
        self.rows += [(moments[seed].frame, controls) for seed, controls in actions.items()]
        self._progress.update()
        return actions
