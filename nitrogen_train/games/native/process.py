"""Run a game's process frame by frame, and save and restore it.

    command ─► supervisor ─► game ─► a frame in shared memory ─► pad ─► next frame …
                                 └─► saved states: clones that sleep ─► restored ─► …

The hook in `hook/` is loaded into the game. The game waits at every frame for the pad; its clock
moves by one frame's length, whatever the player's speed. However this process ends, the supervisor
ends the game and its saved states and removes their files.

A saved state is a clone of the process at the end of a frame. Files that the game has open for
writing are shared between branches; this process reads what it needs of them (`Output`).
"""

import contextlib
import mmap
import os
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from nitrogen_train.actions import Controls
from nitrogen_train.games.base import read_pad
from nitrogen_train.runtime.atomic_files import build_once, write_atomically

EPOCH_S = 1_700_000_000
"""The wall clock of a game with seed 0: 14 November 2023."""
SECONDS_PER_SEED = 1009
"""Distance of two seeds' wall clocks: many games seed their dice with it."""
STALL_S = 20.0
"""A game that shows nothing for so long, of real time, hangs."""
MAX_PICTURE_BYTES = 4 * 1920 * 1200
_CLOSE_S = 10.0
_MAX_PRESENTS = 1_000_000
_PRESENTS_AT_ONCE = 60
_NUM_KEYS = 512

_STEP, _SAVE, _RESTORE = 1, 2, 3
_FRAME, _SAVED, _REFUSED = 1, 2, 3
_PAD = struct.Struct("<6hI64s")
_COMMAND = struct.Struct("<II80s")
_REPLY = struct.Struct("<IiIIIIIIQQ128s")
_DEATH = struct.Struct("<ii")
_OUTPUT_BYTES = 1 << 20
"""Of the game's output so much is kept."""
_TAIL_BYTES, _TAIL_LINES = 4096, 3
"""Of the output so much is quoted when the game ends."""
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

# SDL's order of a controller's buttons and axes.
_BUTTONS = (
    "SOUTH", "EAST", "WEST", "NORTH", "BACK", "GUIDE", "START", "LEFT_THUMB", "RIGHT_THUMB",
    "LEFT_SHOULDER", "RIGHT_SHOULDER", "DPAD_UP", "DPAD_DOWN", "DPAD_LEFT", "DPAD_RIGHT",
)  # fmt: skip
_STICKS = ("LEFT_STICK_X", "LEFT_STICK_Y", "RIGHT_STICK_X", "RIGHT_STICK_Y")
_TRIGGERS = ("LEFT_TRIGGER", "RIGHT_TRIGGER")
PAD_CONTROLS = frozenset((*_BUTTONS, *_STICKS, *_TRIGGERS))
"""The controls that SDL's game controller has."""


class GameError(ChildProcessError):
    """A game's process crashed, hangs, or cannot do what was asked; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class GameLaunch:
    """What starts a game."""

    name: str
    """For messages."""
    command: tuple[str, ...]
    hook: Path
    """The library that `build_hook` has built."""
    fps: float
    """Presents per second of the game's own time."""
    seed: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    """Files in its HOME before it starts, by path; `{home}` in them stands for HOME."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside the few that every game has."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What the game says of itself at the end of a frame."""

    pid: int
    width: int
    height: int
    is_flipped: bool
    """The first row in memory is the lowest of the picture."""
    num_threads: int
    pad_opens: int
    """How often the game has opened the gamepad."""
    clock_ns: int
    """The game's time since its start."""
    presents: int
    """Frames that it has shown since its start."""


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """A clone of a game's process that sleeps at the end of a frame, until nothing refers to it."""

    channel: socket.socket
    """The line to it; when it is closed the clone ends."""
    pixels: bytes
    """The frame that it shows, as it is in memory."""
    home: Path
    """HOME of the run that it belongs to."""

    def __post_init__(self) -> None:
        weakref.finalize(self, self.channel.close)
        _lines.add(self.channel)


_lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""The lines to games: by a forked process's copies a game would live longer than its player."""


def _drop_lines() -> None:
    for line in list(_lines):
        line.close()


os.register_at_fork(after_in_child=_drop_lines)


