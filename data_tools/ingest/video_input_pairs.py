"""Build a data set of recordings that are a video and a file of inputs beside it.

pairs ─► video's table, rows ─► clips, or the reason why not ─► the writer of data sets

A pair that cannot be used is left out with its reason. `KeyboardMouseRows` gathers row by row what
other people's recorders say of a keyboard and a mouse.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from data_tools.names import is_hidden
from data_tools.shards.drop_report import Dropped, DropReport
from data_tools.shards.shard_plan import (
    Part,
    PlannedUnit,
    ShardSettings,
    choose_heldout,
    list_loss,
    make_plan,
)
from data_tools.shards.shard_recordings import Stretch, cut_stretch
from data_tools.shards.shard_writer import write_dataset
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.actions import ActionRows
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import check_folder, describe_error, hash_file

# Recorders' names, in small letters and without what stands between words, where Linux's differs.
_OTHER_NAMES = {
    "escape": "KEY_ESC", "return": "KEY_ENTER",
    "leftcontrol": "KEY_LEFTCTRL", "rightcontrol": "KEY_RIGHTCTRL",
    "uparrow": "KEY_UP", "downarrow": "KEY_DOWN",
    "leftarrow": "KEY_LEFT", "rightarrow": "KEY_RIGHT",
    "graveaccent": "KEY_GRAVE", "backquote": "KEY_GRAVE", "equals": "KEY_EQUAL",
    "leftbracket": "KEY_LEFTBRACE", "rightbracket": "KEY_RIGHTBRACE",
    "quote": "KEY_APOSTROPHE", "period": "KEY_DOT",
}  # fmt: skip
_KEYS = {
    name.removeprefix("KEY_").lower(): name
    for name in KEYBOARD_MOUSE.buttons
    if name.startswith("KEY_")
} | _OTHER_NAMES
MOUSE_BUTTONS = ("BTN_LEFT", "BTN_RIGHT", "BTN_MIDDLE")
"""Mouse buttons as recorders number them, from 0."""

_MAX_UNKNOWN_NAMES = 20

FPS = 20.0
"""Frame rate of all such recordings."""


def find_key(name: str) -> str | None:
    """Find the control of a key that a recorder names, such as `left.shift` or `LeftShift`."""
    return _KEYS.get(re.sub(r"[^a-z0-9]", "", name.lower()))


class KeyboardMouseRows:
    """Rows that are filled one control at a time, and notes on what did not fit in."""

    def __init__(self, num_rows: int) -> None:
        """Begin with nothing pressed or moved, in rows that are not valid.

        Args:
            num_rows: How many there will be.
        """
        self.buttons = np.zeros((num_rows, len(KEYBOARD_MOUSE.buttons)), dtype=bool)
        self.motions = np.zeros((num_rows, len(KEYBOARD_MOUSE.sticks)))
        """Counts to the right, counts down, notches away from the user."""
        self.valid = np.zeros(num_rows, dtype=bool)
        self.notes: Counter[str] = Counter()
        self._unknown: set[str] = set()

    def press(self, row: int, control: str) -> None:
        """Hold a control during a row."""
        self.buttons[row, KEYBOARD_MOUSE.index(control)] = True

    def is_pressed(self, row: int, control: str) -> bool:
        """Tell whether a control is held during a row."""
        return bool(self.buttons[row, KEYBOARD_MOUSE.index(control)])

    def press_key(self, row: int, name: str) -> None:
        """Hold a key that a recorder names, or note that the layout lacks it."""
        control = find_key(name)
        if control is None:
            self._note_unknown(f"key {name[:40]!r}")
        else:
            self.press(row, control)

    def press_mouse(self, row: int, number: int) -> None:
        """Hold a mouse button that a recorder numbers, or note that nobody knows which it is."""
        if 0 <= number < len(MOUSE_BUTTONS):
            self.press(row, MOUSE_BUTTONS[number])
        else:
            self._note_unknown(f"mouse button {number}")

    def to_actions(self) -> ClipActions:
        """Scale the motions; those beyond the scale are clipped, and noted."""
        axes: list[np.ndarray] = []
        for name, motion in zip(KEYBOARD_MOUSE.sticks, self.motions.T, strict=True):
            scale = KEYBOARD_MOUSE.motions[name]
            is_clipped = np.abs(motion) > scale.limit
            self.notes[f"rows with {name} clipped to {scale.limit:g}"] += int(is_clipped.sum())
            axes.append(scale.encode(motion))
        return ClipActions(
            rows=ActionRows(buttons=self.buttons, sticks=np.stack(axes, axis=1)), valid=self.valid
        )

    def _note_unknown(self, what: str) -> None:
        # Names come from strangers' files: not more of them than a report can show.
        if what not in self._unknown and len(self._unknown) >= _MAX_UNKNOWN_NAMES:
            what = "key or mouse button of another name"
        self._unknown.add(what)
        self.notes[f"rows without their {what}, which the action space lacks"] += 1


class UnusableError(ShardError):
    """A recording that cannot become clips."""

    def __init__(self, reason: str, detail: str) -> None:
        """Say why.

        Args:
            reason: A few words, the same for all that went wrong in this way.
            detail: What was expected and what came.
        """
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A video and its inputs; either may turn out to be missing."""

    name: str
    """Unique in the data set."""
    game: str
    session_id: str
    video_path: Path
    inputs_path: Path


