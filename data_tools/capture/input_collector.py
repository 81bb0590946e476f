"""Reads a gamepad beside everything else: the kernel keeps only some 64 events for us."""

import select
import threading
from collections import deque

from data_tools.capture.gamepad import Change, Gamepad

_LOOK_UP_S = 0.05


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
        """Why nothing comes any more: the pad has been unplugged."""

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
