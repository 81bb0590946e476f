"""Record the play of an expert, or of another player, in a game.

    game, seed ─► player ─► controls, with bursts of disturbance ─► step ─► frames, rows
      ─► one episode: video, log, facts

Bursts of held random controls are injected, so that recordings show how to recover. They are stored
as executed and listed in the facts: a disturbed row is nobody's choice, so no policy learns from
it. `games` describes the games that can be recorded, each in a few lines. An episode's facts, which
are part of it and written last, say that it is done: there is no ledger beside them.
"""

import contextlib
import inspect
import json
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from data_tools.recordings.recording import RecordingFacts, check_game_name
from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.data.encode import Encoding, VideoWriter, frame_rate
from nitrogen_train.games import GAMES, Frame, Game, GameInfo, load_game
from nitrogen_train.games.native.allowed import read_allowed
from nitrogen_train.games.native.game import NativeGame
from nitrogen_train.games.native.process import GameError
from nitrogen_train.picture import squash
from nitrogen_train.runtime.atomic_files import check_folder, write_atomically
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import track

_OWN_GAME = (
    "A game of your own, in the current folder or installed: module:Class; a native one by its "
    "file: my_game.yaml (docs/native_games.md)"
)
_WIDTH = 78
_VERSION = ", game "
"""Before the version, at the end of the facts' device."""
_LABEL = 10

_ENCODING = Encoding(crf=15)
"""Better than a clip's: it will be encoded once more."""

_BURST_ROWS = (3, 12)
"""Shortest and longest disturbance."""
_PRESS_SHARE = 0.25
"""Share of the buttons that a disturbance presses."""


def describe_games(names: Sequence[str]) -> tuple[str, bool]:
    """Say of each game what it is, needs and listens to, and whether it can be played here.

    Args:
        names: As `load_game` takes them; none: all of ours.

    Returns:
        The text, and whether all of them can be played here.

    Raises:
        ValueError: If a name that was given is no game.
    """
    texts: list[str] = []
    is_playable = True
    for name in names or GAMES:
        try:
            game = load_game(name)
        except ValueError as error:
            if name not in GAMES:
                raise
            is_playable = False
            texts.append(f"{name}: not installed here\n{_field('needs', str(error))}")
        else:
            is_playable &= not game.find_missing()
            texts.append(_describe(name, game))
    if not names:
        texts.append(textwrap.fill(_OWN_GAME, _WIDTH))
    return "\n\n".join(texts), is_playable


def _describe(name: str, game: type[Game]) -> str:
    info = game.info
    height, width = info.frame_size
    seeds, heldout = info.recording_seeds, info.heldout_seeds
    fields = {
        "needs": _describe_needs(name, game),
        "controls": ", ".join(info.controls),
        "picture": f"{width}x{height} at {info.fps:.4g} per second",
        "seeds": f"{seeds.start} to {seeds.stop - 1} are recorded, "
        f"{heldout.start} to {heldout.stop - 1} are kept for evaluation",
        "score": info.score or "none is read: it can be recorded, and not evaluated",
        "licence": info.licence,
    }
    is_native = issubclass(game, NativeGame)
    if is_native or name in GAMES:
        fields["allows"] = _describe_allowed(game)
    summary = game.native_spec.title if is_native else inspect.getdoc(game) or ""
    summary = summary.partition("\n")[0].replace("`", "")
    title = name if name in GAMES else f"{name} ({info.name})"
    head = textwrap.fill(f"{title}: {summary}", _WIDTH, subsequent_indent="  ")
    return "\n".join([head, *(_field(label, text) for label, text in fields.items())])


def _describe_needs(name: str, game: type[Game]) -> str:
    if issubclass(game, NativeGame):
        spec = game.native_spec
        needs = spec.installation if spec.packages else spec.command[0]
    else:
        needs = "pip install 'nitrogen-train[games]'" if name in GAMES else game.__module__
    return f"{needs} ({'not ' if game.find_missing() else ''}installed here)"


def _describe_allowed(game: type[Game]) -> str:
    if not issubclass(game, NativeGame):
        return "lock step, repeats, no save and restore"
    if game.find_missing() or (allowed := read_allowed(game.native_spec)) is None:
        return "measured at its first start"
    known = {"lock step": allowed.lock_step, "repeats": allowed.repeatable}
    known["save and restore"] = allowed.restorable
    return ", ".join(what if is_allowed else f"no {what}" for what, is_allowed in known.items())


def warn_of_chance(game: type[Game]) -> str:
    """Say what a game does that does not repeat itself; empty for the others."""
    allowed = read_allowed(game.native_spec) if issubclass(game, NativeGame) else None
    if allowed is None or allowed.repeatable:
        return ""
    return (
        f"{game.info.name} does not repeat itself: the same seed is another episode each time. It "
        "may with `waits_for_threads: true`, if its threads wait for work"
    )


def _field(label: str, text: str) -> str:
    indent = " " * (_LABEL + 2)
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {label:<{_LABEL}}",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


@runtime_checkable
class EpisodePlayer(Protocol):
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
    game: Game, player: EpisodePlayer, *, seed: int, out_dir: Path, size: int | None, device: str
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
        score=score if info.score else None,
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


@dataclass(frozen=True, kw_only=True)
class EpisodeTask:
    """One episode to record."""

    game: str
    """Name of the game as `load_game` takes it."""
    seed: int
    out_dir: Path
    disturbance: float
    """Share of the rows that are disturbed, in [0, 1)."""
    size: int | None
    """Side of the square that frames are squashed to; None keeps the game's own size."""

    @property
    def player(self) -> str:
        """Describe how the episode is played and stored: a rerun must not mix two ways."""
        size = f"{self.size}x{self.size}" if self.size else "own size"
        version = load_game(self.game).info.version
        version = version and f"{_VERSION}{version}"
        return f"scripted expert, {self.disturbance:.0%} disturbed, {size}{version}"


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
    game_class = load_game(game)
    if missing := game_class.find_missing():
        raise ValueError(missing)
    info = game_class.info
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
        _refuse_other_version(info, out_dir)
        results = map_in_order(record_episode, tasks, workers=workers)
        return list(track(results, label=f"record {info.name}", unit="episode", total=len(tasks)))


def _refuse_other_version(info: GameInfo, out_dir: Path) -> None:
    """Refuse a folder with episodes of the same name that play another way.

    Raises:
        ValueError: If there are any.
    """
    if not info.version:
        return
    for path in sorted(out_dir.glob(f"{info.name}-*.json")):
        facts = read_finished(path)
        _, found, version = (facts.device if facts else "").rpartition(_VERSION)
        if found and version != info.version:
            raise ValueError(
                f"{path} was recorded of another version of {info.name} ({version}, now "
                f"{info.version}): choose another --out"
            )


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
    if str(error).startswith(f"{game_class.info.name} ") or isinstance(error, GameError):
        return str(error)
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
