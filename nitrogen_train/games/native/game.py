"""A native game as a `Game` like the others, which can be saved and restored.

    spec ─► process ─► menu ─► rows at random ─► frame 0 ─► controls ─► next frame, reward

What it allows (`allowed.py`) is said in the `info` of `reset`.
"""

import copy
import functools
import re
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import Frame, Game, GameInfo, random_player, read_pad
from nitrogen_train.games.native.allowed import measure_allowed
from nitrogen_train.games.native.build import build_hook
from nitrogen_train.games.native.process import (
    SEARCH_PATH,
    GameError,
    GameLaunch,
    GameProcess,
    SavedState,
)
from nitrogen_train.games.native.spec import NativeSpec, ScoreReading, read_spec, scancode

RECORDING_SEEDS = range(0, 10_000)
HELDOUT_SEEDS = range(1_000_000, 1_001_000)
_GL_ENVIRONMENT = {"SDL_VIDEODRIVER": "offscreen", "SDL_RENDER_DRIVER": "opengl"}
_NUM_SEEDS = 2**32


@dataclass(frozen=True, kw_only=True)
class GameProgress:
    """What is read of a running game."""

    score: float | None
    """Since the episode's start or since another fixed moment; None: not known yet."""
    is_over: bool = False


@dataclass(frozen=True, kw_only=True)
class GameState:
    """A moment of an episode, to come back to."""

    process: SavedState
    memory: dict[str, Any]
    """What the game's class keeps of the episode."""
    score_file: bytes | None
    """The file that the score is read from, if there is one."""