ReadPair = Callable[[Pair, SourceVideo], tuple[Stretch, Mapping[str, int]]]
"""Reads a recording's inputs to rows that match its video, with notes on what was changed in them;
raises a `ShardError` if it cannot be used. A worker process must be able to get it."""


def search_files(
    folders: Sequence[Path], is_wanted: Callable[[Path], bool], *, what: str
) -> tuple[dict[Path, list[Path]], list[Dropped]]:
    """Look for files in folders and all folders in them.

    Args:
        folders: Where to look.
        is_wanted: Says whether a path is one of them.
        what: Is looked for, in words.

    Returns:
        The files of each folder that has some, and the given folders that have none.

    Raises:
        FileNotFoundError: If nothing was found at all.
    """
    found: dict[Path, list[Path]] = {}
    faults: dict[Path, str] = {}
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if not is_hidden(path))
        paths = [path for path in files if is_wanted(path)]
        if not paths:
            fault = f"holds no {what}" if folder.is_dir() else "is not a folder"
            faults[folder] = f"{folder} {fault}"
        for path in paths:
            found.setdefault(path.parent, []).append(path)
    if not found:
        raise FileNotFoundError("; ".join(faults.values()))
    return dict(sorted(found.items())), [
        Dropped(name=str(folder), reason="nothing in it", detail=text)
        for folder, text in faults.items()
    ]


def _drop_repeated(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Dropped]]:
    """Leave out what has the name of an earlier one."""
    first: dict[str, Pair] = {}
    twins = [pair for pair in pairs if first.setdefault(pair.name, pair) is not pair]
    return list(first.values()), [
        Dropped(
            name=pair.name,
            game=pair.game,
            reason="it comes twice",
            detail=f"{pair.inputs_path} has the name of {first[pair.name].inputs_path}",
        )
        for pair in twins
    ]


def ingest_pairs(
    pairs: Sequence[Pair],
    read: ReadPair,
    *,
    out_dir: Path,
    settings: ShardSettings,
    part: Part,
    workers: int,
    dropped: Sequence[Dropped] = (),
) -> DropReport:
    """Make a data set of recordings, or finish one, or a part of one.

    Args:
        pairs: Of all parts, in an order that every part finds.
        read: Reads one.
        out_dir: The data set's folder.
        settings: How to cut and store.
        part: Which recordings are this process's.
        workers: Processes.
        dropped: What was given and holds no pair.

    Returns:
        What became of the part's recordings.

    Raises:
        ShardError: If nothing can be used, or `out_dir` holds another data set.
    """
    check_folder(out_dir)
    pairs, twins = _drop_repeated(pairs)
    plan = make_plan(
        pairs,
        partial(plan_pair, read=read, settings=settings),
        heldout=choose_heldout(
            ((pair.game, pair.session_id) for pair in pairs), share=settings.heldout_share
        ),
        settings=settings,
        part=part,
        workers=workers,
        dropped=[*dropped, *twins],
    )
    return write_dataset(plan, out_dir=out_dir, workers=workers)


def plan_pair(pair: Pair, *, read: ReadPair, settings: ShardSettings) -> PlannedUnit:
    """Read a recording and cut it into clips, or say why it is left out."""
    seconds = 0.0
    try:
        _check_both_exist(pair)
        video = _open_video(pair.video_path)
        seconds = len(video) / video.fps
        stretch, notes = read(pair, video)
        clips = cut_stretch(stretch, settings)
        digest = _hash_stretch(stretch)
    except (ShardError, OSError) as error:
        known = error.reason if isinstance(error, UnusableError) else None
        dropped = Dropped(
            name=pair.name,
            game=pair.game,
            seconds=seconds,
            reason=known or "it breaks the rules of clips or files",
            detail=describe_error(error),
        )
        return PlannedUnit.unusable(
            dropped, error, video_path=pair.video_path, small_paths=[pair.inputs_path]
        )
    lost = list_loss(video, name=pair.name, game=pair.game)
    return PlannedUnit(digest=digest, clips=clips, dropped=lost, notes=notes)


def _check_both_exist(pair: Pair) -> None:
    for what, path in (("video", pair.video_path), ("inputs", pair.inputs_path)):
        if not path.is_file():
            raise UnusableError(f"no {what}", f"{path} does not exist")


def _open_video(path: Path) -> SourceVideo:
    try:
        # Not the rate that the file follows: all such recordings have one, and others are refused.
        video = replace(read_video_table(path), fps=FPS)
        video.check_constant_rate()
    except ShardError as error:
        reason = f"the video is not readable, or does not keep to {FPS:g} frames per second"
        raise UnusableError(reason, str(error)) from error
    return video


def _hash_stretch(stretch: Stretch) -> str:
    # What the inputs were read as, with whichever options.
    rows = stretch.actions.rows
    digest = hashlib.sha256(
        repr((stretch.name, stretch.game, stretch.session_id, stretch.licence)).encode()
    )
    for values in (stretch.frames, rows.buttons, rows.sticks, stretch.actions.valid):
        digest.update(values.tobytes())
    digest.update(hash_file(stretch.video.path))
    return digest.hexdigest()
