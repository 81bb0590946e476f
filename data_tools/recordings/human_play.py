"""Let a person play a Gymnasium game with a gamepad, at the game's own speed.

    frame t ─► window (tkinter) ─► the row's time passes ─► pad ─► controls ─► step ─► frame t+1

The row takes what the pad did while frame t was shown: a button that was down at any moment of the
row, and a stick where it is at the row's end. The controls that are executed are stored as row t.
"""

import contextlib
import select
import time
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from data_tools.recordings.gamepad import Gamepad
from data_tools.recordings.record_games import (
    choose_seeds,
    episode_name,
    play_episode,
    read_finished,
    recordings_folder,
)
from data_tools.recordings.recording import RecordingFacts
from nitrogen_train.actions import GAMEPAD, Controls
from nitrogen_train.games import Frame, Game, GameInfo, load_game

_HEIGHT_PX = 600
"""Small pictures are enlarged by whole numbers up to about this."""

_LOOK_UP_S = 0.02
_HUMAN = "human"


class WindowClosedError(RuntimeError):
    """The person has had enough."""


class GameWindow:
    """Shows frames, one after another, until it is closed or Escape is pressed."""

    def __init__(self, title: str) -> None:
        """Open it.

        Args:
            title: What is played.

        Raises:
            RuntimeError: If there is no display, or this Python has no tkinter.
        """
        try:
            import tkinter
        except ImportError as error:
            raise RuntimeError(
                "a person needs a window, and this Python has no tkinter (Debian and Ubuntu: "
                "apt install python3-tk)"
            ) from error
        try:
            self._root = tkinter.Tk(className="nitrogen-data")
        except tkinter.TclError as error:
            raise RuntimeError(
                f"a person needs a display to play on: {error}; --player expert needs none"
            ) from error
        self._title = title
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._is_closed = False
        self._picture = None
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        self._root.bind("<Escape>", lambda _: self._end())

    def say(self, text: str) -> None:
        """Write something beside the game's title."""
        self._root.title(f"{self._title}: {text}")

    def show(self, frame: Frame) -> None:
        """Show a frame.

        Raises:
            WindowClosedError: If the window has been closed.
        """
        from PIL import ImageTk

        height, width, _ = frame.shape
        scale = max(1, _HEIGHT_PX // height)
        image = Image.fromarray(frame).resize((scale * width, scale * height), Image.Resampling.BOX)
        if self._picture is None or self._picture.width() != image.width:
            self._picture = ImageTk.PhotoImage(image, master=self._root)
            self._label.configure(image=self._picture)  # pyright: ignore[reportArgumentType]
        else:
            self._picture.paste(image)
        self.refresh()

    def refresh(self) -> None:
        """Let the window draw and hear its keys.

        Raises:
            WindowClosedError: If it has been closed.
        """
        if not self._is_closed:
            self._root.update()
        if self._is_closed:
            raise WindowClosedError("the window was closed")

    def close(self) -> None:
        """Take it away."""
        # The picture belongs to the window and must go first.
        self._picture = None
        self._root.destroy()

    def _end(self) -> None:
        self._is_closed = True


@runtime_checkable
class PlayWindow(Protocol):
    """The window that a person looks at during play."""

    def say(self, text: str) -> None:
        """Tell the person something."""
        ...

    def show(self, frame: Frame) -> None:
        """Show a frame; raises `WindowClosedError` if it was closed."""
        ...

    def refresh(self) -> None:
        """Stay alive; raises `WindowClosedError` if it was closed."""
        ...


class HumanPlayer:
    """Reads a gamepad in real time; one for each episode."""

    def __init__(
        self, gamepad: Gamepad, window: PlayWindow, info: GameInfo, held: dict[str, float]
    ) -> None:
        """Wait for nothing yet.

        Args:
            gamepad: To play with.
            window: Where the game is seen.
            info: What the game listens to, and its speed.
            held: The pad's state, kept up to date here from one episode to the next.
        """
        self._gamepad, self._window, self._held = gamepad, window, held
        self._controls = [name for name in info.controls if name in held]
        self._row_s = 1 / info.fps
        self._row_ends = 0.0
        self.num_late = 0
        """Rows that took longer than the game's time, since the machine is too slow."""

    def choose(self, game: Game, frame: Frame) -> tuple[Controls, bool]:
        """Show the frame, wait for the row's end, and say what the pad did in it."""
        self._window.show(frame)
        if not self._row_ends:
            self._wait_for_a_press()
            self._row_ends = time.monotonic()
        self._row_ends += self._row_s
        if (now := time.monotonic()) > self._row_ends:
            # Time that is lost stays lost: nobody could play what is then caught up with.
            self.num_late += 1
            self._row_ends = now
        peaks = dict(self._held)
        while True:
            left_s = max(self._row_ends - time.monotonic(), 0.0)
            self._read(left_s, peaks)
            if not left_s:
                break
        controls: dict[str, float | bool] = {
            name: self._held[name] if name in GAMEPAD.sticks else peaks[name]
            for name in self._controls
        }
        return controls, False

    def _wait_for_a_press(self) -> None:
        self._window.say("press any button to start, Escape to stop")
        was_down = False
        # Begun on release: the press itself is no play.
        while not was_down or _is_any_down(self._held):
            peaks = dict(self._held)
            self._read(_LOOK_UP_S, peaks)
            was_down = was_down or _is_any_down(peaks)
            self._window.refresh()
        self._window.say("running")

    def _read(self, timeout_s: float, peaks: dict[str, float]) -> None:
        if not select.select([self._gamepad], [], [], timeout_s)[0]:
            return
        for change in self._gamepad.read():
            self._held |= change.controls
            for name, value in change.controls.items():
                peaks[name] = max(peaks.get(name, 0.0), value)


def record_human(
    game: str,
    gamepad: Gamepad,
    window: PlayWindow,
    *,
    out_dir: Path,
    num_episodes: int,
    first_seed: int | None,
    size: int | None,
) -> tuple[list[RecordingFacts], int]:
    """Let a person play episodes; those that are recorded already are kept.

    An episode whose window is closed is not kept, and the last one.

    Args:
        game: Name, or `module:Class`.
        gamepad: Freshly opened.
        window: Where the game is seen.
        out_dir: Where the recordings go.
        num_episodes: One recording each.
        first_seed: Of the episodes' consecutive seeds; None starts at the game's first.
        size: Side of the square that frames are squashed to; None keeps the game's own size.

    Returns:
        The facts of the episodes that are recorded, and the number of late rows in the new ones.
    """
    game_class = load_game(game)
    seeds = choose_seeds(game_class.info, first_seed, num_episodes)
    recorded: list[RecordingFacts] = []
    held, num_late = dict(gamepad.initial.controls), 0
    with (
        recordings_folder(out_dir),
        contextlib.closing(game_class()) as engine,
        contextlib.suppress(WindowClosedError),
    ):
        for seed in seeds:
            name = episode_name(game_class.info, seed)
            if facts := read_finished(out_dir / f"{name}.json"):
                _check_human(facts, out_dir / f"{name}.json")
                recorded.append(facts)
                continue
            player = HumanPlayer(gamepad, window, game_class.info, held)
            facts = play_episode(
                engine,
                player,
                seed=seed,
                out_dir=out_dir,
                size=size,
                device=f"{_HUMAN}, {gamepad.name}",
            )
            recorded.append(facts)
            num_late += player.num_late
    return recorded, num_late


def _is_any_down(state: dict[str, float]) -> bool:
    return any(state.get(name, 0.0) > GAMEPAD.trigger_threshold for name in GAMEPAD.buttons)


def _check_human(facts: RecordingFacts, path: Path) -> None:
    if not facts.device.startswith(_HUMAN):
        raise ValueError(
            f"{path} was recorded by {facts.device!r}, not by a person; choose another --out"
        )
