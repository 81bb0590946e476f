"""Record a gamepad and a screen on one clock.

    gamepad ─► changes with the kernel's times ─────────────┐
    screen  ─► pictures ─► constant frame rate ─► mp4 ──────┴─► log up to the last frame ─► facts

The gamepad is read in a thread of its own, since the kernel keeps only some 64 events. Pictures
come when they can and are put at a constant rate; every departure from it is counted. The facts are
written last: until then a killed recorder leaves hidden `.part` files, which nothing reads.

Pictures of an X11 screen, a part of it or a window come with the times they were taken: FFmpeg's
`x11grab` stamps a picture with the wall clock, in microseconds, right before it copies it. That is
turned into CLOCK_MONOTONIC, the gamepad's clock, by the picture's age: both clocks are read when it
arrives. A wall clock that is set meanwhile, within milliseconds, would be seen as an error of that
one picture; a drift of it does not enter. What is not known from here is how long the game and the
X server took before the picture could be copied: see `docs/record.md`.
"""

import contextlib
import json
import os
import re
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import av
import av.container
import av.error
from av import VideoFrame

from data_tools.recordings.gamepad import Change, Gamepad
from data_tools.recordings.recording import RecordingFacts, check_game_name
from nitrogen_train.data.encode import Encoding, VideoWriter
from nitrogen_train.runtime.atomic_files import write_atomically

_LOOK_UP_S = 0.05

LIVE_ENCODING = Encoding(crf=15, preset="ultrafast", num_threads=min(4, os.cpu_count() or 1))
"""The least work that x264 can do: what saves bytes later must not cost the game now."""


@dataclass(frozen=True, kw_only=True)
class ScreenPart:
    """The part of a screen that is recorded."""

    display: str
    """The X server's, for example `:0`."""
    region: tuple[int, int, int, int] | None = None
    """Width, height, left and top in pixels; None takes everything."""
    window_id: int | None = None
    """A window instead, as `xwininfo` names it; its size must not change."""
    shows_cursor: bool = True


def choose_display(display: str | None) -> str:
    """Take the display that was asked for, or this session's.

    Raises:
        ValueError: If there is none, or it would show Wayland's windows as black.
    """
    if display:
        return display
    if os.environ.get("XDG_SESSION_TYPE") == "wayland":
        raise ValueError(
            "this is a Wayland session, whose screen X11 cannot see; log in to an Xorg session, or "
            "run the game in an X server of its own (Xephyr, gamescope) and name it with --display"
        )
    if not (found := os.environ.get("DISPLAY")):
        raise ValueError("there is no screen: $DISPLAY is not set; name one with --display")
    return found


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Read X11's WxH+X+Y.

    Returns:
        Width, height, left and top in pixels; sides are made even, as video needs them.

    Raises:
        ValueError: If it is not one, or smaller than 2x2.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})\+(\d{1,5})\+(\d{1,5})", text)
    if not match or min(int(match[1]), int(match[2])) < 2:
        raise ValueError(f"a region is WxH+X+Y in pixels, for example 1280x720+0+0, got {text!r}")
    width, height, left, top = (int(number) for number in match.groups())
    return width - width % 2, height - height % 2, left, top


def parse_window(text: str) -> int:
    """Read a window's id, decimal or 0x and hexadecimal.

    Raises:
        ValueError: If it is neither.
    """
    try:
        return int(text, 0)
    except ValueError as error:
        raise ValueError(
            f"a window is named by its id, for example 0x3a00007 (xwininfo shows it), got {text!r}"
        ) from error


class ScreenGrab:
    """Pictures of a part of a screen; use as a context."""

    def __init__(self, part: ScreenPart, *, fps: float) -> None:
        """Remember what to take.

        Args:
            part: Of which screen.
            fps: Pictures a second that are asked for.
        """
        self._part, self._fps = part, fps
        self._open = contextlib.ExitStack()
        self.width = self.height = 0
        """Size of a picture, in pixels, even; known once the screen is open."""

    def __enter__(self) -> "ScreenGrab":
        container = self._connect(self._part.region)
        stream = container.streams.video[0]
        width, height = stream.width, stream.height
        if width % 2 or height % 2:
            container.close()
            left, top = self._part.region[2:] if self._part.region else (0, 0)
            container = self._connect((width - width % 2, height - height % 2, left, top))
            stream = container.streams.video[0]
        self._container = self._open.enter_context(container)
        self.width, self.height = stream.width, stream.height
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def pictures(self) -> Iterator[tuple[av.VideoFrame, int]]:
        """Take pictures until the caller stops.

        Yields:
            A picture, and its time on CLOCK_MONOTONIC in nanoseconds.

        Raises:
            OSError: If the screen or the window is gone.
        """
        stream = self._container.streams.video[0]
        assert stream.time_base is not None  # noqa: S101 - x11grab's is a microsecond
        try:
            for packet in self._container.demux(stream):
                if packet.pts is None:
                    continue
                wall_ns, now_ns = time.time_ns(), time.monotonic_ns()
                age_ns = wall_ns - round(packet.pts * stream.time_base * 10**9)
                for picture in packet.decode():
                    yield picture, now_ns - age_ns
        except av.error.FFmpegError as error:
            raise OSError(
                f"the screen {self._part.display} cannot be read any more: {error.strerror}"
            ) from error

    def _connect(self, region: tuple[int, int, int, int] | None) -> av.container.InputContainer:
        part = self._part
        options = {
            "framerate": str(self._fps),
            "draw_mouse": str(int(part.shows_cursor)),
            # Else FFmpeg takes pictures for most of a second to estimate a rate that is known.
            "probesize": "32",
        }
        if region:
            width, height, left, top = region
            options |= {"video_size": f"{width}x{height}", "grab_x": str(left), "grab_y": str(top)}
        if part.window_id is not None:
            options["window_id"] = str(part.window_id)
        try:
            return av.open(part.display, format="x11grab", options=options)
        except av.error.FFmpegError as error:
            raise OSError(
                f"cannot record {part}: {error.strerror}; is the X server there, does $XAUTHORITY "
                "let this user in, and does the region or the window lie on the screen?"
            ) from error


