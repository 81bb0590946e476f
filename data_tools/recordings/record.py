"""Expert play of a game, written down as recordings.

Bursts of held random controls are injected, so that recoveries are seen. They are stored as
executed and listed in the facts: a row of them is nobody's choice, so it is never learned from.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_tools.recordings.recording import RecordingFacts
from data_tools.workers import map_in_order
from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.data.encode import Encoding, VideoWriter, frame_rate
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.squash import squash
from nitrogen_train.games import Game, GameInfo, load_game

_BURST_ROWS = (3, 12)
"""Shortest and longest disturbance."""
_PRESS_SHARE = 0.25
"""Of the buttons in a disturbance."""
_ENCODING = Encoding(crf=15)
"""Better than a clip's: it will be encoded once more."""


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
    """
    info = load_game(game).info
    if not 0 <= disturbance < 1:
        raise ValueError(f"disturbance is a share of the rows in [0, 1), got {disturbance}")
    seeds = _choose_seeds(info, first_seed, num_episodes)
    tasks = [
        EpisodeTask(game=game, seed=seed, out_dir=out_dir, disturbance=disturbance, size=size)
        for seed in seeds
    ]
    out_dir.mkdir(parents=True, exist_ok=True)
    results = map_in_order(record_episode, tasks, workers=workers)
    return list(tqdm(results, total=len(tasks), desc=f"record {info.name}", unit="episode"))


def record_episode(task: EpisodeTask) -> RecordingFacts:
    """Play and record one episode, unless it is recorded already.

    Raises:
        ValueError: If it is recorded already, in another way.
    """
    game_class = load_game(task.game)
    name = f"{game_class.info.name}-{task.seed:06d}"
    facts_path = task.out_dir / f"{name}.json"
    # The facts are written last: where they are, the recording is whole.
    if facts_path.exists():
        facts = RecordingFacts.from_json(facts_path.read_bytes(), what=str(facts_path))
        if facts.device != task.player:
            raise ValueError(
                f"{facts_path} was recorded by {facts.device!r}, not {task.player!r}; "
                "choose another --out"
            )
        return facts
    game = game_class()
    try:
        facts = _play(game, task, name)
    finally:
        game.close()
    facts.write(facts_path)
    return facts


def _play(game: Game, task: EpisodeTask, name: str) -> RecordingFacts:
    info = game.info
    # Not the seed alone: a Gymnasium game draws the same numbers from that.
    rng = np.random.default_rng((task.seed, 1))
    disturb = _disturbances(info, task.disturbance, rng)
    frame, _ = game.reset(seed=task.seed)
    height, width = (task.size, task.size) if task.size else frame.shape[:2]
    rows: list[Controls] = []
    disturbed: list[bool] = []
    score, over = 0.0, False
    video_path = task.out_dir / f"{name}.mp4"
    with VideoWriter(
        video_path, fps=info.fps, width=width, height=height, encoding=_ENCODING
    ) as video:
        while not over:
            # Asked even when it is not obeyed, so that an expert with a memory keeps up.
            wanted = game.expert()
            held = next(disturb)
            controls = wanted if held is None else held
            video.write(squash(frame, task.size) if task.size else frame)
            rows.append(controls)
            disturbed.append(held is not None)
            frame, reward, terminated, truncated, _ = game.step(controls)
            score += float(reward)
            over = terminated or truncated
    times_ns = [_row_time_ns(row, info) for row in range(len(rows) + 1)]
    _write_log(task.out_dir / f"{name}.inputs.jsonl", rows, times_ns, info)
    return RecordingFacts(
        video_start_ns=0,
        game=info.name,
        session_id=name,
        stick_y_axis="down",
        device=task.player,
        source=info.name,
        licence=info.licence,
        disturbed_ns=_intervals_ns(disturbed, times_ns),
        score=score,
        seed=task.seed,
    )


def _choose_seeds(info: GameInfo, first_seed: int | None, num_episodes: int) -> range:
    if num_episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {num_episodes}")
    allowed = info.recording_seeds
    first = allowed.start if first_seed is None else first_seed
    seeds = range(first, first + num_episodes)
    if seeds[0] not in allowed or seeds[-1] not in allowed:
        raise ValueError(
            f"{info.name} records seeds {allowed.start} to {allowed.stop - 1}, the others are kept "
            f"for evaluation; got {num_episodes} episodes from seed {first}"
        )
    return seeds


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


def _row_time_ns(row: int, info: GameInfo) -> int:
    return round(row * 10**9 / frame_rate(info.fps))


def _write_log(path: Path, rows: list[Controls], times_ns: list[int], info: GameInfo) -> None:
    released: dict[str, float | bool] = {
        name: 0.0 if name in GAMEPAD.sticks else False for name in info.controls
    }
    with write_atomically(path) as temporary, temporary.open("w") as file:
        for controls, time_ns in zip(rows, times_ns, strict=False):
            entry = {"t_ns": time_ns, "controls": {**released, **controls}}
            # JSON does not know NumPy's numbers, which experts may give.
            file.write(json.dumps(entry, default=float) + "\n")


def _intervals_ns(disturbed: list[bool], times_ns: list[int]) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff([False, *disturbed, False])).tolist()
    return tuple(
        (times_ns[start], times_ns[stop])
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    )
