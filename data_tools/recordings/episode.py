"""One episode of a game, played by someone and written down as a recording."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from data_tools.recordings.recording import RecordingFacts
from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.data.encode import Encoding, VideoWriter, frame_rate
from nitrogen_train.data.files import write_atomically
from nitrogen_train.games import Frame, Game, GameInfo
from nitrogen_train.picture import squash

_ENCODING = Encoding(crf=15)
"""Better than a clip's: it will be encoded once more."""


@runtime_checkable
class Player(Protocol):
    """Plays an episode."""

    def choose(self, game: Game, frame: Frame) -> tuple[Controls, bool]:
        """Choose the controls of the row that begins with a frame.

        Returns:
            The controls, and whether they are a disturbance: executed, but nobody's choice.
        """
        ...


def read_finished(facts_path: Path) -> RecordingFacts | None:
    """Read an episode's facts if it is recorded: they are written last, so it is whole then."""
    if not facts_path.exists():
        return None
    return RecordingFacts.from_json(facts_path.read_bytes(), what=str(facts_path))


@contextlib.contextmanager
def recordings_folder(folder: Path) -> Iterator[None]:
    """Make a folder for a block that records; one that stays empty is not left behind."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def play_episode(
    game: Game, player: Player, *, seed: int, out_dir: Path, size: int | None, device: str
) -> RecordingFacts:
    """Play an episode to its end, and write its three files.

    Args:
        game: Its engine; it is not closed.
        player: Who plays.
        seed: Of the episode.
        out_dir: Where the recording goes.
        size: Side of the square that frames are squashed to; None keeps the game's own size.
        device: What it is played with, for the facts.

    Raises:
        ValueError: If the game's picture is not what its info says.
    """
    info = game.info
    name = episode_name(info, seed)
    frame, _ = game.reset(seed=seed)
    _check_frame(frame, info)
    height, width = (size, size) if size else frame.shape[:2]
    rows: list[Controls] = []
    disturbed: list[bool] = []
    score, over = 0.0, False
    with VideoWriter(
        out_dir / f"{name}.mp4", fps=info.fps, width=width, height=height, encoding=_ENCODING
    ) as video:
        while not over:
            controls, is_disturbed = player.choose(game, frame)
            video.write(squash(frame, size) if size else frame)
            rows.append(controls)
            disturbed.append(is_disturbed)
            frame, reward, terminated, truncated, _ = game.step(controls)
            _check_frame(frame, info)
            score += float(reward)
            over = terminated or truncated
    times_ns = [_row_time_ns(row, info) for row in range(len(rows) + 1)]
    _write_log(out_dir / f"{name}.inputs.jsonl", rows, times_ns, info)
    facts = RecordingFacts(
        video_start_ns=0,
        game=info.name,
        session_id=name,
        stick_y_axis="down",
        device=device,
        source=info.name,
        licence=info.licence,
        disturbed_ns=_intervals_ns(disturbed, times_ns),
        score=score,
        seed=seed,
    )
    facts.write(out_dir / f"{name}.json")
    return facts


def _check_frame(frame: object, info: GameInfo) -> None:
    """Refuse a picture that a policy would see stretched.

    Raises:
        ValueError: If it is not uint8 RGB of the size that the info says.
    """
    expected = (*info.frame_size, 3)
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape == expected):
        shape, kind = getattr(frame, "shape", None), getattr(frame, "dtype", type(frame).__name__)
        raise ValueError(
            f"{info.name} shows {kind} of shape {shape}, expected uint8 of {expected}: "
            "GameInfo.frame_size is (height, width)"
        )


def episode_name(info: GameInfo, seed: int) -> str:
    """Name an episode's files."""
    return f"{info.name}-{seed:06d}"


def choose_seeds(info: GameInfo, first_seed: int | None, num_episodes: int) -> range:
    """Choose consecutive seeds among those that recordings may use.

    Raises:
        ValueError: If they are too many or outside.
    """
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
