"""What a native game allows, measured in starts of their own and kept for this machine.

    start, pressed ┐
    start, idle    ├─► pictures, clock ─► lock step? repeatable? restorable?
    start, again   ┘

A game whose pictures are alike with and without its controls does not listen to them.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

from nitrogen_train.actions import Controls
from nitrogen_train.games.native.build import name_library
from nitrogen_train.games.native.process import SEARCH_PATH, GameError, GameProcess
from nitrogen_train.games.native.spec import NativeSpec
from nitrogen_train.runtime.progress import waiting

_PROBE_ROWS = 45
_ANSWER_ROWS = 400
"""Rows within which a press has to make a difference."""
_PAUSE_S = 0.1
"""Before one row: a game that is not in lock step goes on meanwhile."""

Play = Callable[[GameProcess, Controls], None]
"""Plays one row."""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What a game allows, as it was measured."""

    lock_step: bool
    """The game's time and picture stand still between two rows."""
    repeatable: bool
    """A second start with the same seed and presses showed the same."""
    restorable: bool
    """What followed a restored state was what followed it before."""


def read_allowed(spec: NativeSpec) -> Allowed | None:
    """Read what was measured of a game on this machine; None before its first start."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        allowed = Allowed(**json.loads(_name_file(spec).read_text()))
        if all(type(each) is bool for each in vars(allowed).values()):
            return allowed
    return None


def measure_allowed(
    spec: NativeSpec,
    launch: Callable[[], GameProcess],
    play: Play,
    draw_presses: Callable[[], Iterator[Controls]],
) -> Allowed:
    """Measure what a game allows, once per machine and version.

    Args:
        spec: The game.
        launch: Starts it, each time with the same seed, up to its first frame.
        play: Plays a row.
        draw_presses: Draws presses at random, each time the same.

    Raises:
        GameError: If the game does not answer to any of its controls.
    """
    if (known := read_allowed(spec)) is not None:
        return known
    with waiting(f"measuring what {spec.name} allows"):
        allowed = _measure(spec, launch, play, draw_presses)
    # Several processes may measure at once, and a machine that keeps nothing measures again.
    path = _name_file(spec)
    part = path.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(asdict(allowed)))
        part.replace(path)
    return allowed


def _measure(
    spec: NativeSpec,
    launch: Callable[[], GameProcess],
    play: Play,
    draw_presses: Callable[[], Iterator[Controls]],
) -> Allowed:
    presses = draw_presses()
    with contextlib.closing(launch()) as first, contextlib.closing(launch()) as second:
        start = _hash_frame(first)
        pressed, advance_s = _probe(first, play, presses)
        released, _ = _probe(second, play, repeat({}))
        if pressed == released:
            _refuse_deaf(spec, play, first, second, presses)
    is_restorable = False
    with contextlib.closing(launch()) as third:
        is_same_start = _hash_frame(third) == start
        if third.frame.num_threads == 1 or spec.waits_for_threads:
            state = third.save()
            again, _ = _probe(third, play, draw_presses())
            third.restore(state)
            is_restorable = _probe(third, play, draw_presses())[0] == again
        else:
            again, _ = _probe(third, play, draw_presses())
    return Allowed(
        # A game that reads the clock often gets a little more of it.
        lock_step=abs(advance_s - spec.frame_skip / spec.fps) < _PAUSE_S / 2,
        repeatable=is_same_start and again == pressed,
        restorable=is_restorable,
    )


def _refuse_deaf(
    spec: NativeSpec,
    play: Play,
    pressed: GameProcess,
    released: GameProcess,
    presses: Iterator[Controls],
) -> None:
    """Go on until the presses make a difference: a ball may roll meanwhile, or somebody fall.

    Raises:
        GameError: If they make none for long.
    """
    for _ in range(_PROBE_ROWS, _ANSWER_ROWS):
        play(pressed, next(presses))
        play(released, {})
        if _hash_frame(pressed) != _hash_frame(released):
            return
    raise GameError(
        f"{spec.name} does not answer to its controls: {_ANSWER_ROWS} rows look alike with and "
        "without them; does it wait in a menu?"
    )


def _probe(
    process: GameProcess, play: Play, presses: Iterator[Controls]
) -> tuple[list[str], float]:
    """Play some rows; list what they show, and how far the one after a pause moved the clock."""
    shown: list[str] = []
    advance_s = 0.0
    for row in range(_PROBE_ROWS):
        before = process.frame.clock_ns
        if row == 1:
            time.sleep(_PAUSE_S)
        play(process, next(presses))
        shown.append(_hash_frame(process))
        if row == 1:
            advance_s = (process.frame.clock_ns - before) / 1e9
    return shown, advance_s


def _hash_frame(process: GameProcess) -> str:
    return hashlib.sha256(process.picture.tobytes()).hexdigest()


def _name_file(spec: NativeSpec) -> Path:
    """Name where it is kept what a game allows: by all that may change it."""
    hook = name_library()
    program = Path(str(shutil.which(spec.command[0], path=SEARCH_PATH)))
    # A program may be a script, which an interpreter runs.
    named = [Path(word) for word in spec.command[1:] if word.startswith("/")]
    statuses = [path.stat() for path in (program, *named) if path.is_file()]
    parts = (spec.version, hook.name, *(f"{each.st_size} {each.st_mtime_ns}" for each in statuses))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return hook.parent / f"{spec.name}-{digest}.json"