@dataclass(kw_only=True)
class FrameSlots:
    """Gives every picture its place among frames that are 1 / fps apart.

    Frame k belongs to the time of the first picture plus k / fps; a picture takes the place that is
    nearest to its own time, so it is never further off than half a frame.

    Example:
        >>> slots = FrameSlots(fps=10.0)
        >>> [slots.place(ms * 1_000_000) for ms in (0, 101, 130, 398)]
        [0, 0, None, 2]
        >>> slots.num_repeated, slots.num_surplus, slots.num_frames
        (2, 1, 5)
    """

    fps: float
    start_ns: int | None = None
    """Time of frame 0: the first picture's."""
    num_frames: int = 0
    num_repeated: int = 0
    """Frames that no picture came for, which show the one before again."""
    num_surplus: int = 0
    """Pictures left out, because their place was taken."""
    largest_error_ns: int = field(default=0)
    """Between a picture's time and its frame's."""

    def place(self, time_ns: int) -> int | None:
        """Place the next picture.

        Args:
            time_ns: When it was taken.

        Returns:
            How often the picture before is repeated first, or None if this one is left out.
        """
        if self.start_ns is None:
            self.start_ns = time_ns
        place = round((time_ns - self.start_ns) * self.fps / 1e9)
        if place < self.num_frames:
            self.num_surplus += 1
            return None
        repeats = place - self.num_frames
        self.num_repeated += repeats
        self.num_frames = place + 1
        error_ns = abs(time_ns - self.time_ns(place))
        self.largest_error_ns = max(self.largest_error_ns, error_ns)
        return repeats

    def time_ns(self, frame: int) -> int:
        """Find the time of a frame; before the first picture there is none."""
        assert self.start_ns is not None  # noqa: S101 - the caller has placed a picture
        return self.start_ns + round(frame * 1e9 / self.fps)


class InputCollector:
    """Collects a gamepad's changes in a thread; use as a context."""

    def __init__(self, gamepad: Gamepad) -> None:
        """Start with what the pad held when it was opened.

        Args:
            gamepad: To read, from nowhere else from now on.
        """
        self._gamepad = gamepad
        self._changes = deque([gamepad.initial])
        self._thread = threading.Thread(target=self._collect, name="gamepad", daemon=True)
        self._stop = threading.Event()
        self.failure: OSError | None = None
        """Reason why nothing comes any more: the pad has been unplugged."""

    def __enter__(self) -> "InputCollector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop reading; what the kernel had by now is still taken."""
        self._stop.set()
        self._thread.join()

    def take(self, *, until_ns: int) -> list[Change]:
        """Take the changes up to a time, in order."""
        taken: list[Change] = []
        while self._changes and self._changes[0].time_ns <= until_ns:
            taken.append(self._changes.popleft())
        return taken

    def _collect(self) -> None:
        try:
            while not self._stop.is_set():
                if select.select([self._gamepad], [], [], _LOOK_UP_S)[0]:
                    self._changes.extend(self._gamepad.read())
            while select.select([self._gamepad], [], [], 0)[0]:
                self._changes.extend(self._gamepad.read())
        except OSError as error:
            self.failure = error


@dataclass(frozen=True, kw_only=True)
class ScreenSession:
    """The subject of a recording, and what is known of it."""

    part: ScreenPart
    fps: float
    out_dir: Path
    name: str
    """Name of the recording's files."""
    game: str
    session_id: str
    source: str
    licence: str
    size: int | None = None
    """Side of the square that pictures are squashed to; None keeps them as they are."""
    seconds: float | None = None
    """Longest duration."""