class NativeGame(Game):
    """A game that is another program.

    A class of its own sets `native_spec` and may read the score, and choose an expert's action, by
    code. What it keeps of an episode goes into `self.memory`, which is saved with the game.
    """

    native_spec: ClassVar[NativeSpec]
    info: ClassVar[GameInfo]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "native_spec" in vars(cls):
            has_expert = bool(cls.native_spec.expert) or cls.expert is not NativeGame.expert
            cls.info = describe(cls.native_spec, has_expert=has_expert)
        if "expert" in vars(cls):
            cls.expert = _in_an_episode(cls.expert)

    def __init__(self) -> None:
        """Check that the game can be run; nothing is started yet.

        Raises:
            ValueError: If its packages, or a compiler for the hook, are missing.
        """
        if missing := self.find_missing():
            raise ValueError(missing)
        self._hook = build_hook()
        self._process: GameProcess | None = None
        self._rows_left = 0
        self._log_position = 0
        self._menu_text = ""
        self._kept: dict[str, Any] = {}

    @classmethod
    def find_missing(cls) -> str:
        """Say in one line which program it needs and is not installed; empty if it is."""
        spec = cls.native_spec
        if shutil.which(spec.command[0], path=SEARCH_PATH):
            return ""
        how = f": {spec.installation}" if spec.packages else ""
        return f"{spec.name} needs {spec.command[0]}, which is not installed{how}"

    @property
    def process(self) -> GameProcess:
        """Return the game's process.

        Raises:
            RuntimeError: If no episode is running.
        """
        if self._process is None:
            raise self._not_running()
        return self._process

    def _not_running(self) -> RuntimeError:
        return RuntimeError(f"{self.info.name}: no episode is running; call reset first")

    @property
    def memory(self) -> dict[str, Any]:
        """Return what is kept of the episode: it is saved and restored with the game.

        Raises:
            RuntimeError: If no episode is running.
        """
        if self._process is None:
            raise self._not_running()
        return self._kept

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start the game anew, the same way for the same seed, and show its first frame.

        Raises:
            GameError: If it does not start, crashes, hangs, or does not listen to the gamepad.
            ValueError: If the seed is none.
        """
        self.close()
        seed = 0 if seed is None else seed
        if not 0 <= seed < _NUM_SEEDS:
            raise ValueError(f"seeds lie from 0 to {_NUM_SEEDS - 1}, got {seed}")
        allowed = measure_allowed(
            self.native_spec,
            launch=lambda: self._launch(seed),
            play=self._step,
            draw_presses=lambda: random_player(type(self), seed=0),
        )
        self._process = self._launch(seed)
        try:
            self._begin_episode()
        except BaseException:
            self.close()
            raise
        return self._show(), {"allowed": asdict(allowed), **self.describe_moment()}

    def _launch(self, seed: int) -> GameProcess:
        spec = self.native_spec
        level = spec.choose_level(seed, is_heldout=seed in HELDOUT_SEEDS)
        environment = dict(_GL_ENVIRONMENT) if spec.renderer == "opengl" else {}
        if spec.waits_for_threads:
            environment["NITROGEN_WAIT_FOR_THREADS"] = "1"
        command = (
            part.replace("{level}", level).replace("{port}", str(_find_free_port()))
            for part in spec.command
        )
        process = GameProcess(
            GameLaunch(
                name=spec.name,
                command=tuple(command),
                hook=self._hook,
                fps=spec.fps,
                seed=seed,
                environment=environment | _fill(spec.environment, level),
                files=_fill(self.write_files(seed), level),
            )
        )
        try:
            self.walk_menu(process, level=level, seed=seed)
            self._menu_text = self._read_menu_text(process)
            self._press_at_random(process, seed)
            if spec.uses_pad and not process.frame.pad_opens:
                raise GameError(
                    f"{spec.name} has not opened the gamepad: give its controls keys instead of "
                    "`pad`, or enable the gamepad in its files"
                )
        except BaseException:
            process.close()
            raise
        return process

    def write_files(self, seed: int) -> dict[str, str]:
        """Say which files the game finds in its HOME; `{level}` and `{home}` in them are filled."""
        del seed
        return dict(self.native_spec.files)

    def walk_menu(self, process: GameProcess, *, level: str, seed: int) -> None:
        """Walk to the first frame; this one follows the spec's `menu`."""
        del level
        rng = np.random.default_rng((seed, 3))
        for step in self.native_spec.menu:
            keys = [scancode(key) for key in step.keys]
            for _ in range(step.times):
                self._hold(process, read_pad(step.hold), keys=keys, presents=step.presents)
                wait = step.wait + int(rng.integers(step.random_wait + 1))
                if wait:
                    process.step({}, presents=wait)

    def _press_at_random(self, process: GameProcess, seed: int) -> None:
        rng = np.random.default_rng((seed, 2))
        presses = random_player(type(self), seed=int(rng.integers(2**31)))
        for _ in range(int(rng.integers(self.native_spec.random_rows + 1))):
            self._step(process, next(presses))
        # Neutral once: a stick that is held from before is not noticed by some games.
        self._step(process, {})

    def _step(self, process: GameProcess, action: Controls) -> None:
        pad = read_pad(action)
        held = {name: pad[name] for name in self.native_spec.controls}
        self._hold(process, held, presents=self.native_spec.frame_skip)

    def _hold(
        self, process: GameProcess, held: Controls, *, keys: Sequence[int] = (), presents: int
    ) -> None:
        spec = self.native_spec
        on_pad = {
            name: value for name, value in held.items() if spec.controls.get(name, "pad") == "pad"
        }
        process.step(on_pad, keys=[*keys, *spec.find_keys(held)], presents=presents)

    def _begin_episode(self) -> None:
        self._rows_left = round(self.native_spec.time_limit_s * self.info.fps)
        reading = self.native_spec.reading
        # Of what the menu has said the score counts: another game may have ended there, as title
        # screens play them. The end of this one may have come in the rows at random.
        whole, newline, rest = self._menu_text.rpartition("\n")
        score = self._find_score(reading, whole + newline) if reading else None
        self._kept = {"score": score, "text": rest}
        if reading is None:
            self.process.read_output()
        self.start_episode()
        progress = self.read_progress()
        self.memory["score"] = progress.score
        self.memory["is_over"] = progress.is_over

    def _read_menu_text(self, process: GameProcess) -> str:
        """Read what the game has said on the way to its first frame, in what grows."""
        reading = self.native_spec.reading
        self._log_position = 0
        if reading is None or reading.source == "file":
            return ""
        if reading.source == "output":
            return process.read_output()
        data = _read_file(process.home / reading.path) or b""
        self._log_position = len(data)
        return data.decode(errors="replace")

    def start_episode(self) -> None:
        """Prepare what the class keeps in `self.memory`; the game shows its first frame."""

    def step(self, action: Controls) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Hold a controller state for `info.frame_skip` frames of the game.

        Raises:
            RuntimeError: If no episode is running.
            GameError: If the game crashes or hangs, or its score cannot be read.
            ValueError: If the controller state is not one.
        """
        if self._rows_left <= 0:
            raise self._not_running()
        self._step(self.process, action)
        self._rows_left -= 1
        progress = self.read_progress()
        before = self.memory["score"]
        if progress.score is not None:
            self.memory["score"] = progress.score
        reward = (progress.score or 0.0) - (before or 0.0) if progress.score is not None else 0.0
        self._refuse_without_score()
        is_over = progress.is_over or self.memory["is_over"]
        truncated = not is_over and self._rows_left <= 0
        if is_over:
            self._rows_left = 0
        return self._show(), reward, is_over, truncated, self.describe_moment()

    def _refuse_without_score(self) -> None:
        reading = self.native_spec.reading
        played_s = self.native_spec.time_limit_s - self._rows_left / self.info.fps
        is_late = played_s >= reading.within_s if reading and self._rows_left else True
        if reading and self.memory["score"] is None and is_late:
            where = f"in {reading.path}" if reading.path else "in what it printed"
            raise GameError(
                f"{self.info.name}: no score {where} after {played_s:.3g} s of game time, "
                f"expected /{reading.score}/: does it wait in a menu?{self.process.quote_output()}"
            )

    def read_progress(self) -> GameProgress:
        """Read score and end; this one follows the spec's `reading`.

        Raises:
            GameError: If what it reads is not there.
        """
        reading = self.native_spec.reading
        if reading is None:
            return GameProgress(score=None)
        text = self._read_text(reading)
        score = self._find_score(reading, text)
        return GameProgress(
            score=self.memory["score"] if score is None else score,
            is_over=bool(reading.over and re.search(reading.over, text)),
        )

    def _find_score(self, reading: ScoreReading, text: str) -> float | None:
        scores = [match["score"] for match in re.finditer(reading.score, text) if match["score"]]
        try:
            return float(scores[-1]) if scores else None
        except ValueError as error:
            raise GameError(
                f"{self.info.name}: the score is {scores[-1]!r}, expected a number: mend the "
                "pattern in reading.score"
            ) from error

    def _read_text(self, reading: ScoreReading) -> str:
        """Read the new lines of what grows, or all of a file that is written anew."""
        if reading.source == "output":
            new = self.process.read_output()
        else:
            data = self._read_score_file() or b""
            if reading.source == "file":
                return data.decode(errors="replace")
            new = data[self._log_position :].decode(errors="replace")
            self._log_position = len(data)
        # A line that is not whole yet is kept for the next row.
        whole, newline, self.memory["text"] = (self.memory["text"] + new).rpartition("\n")
        return whole + newline

    def describe_moment(self) -> dict[str, Any]:
        """Say of this moment what a researcher may want beside the picture; goes into `info`."""
        return {}

    def _show(self) -> Frame:
        height, width = self.info.frame_size
        picture = self.process.picture
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BOX)
        return np.asarray(picture)

    def save(self) -> GameState:
        """Save this moment of the episode.

        Raises:
            RuntimeError: If no episode is running.
            GameError: If the game cannot be saved: it has more than one thread.
        """
        memory = copy.deepcopy({"memory": self.memory, "rows_left": self._rows_left})
        return GameState(
            process=self.process.save(), memory=memory, score_file=self._read_score_file()
        )

    def restore(self, state: GameState) -> Frame:
        """Go back to a saved moment of this game's run, any number of times.

        Returns:
            The frame that it showed.

        Raises:
            RuntimeError: If no episode is running: `reset` and `close` end all that was saved.
            GameError: If the state belongs to a run that has ended.
        """
        self.process.restore(state.process)
        kept = copy.deepcopy(state.memory)
        self._kept, self._rows_left = kept["memory"], kept["rows_left"]
        # All branches write to the same file: what is there belongs to another one. Of a log what
        # comes now is this one's; a file that is written anew is as it was.
        reading = self.native_spec.reading
        if reading and reading.source == "log":
            self._log_position = len(self._read_score_file() or b"")
        elif reading and reading.source == "file":
            path = self.process.home / reading.path
            if state.score_file is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(state.score_file)
        return self._show()

    def _read_score_file(self) -> bytes | None:
        reading = self.native_spec.reading
        if reading is None or reading.source == "output":
            return None
        return _read_file(self.process.home / reading.path)

    def expert(self) -> Controls:
        """Repeat the presses of the spec, whatever is on the screen.

        Raises:
            RuntimeError: If no episode is running.
            ValueError: If the spec has no expert.
        """
        presses = self._expert_rows()
        if self._process is None:
            raise self._not_running()
        if not presses:
            raise ValueError(
                f"{self.native_spec.name} has no expert: give its file one, or play it yourself, "
                "with --player human"
            )
        played = round(self.native_spec.time_limit_s * self.info.fps) - self._rows_left
        return presses[played % len(presses)]

    def _expert_rows(self) -> list[Controls]:
        return [each.hold for each in self.native_spec.expert for _ in range(each.rows)]

    def close(self) -> None:
        """End the game and all that was saved of it."""
        self._rows_left = 0
        if self._process is not None:
            self._process.close()
            self._process = None


def describe(spec: NativeSpec, *, has_expert: bool) -> GameInfo:
    """State the facts of a native game as the others state theirs."""
    return GameInfo(
        name=spec.name,
        controls=tuple(spec.controls),
        fps=spec.fps / spec.frame_skip,
        frame_skip=spec.frame_skip,
        frame_size=spec.frame_size,
        score=spec.score_meaning,
        reference_score=spec.reference_score,
        licence=spec.licence,
        recording_seeds=RECORDING_SEEDS,
        heldout_seeds=HELDOUT_SEEDS,
        has_expert=has_expert,
        version=spec.version,
    )


def read_native_game(path: Path) -> type[NativeGame]:
    """Make a game of a YAML file.

    Raises:
        ValueError: If the file is no spec of a game.
    """
    spec = read_spec(path)
    if (spec.score_meaning, spec.reference_score) != (None, None) and spec.reading is None:
        raise ValueError(
            f"{path}: score_meaning and reference_score are of a score, and nothing reads one: add "
            "`reading`, or leave them out"
        )
    members = {"native_spec": spec, "__doc__": spec.title, "__module__": __name__}
    return type(spec.name, (NativeGame,), members)


def _in_an_episode(choose: Callable[..., Controls]) -> Callable[..., Controls]:
    """Let an expert, who reads the running game, be asked in an episode alone."""

    @functools.wraps(choose)
    def expert(self: NativeGame) -> Controls:
        if self._process is None:
            raise self._not_running()
        return choose(self)

    return expert


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _find_free_port() -> int:
    """Return a UDP port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _fill(texts: Mapping[str, str], level: str) -> dict[str, str]:
    return {name: text.replace("{level}", level) for name, text in texts.items()}
