"""Grab an X11 screen, a part of it or a window, as pictures with the times they were taken.

FFmpeg's `x11grab` stamps a picture with the wall clock, in microseconds, right before it copies it.
That is turned into CLOCK_MONOTONIC, the gamepad's clock, by the picture's age: both clocks are
read when it arrives. A wall clock that is set meanwhile, within milliseconds, would be seen as an
error of that one picture; a drift of it does not enter. What is not known from here is how long
the game and the X server took before the picture could be copied: see `docs/record.md`.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.container
import av.error


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