class GameProcess:
    """A running game, at the end of a frame; for one thread, in the process that has started it."""

    def __init__(self, launch: GameLaunch) -> None:
        """Start the game and wait for its first frame.

        Raises:
            GameError: If it cannot be started, ends, or shows nothing.
        """
        self._launch = launch
        self._closing = contextlib.ExitStack()
        self._end: str | None = None
        self._is_asked = False
        self._pid: int | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        launch, closing = self._launch, self._closing
        program = shutil.which(launch.command[0], path=SEARCH_PATH)
        if program is None:
            raise GameError(f"{launch.name}: no program {launch.command[0]} is installed")
        self._output = closing.enter_context(_Output())
        frames = closing.enter_context(os.fdopen(os.memfd_create("frames"), "r+b"))
        frames.truncate(MAX_PICTURE_BYTES)
        self._memory = closing.enter_context(mmap.mmap(frames.fileno(), MAX_PICTURE_BYTES))
        with contextlib.ExitStack() as theirs:
            self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._life, life = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            closing.callback(lambda: self._control.close())
            _lines.update((self._control, self._life))
            theirs.enter_context(control)
            theirs.enter_context(life)
            files = (life.fileno(), control.fileno(), frames.fileno())
            try:
                self._process = subprocess.Popen(
                    [program, *launch.command[1:]],
                    executable=_find_drivable(Path(program), folder=launch.hook.parent),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output.writer,
                    stderr=self._output.writer,
                    env=_environment(launch, files),
                    pass_fds=files,
                    start_new_session=True,
                )
            except OSError as error:
                raise GameError(f"{launch.name}: {program} cannot be started: {error}") from error
            # From now on: a supervisor whose line is closed ends all that is below it.
            closing.callback(self._reap)
            closing.callback(self._life.close)
        self.home = Path(os.fsdecode(self._receive_home()))
        for name, text in launch.files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{home}", str(self.home)))
        self._life.send(b"g")
        self._is_asked = True
        self.frame = self._receive_frame()

    def _reap(self) -> None:
        """Wait for the supervisor, which has ended all and removed HOME; if it is stuck, end it."""
        try:
            self._process.wait(timeout=_CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if hasattr(self, "home"):
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def picture(self) -> Image.Image:
        """Copy the frame that the game shows, RGB at its own size."""
        frame = self.frame
        pixels = memoryview(self._memory)[: frame.width * frame.height * 4]
        orientation = -1 if frame.is_flipped else 1
        size = (frame.width, frame.height)
        return Image.frombytes("RGB", size, pixels, "raw", "BGRX", 0, orientation)

    def step(self, action: Controls, *, keys: Sequence[int] = (), presents: int = 1) -> None:
        """Hold a controller state, and keys, until the game has shown some frames.

        Args:
            action: Controls by name.
            keys: SDL scancodes that are down.
            presents: The frame that is shown then is the last of so many.

        Raises:
            GameError: If the game crashes or hangs.
            ValueError: If the controller state is not one, or no key, or presents is below 1.
        """
        if not 1 <= presents <= _MAX_PRESENTS:
            raise ValueError(f"presents must lie in [1, {_MAX_PRESENTS}], got {presents}")
        pad = pack_pad(action, keys)
        # In parts: the time after which a game hangs is that of one, not of a long wait.
        while presents > 0:
            part = min(presents, _PRESENTS_AT_ONCE)
            presents -= part
            self._output.limit()
            self._ask(self._control, _COMMAND.pack(_STEP, part, pad))
            self.frame = self._receive_frame()

    def save(self) -> SavedState:
        """Save the game as it is now.

        Raises:
            GameError: If it has more than one thread, or the system allows no more processes.
        """
        with self._open_channel(self._control, _SAVE) as ours:
            kind, *_, reason = self._receive(_SAVED, _REFUSED)
            if kind != _SAVED:
                why = reason.rstrip(b"\0").decode(errors="replace")
                raise GameError(f"{self._launch.name} cannot be saved: it has {why}")
            size = self.frame.width * self.frame.height * 4
            pixels = self._memory[:size]
            return SavedState(channel=ours.dup(), pixels=pixels, home=self.home)

    def restore(self, state: SavedState) -> None:
        """Go on from a saved state, any number of times; what ran until now ends.

        Raises:
            GameError: If the state is of another run, or its process is gone.
        """
        if state.home != self.home:
            raise GameError(
                f"{self._launch.name}: the state belongs to another run: states end with `reset` "
                "and `close`"
            )
        with self._open_channel(state.channel, _RESTORE) as ours:
            # Its end is no news, and the new one's number comes with its frame.
            self._pid = None
            self._control.close()
            self._control = ours.dup()
            _lines.add(self._control)
        self.frame = self._receive_frame()
        self._memory[: len(state.pixels)] = state.pixels
        self._output.skip()
        # What has ended so far was to end; unread, it would keep later ends from being told.
        while _wait(0.0, self._life) and self._receive_death():
            pass

    @contextlib.contextmanager
    def _open_channel(self, channel: socket.socket, operation: int) -> Iterator[socket.socket]:
        """Tell a process to do something, and give it a new line; offers our end of it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            self._ask(channel, _COMMAND.pack(operation, 0, bytes(_PAD.size)), theirs)
            theirs.close()
            yield ours

    def read_output(self) -> str:
        """Read what the game has printed since the last call, or since it was restored."""
        return self._output.read()

    def read_memory(self, address: int, size: int) -> bytes:
        """Read the game's memory.

        Raises:
            GameError: If there is none at the address.
        """
        try:
            with open(f"/proc/{self.frame.pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
                return os.pread(memory.fileno(), size, address)
        except OSError as error:
            raise GameError(
                f"{self._launch.name}: no memory to read at {address:#x}: {error.strerror}"
            ) from error

    def write_memory(self, address: int, data: bytes) -> None:
        """Write into the game's memory.

        Raises:
            GameError: If there is none at the address.
        """
        try:
            with open(f"/proc/{self.frame.pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
                os.pwrite(memory.fileno(), data, address)
        except OSError as error:
            raise GameError(
                f"{self._launch.name}: no memory to write at {address:#x}: {error.strerror}"
            ) from error

    def close(self) -> None:
        """End the game, its saved states and its files; a second time does nothing."""
        self._closing.close()

    def _ask(
        self, channel: socket.socket, message: bytes, given: socket.socket | None = None
    ) -> None:
        if self._end is not None:
            raise GameError(self._end)
        if self._is_asked:
            raise GameError(
                f"{self._launch.name} is amid another call, or one was interrupted, whose answer "
                "would be taken for the next one's: close it, or reset the game"
            )
        self._is_asked = True
        try:
            if given is None:
                channel.send(message)
            else:
                socket.send_fds(channel, [message], [given.fileno()])
        except OSError as error:
            raise self._explain_end() from error

    def _receive_home(self) -> bytes:
        if not _wait(STALL_S, self._life):
            raise GameError(f"{self._launch.name}: {self._launch.command[0]} does not start")
        home = self._life.recv(4096)
        if not home:
            raise GameError(
                f"{self._launch.name}: {self._launch.command[0]} cannot be driven: the hook is not "
                f"loaded into it (is it linked statically?){self.quote_output()}"
            )
        return home

    def _receive_frame(self) -> Frame:
        _, pid, width, height, is_flipped, threads, opens, _, clock_ns, presents, _ = self._receive(
            _FRAME
        )
        self._pid = pid
        return Frame(
            pid=pid,
            width=width,
            height=height,
            is_flipped=bool(is_flipped),
            num_threads=threads,
            pad_opens=opens,
            clock_ns=clock_ns,
            presents=presents,
        )

    def _receive(self, *kinds: int) -> tuple[Any, ...]:
        """Wait for an answer of one of some kinds.

        Raises:
            GameError: If the game has ended, or does not answer.
        """
        deadline = time.monotonic() + STALL_S
        while ready := _wait(deadline - time.monotonic(), self._control, self._life):
            if self._control not in ready:
                # A process that the game has started may hold its line open after its end.
                death = self._receive_death()
                if death is None or death[0] == self._pid:
                    raise self._explain_end(death and death[1])
                continue
            with contextlib.suppress(ConnectionError):
                if message := self._control.recv(_REPLY.size):
                    reply = _REPLY.unpack(message)
                    if reply[0] in kinds:
                        self._is_asked = False
                        return reply
            raise self._explain_end()
        where = "the next picture" if hasattr(self, "frame") else "its first picture"
        raise GameError(
            f"{self._launch.name} hangs: {where} did not come in {STALL_S:g} s{self.quote_output()}"
        )

    def _explain_end(self, status: int | None = None) -> GameError:
        """Word the end of the game's process, from what the supervisor has seen; it stays so."""
        if self._life.fileno() < 0:
            return GameError(f"{self._launch.name} is closed")
        while _wait(1.0 if status is None else 0.0, self._life):
            if (death := self._receive_death()) is None:
                break
            if self._pid in (None, death[0]):
                status = death[1]
        when = "" if hasattr(self, "frame") else " before it showed a picture"
        self._end = f"{self._launch.name} {_word_end(status)}{when}{self.quote_output()}"
        return GameError(self._end)

    def _receive_death(self) -> tuple[int, int] | None:
        """Read which process the supervisor has seen end, and how; None: it is gone itself."""
        message = self._life.recv(_DEATH.size)
        return _DEATH.unpack(message) if message else None

    def quote_output(self) -> str:
        """Quote what the game printed last, as the end of a message."""
        tail = self._output.tail()
        return f"; it said: {tail}" if tail else "; it said nothing"


class _Output:
    """What a game prints, in memory: nothing of it is left behind."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.memfd_create("output"), "r+b", buffering=0)
        # Appending, so that what was read can be cut off.
        self.writer = os.open(f"/proc/self/fd/{self._file.fileno()}", os.O_WRONLY | os.O_APPEND)
        self._position = 0
        self._rest = b""

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        os.close(self.writer)

    def read(self) -> str:
        size = os.fstat(self._file.fileno()).st_size
        text = os.pread(self._file.fileno(), size - self._position, self._position)
        self._position = size
        if size > _OUTPUT_BYTES:
            self._rest = self.tail().encode()
            os.ftruncate(self._file.fileno(), 0)
            self._position = 0
        return text.decode(errors="replace")

    def limit(self) -> None:
        """Drop what nobody reads, of a game that prints without end."""
        if os.fstat(self._file.fileno()).st_size > 16 * _OUTPUT_BYTES:
            self._position = os.fstat(self._file.fileno()).st_size
            self.read()

    def skip(self) -> None:
        self._position = os.fstat(self._file.fileno()).st_size

    def tail(self) -> str:
        size = os.fstat(self._file.fileno()).st_size
        start = max(0, size - _TAIL_BYTES)
        text = (self._rest + b"\n" + os.pread(self._file.fileno(), size - start, start)).decode(
            errors="replace"
        )
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(re.sub(r"[^ -~]+", "?", line) for line in lines[-_TAIL_LINES:])


def pack_pad(action: Controls, keys: Sequence[int] = ()) -> bytes:
    """Write a controller state and keys as the hook reads them.

    Args:
        action: Controls by name.
        keys: SDL scancodes that are down, in [0, 512).

    Raises:
        ValueError: If the controller state is not one, or there is no such key.
    """
    pad = read_pad(action)
    axes = [round(pad[name] * 32767) for name in _STICKS]
    axes += [32767 if pad[name] else -32768 for name in _TRIGGERS]
    buttons = sum(1 << place for place, name in enumerate(_BUTTONS) if pad[name])
    if wrong := [key for key in keys if not 0 <= key < _NUM_KEYS]:
        raise ValueError(f"keys are SDL's scancodes, from 0 to {_NUM_KEYS - 1}, got {wrong[0]}")
    held = sum(1 << key for key in set(keys))
    return _PAD.pack(*axes, buttons, held.to_bytes(64, "little"))


def _find_drivable(program: Path, *, folder: Path) -> Path:
    """Return a program, or a copy of it without the rights of another user or group.

    The loader loads no hook into a program that has such rights; games have them to share a list of
    high scores.
    """
    status = program.stat()
    if not status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return program
    copied = folder / f"{program.name}-{status.st_size}-{status.st_mtime_ns}"
    build_once(copied, lambda: _copy_program(program, copied))
    return copied


def _copy_program(program: Path, target: Path) -> None:
    with write_atomically(target) as temporary:
        temporary.write_bytes(program.read_bytes())
        temporary.chmod(0o755)


def _environment(launch: GameLaunch, files: tuple[int, int, int]) -> dict[str, str]:
    """Say all that the game's environment holds: little of ours, so that runs are alike."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {
        "PATH": SEARCH_PATH,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
        "SDL_RENDER_DRIVER": "software",
        "SDL_RENDER_VSYNC": "0",
        "SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS": "1",
        "ALSOFT_DRIVERS": "null",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "EGL_PLATFORM": "surfaceless",
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LP_NUM_THREADS": "0",
        "MESA_SHADER_CACHE_DISABLE": "true",
        # Software rendering of it takes up to half a minute a frame.
        "MESA_EXTENSION_OVERRIDE": "-GL_EXT_texture_filter_anisotropic "
        "-GL_ARB_texture_filter_anisotropic",
        **kept,
        **launch.environment,
        "LD_PRELOAD": str(launch.hook),
        "SDL_DYNAMIC_API": str(launch.hook),
        "NITROGEN_SESSION": ",".join(map(str, files)),
        "NITROGEN_HOME": str(Path(tempfile.gettempdir()) / "nitrogen-XXXXXX"),
        "NITROGEN_SEED": str(launch.seed),
        "NITROGEN_EPOCH_S": str(EPOCH_S + SECONDS_PER_SEED * launch.seed),
        "NITROGEN_FRAME_NS": str(round(1e9 / launch.fps)),
    }


def _word_end(status: int | None) -> str:
    if status is None:
        return "is gone"
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.WEXITSTATUS(status)}"


def _wait(seconds: float, *channels: socket.socket) -> list[socket.socket]:
    """List the channels that have something to be read, as soon as one has."""
    poller = select.poll()
    for channel in channels:
        poller.register(channel, select.POLLIN)
    ready = {number for number, _ in poller.poll(max(0.0, seconds) * 1000)}
    return [channel for channel in channels if channel.fileno() in ready]