@dataclass(frozen=True, kw_only=True)
class ScreenReport:
    """The outcome of a recording."""

    facts: RecordingFacts
    slots: FrameSlots
    num_changes: int
    """Number of changes of the gamepad."""
    ended_by: str


def record_screen(
    session: ScreenSession, gamepad: Gamepad, *, stop: threading.Event
) -> ScreenReport:
    """Record until told to stop, the time is over, or the gamepad is unplugged.

    Args:
        session: What to record.
        gamepad: Freshly opened.
        stop: Set when it is enough.

    Raises:
        FileExistsError: If there is a recording of this name.
        ShardError: If recordings in the folder name the game in another way.
        OSError: If the screen cannot be read.
        ValueError: If not one picture was taken.
    """
    facts_path = session.out_dir / f"{session.name}.json"
    video_path = session.out_dir / f"{session.name}.mp4"
    for path in (facts_path, video_path):
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another --name or --out")
    check_game_name(session.game, session.out_dir)
    log_path = session.out_dir / f"{session.name}.inputs.jsonl"
    with contextlib.ExitStack() as stack:
        # Opened before the screen: the log must reach back to the first picture.
        collector = stack.enter_context(InputCollector(gamepad))
        grab = stack.enter_context(ScreenGrab(session.part, fps=session.fps))
        log = stack.enter_context(_open_log(log_path))
        width, height = (session.size, session.size) if session.size else (grab.width, grab.height)
        video = stack.enter_context(
            VideoWriter(
                video_path, fps=session.fps, width=width, height=height, encoding=LIVE_ENCODING
            )
        )
        recorder = _Recorder(session, collector, video, log)
        ended_by = recorder.run(grab, stop)
        recorder.finish()
    facts = RecordingFacts(
        video_start_ns=recorder.slots.time_ns(0),
        game=session.game,
        session_id=session.session_id,
        stick_y_axis="down",
        device=gamepad.name,
        source=session.source,
        licence=session.licence,
        disturbed_ns=tuple(recorder.unknown_ns),
    )
    facts.write(facts_path)
    return ScreenReport(
        facts=facts, slots=recorder.slots, num_changes=recorder.num_changes, ended_by=ended_by
    )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Offer an event that Ctrl-C or a polite kill sets, so that a recording is finished first."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Recorder:
    def __init__(
        self, session: ScreenSession, collector: InputCollector, video: VideoWriter, log: TextIO
    ) -> None:
        self._session, self._collector, self._video, self._log = session, collector, video, log
        self._side = session.size
        self._picture: VideoFrame | None = None
        self.slots = FrameSlots(fps=session.fps)
        self.unknown_ns: list[tuple[int, int]] = []
        self.num_changes = 0

    def run(self, grab: ScreenGrab, stop: threading.Event) -> str:
        longest = self._session.seconds
        for picture, time_ns in grab.pictures():
            if stop.is_set():
                return "stopped"
            if self._collector.failure:
                return f"gamepad lost: {self._collector.failure}"
            start_ns = self.slots.start_ns
            if longest and start_ns is not None and time_ns - start_ns >= longest * 1e9:
                return f"{longest:g} s are over"
            self._write_picture(picture, time_ns)
        return "the screen ended"

    def finish(self) -> None:
        """Close the log with an empty row at the last frame: until there it was running.

        Raises:
            ValueError: If there is no frame.
        """
        self._collector.stop()
        if not self.slots.num_frames:
            raise ValueError("stopped before the first picture: nothing is recorded")
        end_ns = self.slots.time_ns(self.slots.num_frames)
        self._write(self._collector.take(until_ns=end_ns - 1))
        self._write([Change(time_ns=end_ns, controls={})])
        self.num_changes -= 1

    def _write_picture(self, picture: VideoFrame, time_ns: int) -> None:
        repeats = self.slots.place(time_ns)
        if repeats is None:
            return
        # Once for all that show it: a repeated picture costs next to nothing.
        picture = picture.reformat(
            width=self._side or picture.width,
            height=self._side or picture.height,
            format="yuv420p",
            interpolation="AREA",
        )
        for _ in range(repeats):
            assert self._picture is not None  # noqa: S101 - frame 0 repeats nothing
            self._video.write_picture(self._picture)
        self._video.write_picture(picture)
        self._picture = picture
        # Not beyond the frame: the log must not be longer than the video.
        self._write(self._collector.take(until_ns=self.slots.time_ns(self.slots.num_frames - 1)))

    def _write(self, changes: list[Change]) -> None:
        for change in changes:
            entry = {"t_ns": change.time_ns, "controls": change.controls}
            self._log.write(json.dumps(entry) + "\n")
            if (since := change.unknown_since_ns) is not None and since < change.time_ns:
                self.unknown_ns.append((since, change.time_ns))
        self.num_changes += len(changes)


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[TextIO]:
    with write_atomically(path) as temporary, temporary.open("w") as file:
        yield file
