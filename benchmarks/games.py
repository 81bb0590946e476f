"""What each game allows and how fast it is, and how far its expert is from the random player.

    game ─► two runs with the same presses ─► equal pictures? ─► restored states ─► random, expert

A frame is one of the game's own: a row lasts several (`GameInfo.frame_skip`).
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nitrogen_train.actions import Controls
from nitrogen_train.evaluation.play import ExpertPlayer, RandomPlayer, play_episodes
from nitrogen_train.games import Frame, Game, GameInfo, choose_heldout_seeds, load_game
from nitrogen_train.games.base import random_player
from nitrogen_train.games.native.allowed import read_allowed
from nitrogen_train.games.native.game import NativeGame
from nitrogen_train.runtime.ledger import Ledger
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track

_COMPARED_FRAMES = 3000
_RESTORED_FRAMES = 300
_NUM_RESTORES = 30
_TIMED_ROWS = 300


@dataclass(frozen=True, kw_only=True)
class GameCost:
    """What was measured of a game."""

    game: str
    version: str
    """Of the game's facts: of another version it is measured again."""
    frame_size: tuple[int, int]
    frame_skip: int
    rows_per_s: float
    """Rows of random presses, with their pictures, on one core."""
    lock_step: bool
    equal_frames: int
    """Frames until two runs with the same presses differed; `compared_frames` if they never did."""
    compared_frames: int
    restore_ms: float | None
    """Median time of a restore; None: the game has no saved states."""
    is_restored_equal: bool | None
    """Whether 300 frames after a restore were those that followed the saved moment before."""


@dataclass(frozen=True, kw_only=True)
class GameScores:
    """Scores of the players that need no policy, over held-out seeds."""

    random: tuple[float, ...]
    expert: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MeasuredGame:
    """One game, and its players."""

    cost: GameCost
    scores: GameScores


def measure_games(
    games: Sequence[str], *, num_seeds: int, num_processes: int, ledger_path: Path | None = None
) -> list[MeasuredGame]:
    """Measure and play games one after another.

    Args:
        games: Names as `load_game` takes them.
        num_seeds: Held-out seeds of each player.
        num_processes: That play.
        ledger_path: A file that keeps what is measured; its games are not measured again.

    Raises:
        ValueError: If a game is not installed, or has no score, or no expert, or fewer seeds.
    """
    infos = {game: _check_game(game, num_seeds=num_seeds) for game in games}
    measured: dict[str, MeasuredGame] = {}
    ledger = ledger_path and Ledger(ledger_path, _read_measured)
    for each in ledger or ():
        info = infos.get(each.cost.game)
        if info and each.cost.version == _hash_info(info) and len(each.scores.random) == num_seeds:
            measured[each.cost.game] = each
    missing_games = [game for game in games if game not in measured]
    for game in track(missing_games, label="measure", unit="game", total=len(missing_games)):
        each = MeasuredGame(
            cost=measure_game(game),
            scores=play_game(game, num_seeds=num_seeds, num_processes=num_processes),
        )
        measured[game] = each
        if ledger:
            ledger.add(each)
    return [measured[game] for game in games]


def _check_game(game: str, *, num_seeds: int) -> GameInfo:
    game_class = load_game(game)
    if missing := game_class.find_missing():
        raise ValueError(missing)
    choose_heldout_seeds(game, num_seeds)
    info = game_class.info
    if info.score is None or not info.has_expert:
        raise ValueError(
            f"{game} has no {'expert' if info.score else 'score'}: there is no measure"
        )
    return info


def _hash_info(info: GameInfo) -> str:
    return hashlib.sha256(repr(info).encode()).hexdigest()[:8]


def _read_measured(*, cost: dict[str, Any], scores: dict[str, Any]) -> MeasuredGame:
    """Make the lists of a file tuples again.

    Raises:
        TypeError: If it has other fields.
    """
    cost["frame_size"] = tuple(cost.get("frame_size", ()))
    by_player = {player: tuple(values) for player, values in scores.items()}
    return MeasuredGame(cost=GameCost(**cost), scores=GameScores(**by_player))


def play_game(name: str, *, num_seeds: int, num_processes: int) -> GameScores:
    """Let the random player and the expert play held-out seeds."""
    tasks = [(name, seed) for seed in choose_heldout_seeds(name, num_seeds)]
    random, expert = zip(*map_in_order(_play, tasks, workers=num_processes), strict=True)
    return GameScores(random=random, expert=expert)


def _play(task: tuple[str, int]) -> tuple[float, float]:
    name, seed = task
    game = load_game(name)
    players = (RandomPlayer(), ExpertPlayer())
    random, expert = (
        next(play_episodes(game, seeds=[seed], player=player)).score for player in players
    )
    return random, expert


