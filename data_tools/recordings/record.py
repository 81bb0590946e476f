"""Expert play of a game, written down as recordings.

Bursts of held random controls are injected, so that recoveries are seen. They are stored as
executed and listed in the facts: a row of them is nobody's choice, so it is never learned from.
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.recordings.episode import (
    choose_seeds,
    episode_name,
    play_episode,
    read_finished,
    recordings_folder,
)
from data_tools.recordings.recording import RecordingFacts, check_game_name
from data_tools.workers import map_in_order
from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.data.files import check_folder
from nitrogen_train.games import Frame, Game, GameInfo, load_game
from nitrogen_train.progress import track

_BURST_ROWS = (3, 12)
"""Shortest and longest disturbance."""
_PRESS_SHARE = 0.25
"""Of the buttons in a disturbance."""


@dataclass(frozen=True, kw_only=True)
class EpisodeTask:
    """One episode to record."""

    game: str
    """As `load_game` takes it."""
    seed: int
    out_dir: Path
    disturbance: float
    """Share of the rows that are disturbed, in [0, 1)."""
    size: int | None
    """Side of the square that frames are squashed to; None keeps the game's own size."""

    @property
    def player(self) -> str:
        """How the episode is played and stored: a rerun must not mix two ways."""
        size = f"{self.size}x{self.size}" if self.size else "own size"
        return f"scripted expert, {self.disturbance:.0%} disturbed, {size}"


def record_game(
    game: str,
    *,
    out_dir: Path,
    num_episodes: int,
    first_seed: int | None,
    disturbance: float,
    size: int | None,
    workers: int,
) -> list[RecordingFacts]:
    """Record episodes of a game's expert; those that are finished already are kept.

    Args:
        game: Name, or `module:Class`.
        out_dir: Where the recordings go.
        num_episodes: One recording each.
        first_seed: Of the episodes' consecutive seeds; None starts at the game's first.
        disturbance: Share of the rows in injected disturbances, in [0, 1).
        size: Side of the square that frames are squashed to; None keeps the game's own size.
        workers: Processes.

    Returns:
        The facts of all the episodes.

    Raises:
        ValueError: If the game is unknown, or a number is out of range.
        ShardError: If recordings in `out_dir` name the game in another way.
    """
    info = load_game(game).info
    if not 0 <= disturbance < 1:
        raise ValueError(f"disturbance is a share of the rows in [0, 1), got {disturbance}")
    seeds = choose_seeds(info, first_seed, num_episodes)
    tasks = [
        EpisodeTask(game=game, seed=seed, out_dir=out_dir, disturbance=disturbance, size=size)
        for seed in seeds
    ]
    check_folder(out_dir)
    with recordings_folder(out_dir):
        check_game_name(info.name, out_dir)
        results = map_in_order(record_episode, tasks, workers=workers)
        return list(track(results, label=f"record {info.name}", unit="episode", total=len(tasks)))


def record_episode(task: EpisodeTask) -> RecordingFacts:
    """Play and record one episode, unless it is recorded already.

    Raises:
        ValueError: If it is recorded already, in another way, or the game itself fails.
        OSError: If the recording cannot be written.
    """
    game_class = load_game(task.game)
    facts_path = task.out_dir / f"{episode_name(game_class.info, task.seed)}.json"
    if facts := read_finished(facts_path):
        if facts.device != task.player:
            raise ValueError(
                f"{facts_path} was recorded by {facts.device!r}, not {task.player!r}; "
                "choose another --out"
            )
        return facts
    try:
        with contextlib.closing(game_class()) as game:
            return play_episode(
                game,
                _DisturbedExpert(game_class.info, task),
                seed=task.seed,
                out_dir=task.out_dir,
                size=task.size,
                device=task.player,
            )
    except OSError:
        raise
    except Exception as error:
        # Code of somebody else's: any mistake is possible.
        raise ValueError(_locate(error, game_class)) from error


def _locate(error: Exception, game_class: type[Game]) -> str:
    """Say where in the game's own file an error comes from."""
    path = sys.modules[game_class.__module__].__file__
    lines = [line for line in traceback.extract_tb(error.__traceback__) if line.filename == path]
    where = f" ({Path(str(path)).name}, line {lines[-1].lineno})" if lines else ""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{game_class.__name__}: {kind}{error}{where}"


class _DisturbedExpert:
    def __init__(self, info: GameInfo, task: EpisodeTask) -> None:
        # Not the seed alone: a Gymnasium game draws the same numbers from that.
        rng = np.random.default_rng((task.seed, 1))
        self._disturbances = _disturbances(info, task.disturbance, rng)

    def choose(self, game: Game, frame: Frame) -> tuple[Controls, bool]:
        # Asked even when it is not obeyed, so that an expert with a memory keeps up.
        wanted = game.expert()
        held = next(self._disturbances)
        return (wanted, False) if held is None else (held, True)


def _disturbances(
    info: GameInfo, share: float, rng: np.random.Generator
) -> Iterator[Controls | None]:
    """Say for each row which controls to hold instead of the expert's, or None."""
    low, high = _BURST_ROWS
    # A burst of mean length m has chance p, else a row is free: share = m p / (m p + 1 - p).
    chance = share / ((low + high) / 2 * (1 - share) + share)
    while True:
        if rng.random() >= chance:
            yield None
            continue
        controls = {
            name: float(rng.uniform(-1, 1))
            if name in GAMEPAD.sticks
            else bool(rng.random() < _PRESS_SHARE)
            for name in info.controls
        }
        for _ in range(rng.integers(low, high + 1)):
            yield controls