def measure_game(name: str) -> GameCost:
    """Measure one game on this core."""
    game_class = load_game(name)
    info = game_class.info
    with contextlib.closing(game_class()) as game, contextlib.closing(game_class()) as other:
        rows_per_s = _time_rows(game)
        num_rows = -(-_COMPARED_FRAMES // info.frame_skip)
        equal_rows = num_rows
        for row, (ours, theirs) in enumerate(zip(_show(game), _show(other), strict=False)):
            if row == num_rows:
                break
            if not np.array_equal(ours, theirs):
                equal_rows = row
                break
        restore_ms, is_equal = (
            _measure_restores(game) if isinstance(game, NativeGame) else (None, None)
        )
        lock_step = True
        if isinstance(game, NativeGame):
            allowed = read_allowed(game.native_spec)
            lock_step = allowed is not None and allowed.lock_step
    return GameCost(
        game=name,
        version=_hash_info(info),
        frame_size=info.frame_size,
        frame_skip=info.frame_skip,
        rows_per_s=rows_per_s,
        lock_step=lock_step,
        equal_frames=equal_rows * info.frame_skip,
        compared_frames=num_rows * info.frame_skip,
        restore_ms=restore_ms,
        is_restored_equal=is_equal,
    )


def _time_rows(game: Game) -> float:
    """Time rows of random presses; resets, which start a game anew, are left out."""
    presses = random_player(type(game), seed=0)
    spent_s, num_rows = 0.0, 0
    for seed in game.info.recording_seeds:
        game.reset(seed=seed)
        over = False
        while not over and num_rows < _TIMED_ROWS:
            start = time.perf_counter()
            _, _, terminated, truncated, _ = game.step(next(presses))
            spent_s += time.perf_counter() - start
            num_rows += 1
            over = terminated or truncated
        if num_rows == _TIMED_ROWS:
            break
    return num_rows / spent_s


def _show(game: Game) -> Iterator[Frame]:
    """Press at random without end, the same in each call; after an episode comes the next one."""
    presses = random_player(type(game), seed=0)
    for seed in game.info.recording_seeds:
        frame, _ = game.reset(seed=seed)
        yield frame
        over = False
        while not over:
            frame, _, terminated, truncated, _ = game.step(next(presses))
            over = terminated or truncated
            yield frame


def _measure_restores(game: NativeGame) -> tuple[float | None, bool | None]:
    _, info = game.reset(seed=game.info.recording_seeds[0])
    if not info["allowed"]["restorable"]:
        return None, None
    presses = random_player(type(game), seed=1)
    for _ in range(5):
        game.step(next(presses))
    state = game.save()
    num_rows = -(-_RESTORED_FRAMES // game.info.frame_skip)
    actions = [next(presses) for _ in range(num_rows)]
    first = _hash_rows(game, actions)
    game.restore(state)
    is_equal = _hash_rows(game, actions) == first
    times_ms: list[float] = []
    for _ in range(_NUM_RESTORES):
        start = time.perf_counter()
        game.restore(state)
        times_ms.append(1000 * (time.perf_counter() - start))
        game.step({})
    return median(times_ms), is_equal


def _hash_rows(game: NativeGame, actions: Sequence[Controls]) -> str:
    digest = hashlib.sha256()
    for action in actions:
        frame, reward, terminated, truncated, _ = game.step(action)
        digest.update(frame.tobytes() + repr((reward, terminated, truncated)).encode())
        if terminated or truncated:
            break
    return digest.hexdigest()


def describe_games(games: Sequence[MeasuredGame]) -> str:
    """Lay out what was measured, as a table of Markdown."""
    rows = [
        (
            "game", "picture", "rows/s", "frames/s", "lock step", "equal in two runs",
            "restore", "random", "expert",
        )
    ]  # fmt: skip
    for each in games:
        cost = each.cost
        height, width = cost.frame_size
        is_whole = cost.equal_frames >= cost.compared_frames
        rows.append(
            (
                cost.game,
                f"{width}x{height}",
                f"{cost.rows_per_s:.0f}",
                f"{cost.rows_per_s * cost.frame_skip:.0f}",
                "yes" if cost.lock_step else "no",
                f"{cost.compared_frames} frames" if is_whole else f"no, {cost.equal_frames}",
                "no"
                if cost.restore_ms is None
                else f"{cost.restore_ms:.1f} ms"
                + (", equal" if cost.is_restored_equal else ", differs"),
                _describe_scores(each.scores.random),
                _describe_scores(each.scores.expert),
            )
        )
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return "".join([head, "|---" * len(rows[0]) + "|\n", *body])


def _describe_scores(scores: Sequence[float]) -> str:
    return f"{np.mean(scores):.4g} ({min(scores):.4g} to {max(scores):.4g})"
