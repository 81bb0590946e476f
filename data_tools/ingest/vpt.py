"""Build a data set of VPT's segments of contractors' play.

    NAME.mp4, NAME.jsonl ─► a JSON object per frame ─► rows of keyboard and mouse ─► clips

Line i says what keyboard and mouse did from frame i to the next, as in OpenAI's own loader
(openai/Video-Pre-Training, data_loader.py). Two of that loader's repairs are made here too:

* some recordings begin with the attack button down, as a fresh press in the first line, and it
  stays down until the player does press it: it is released until then;
* the wheel was not recorded by all recorders: where the selected slot of the hotbar changes without
  a key or the wheel, the slot's key is pressed.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from data_tools.ingest.video_input_pairs import (
    KeyboardMouseRows,
    Pair,
    UnusableError,
    ingest_pairs,
    search_files,
)
from data_tools.names import FileNames, has_suffix, plain_name
from data_tools.shards.drop_report import Dropped, DropReport
from data_tools.shards.shard_plan import ALL, Part, ShardSettings
from data_tools.shards.shard_recordings import Stretch
from data_tools.shards.source_video import SourceVideo
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.data.values import as_boolean, as_number, as_whole_number

_MAX_LINE_BYTES = 1024 * 1024
_MAX_MOTION = 1e6
_MAX_ITEMS = 200
_ATTACK = 0
_NUM_SLOTS = 9
_KEY_PREFIX = "key.keyboard."
_BAD_LINE = "a line of the action file is not readable"

_VIDEO, _LOG = ".mp4", ".jsonl"
# Contractor and session, then date and time of the segment.
_NAME = re.compile(r"(.+)-\d{8}-\d{6}")


def read_action_log(
    path: Path,
    *,
    num_frames: int,
    max_difference: int,
    keep_menus: bool,
    is_video_cut_off: bool = False,
) -> KeyboardMouseRows:
    """Read a recording's inputs.

    Args:
        path: The `.jsonl`.
        num_frames: Of the video.
        max_difference: How many lines there may be more or less than frames; the surplus of either
            at the end is left out.
        keep_menus: Whether rows with a menu open are valid. The mouse moves a pointer there, which
            the videos do not show.
        is_video_cut_off: Whether lines without frames at the end are no surprise.

    Raises:
        UnusableError: If a line is not what it should be, or lines and frames do not match.
    """
    surplus = 0 if is_video_cut_off else max_difference + 1
    lines, is_cut = _read_lines(path, limit=num_frames + surplus)
    if not lines or abs(len(lines) - num_frames) > max_difference:
        raise UnusableError(
            "lines and frames differ in number",
            f"{path} has {len(lines)} lines{' or more' * (len(lines) > num_frames)}, the video "
            f"{num_frames} frames; expected the same number, give or take {max_difference}",
        )
    rows = KeyboardMouseRows(min(len(lines), num_frames))
    rows.notes["last lines that were cut, left out"] += is_cut
    is_stuck = False
    slot: int | None = None
    for row, line in enumerate(lines[: len(rows.valid)]):
        mouse, keyboard = line.get("mouse"), line.get("keyboard")
        if mouse is None or keyboard is None:
            rows.notes["rows without mouse or keyboard, not valid"] += 1
            continue
        where = f"{path} line {row + 1}"
        fresh = _integers(mouse, "newButtons", where)
        is_stuck = fresh == [_ATTACK] if row == 0 else is_stuck and _ATTACK not in fresh
        _read_mouse(rows, row, mouse, fresh, where, is_stuck=is_stuck)
        _read_keys(rows, row, keyboard, where)
        is_menu = _is_menu(line, where)
        rows.valid[row] = keep_menus or not is_menu
        rows.notes["rows with a menu open" + ", not valid" * (not keep_menus)] += is_menu
        former, slot = slot, _read_slot(line, where)
        if slot is not None and former not in (None, slot) and not is_menu:
            _explain_slot(rows, row, slot)
    return rows


def _read_lines(path: Path, *, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """Read up to a number of lines; a cut last one is left out, and that is said.

    Raises:
        UnusableError: If a line is not what it should be.
    """
    lines: list[dict[str, Any]] = []
    with path.open("rb") as file:
        while len(lines) < limit and (data := file.readline(_MAX_LINE_BYTES + 1)):
            where = f"{path} line {len(lines) + 1}"
            if len(data) > _MAX_LINE_BYTES:
                raise UnusableError(_BAD_LINE, f"{where} is longer than {_MAX_LINE_BYTES} bytes")
            try:
                line = json.loads(data)
            # Deeply nested brackets.
            except (ValueError, RecursionError) as error:
                if lines and not data.endswith(b"\n"):
                    return lines, True
                raise UnusableError(_BAD_LINE, f"{where} is not JSON: {error}") from error
            if not isinstance(line, dict):
                raise UnusableError(_BAD_LINE, f"{where} must be an object, got {data[:60]!r}")
            # The inventory and the statistics are most of it.
            known = ("mouse", "keyboard", "isGuiOpen", "hotbar")
            lines.append({name: line[name] for name in known if name in line})
    return lines, False


def _read_mouse(
    rows: KeyboardMouseRows,
    row: int,
    mouse: object,
    fresh: list[int],
    where: str,
    *,
    is_stuck: bool,
) -> None:
    down = {*_integers(mouse, "buttons", where), *fresh}
    if is_stuck and _ATTACK in down:
        rows.notes["rows with the attack button released, which was stuck"] += 1
        down.discard(_ATTACK)
    for number in sorted(down):
        rows.press_mouse(row, number)
    rows.motions[row] = [
        _number(mouse, "dx", where),
        _number(mouse, "dy", where),
        _number(mouse, "dwheel", where, default=0.0),
    ]


def _read_keys(rows: KeyboardMouseRows, row: int, keyboard: object, where: str) -> None:
    # A key that is pressed and released between two frames is only in the second.
    names = [*_list(keyboard, "keys", where), *_list(keyboard, "newKeys", where, default=[])]
    if not all(isinstance(name, str) for name in names):
        raise UnusableError(_BAD_LINE, f"{where}: keys must be names, got {names!r:.60}")
    for name in sorted(set(cast("list[str]", names))):
        rows.press_key(row, name.removeprefix(_KEY_PREFIX))


def _is_menu(line: dict[str, Any], where: str) -> bool:
    said = line.get("isGuiOpen")
    is_menu = False if said is None else as_boolean(said)
    if is_menu is None:
        raise UnusableError(
            _BAD_LINE, f"{where}: isGuiOpen must be true or false, got {said!r:.60}"
        )
    return is_menu


def _read_slot(line: dict[str, Any], where: str) -> int | None:
    # Early recorders do not say.
    said = line.get("hotbar")
    slot = as_whole_number(said)
    if said is not None and (slot is None or not 0 <= slot < _NUM_SLOTS):
        raise UnusableError(_BAD_LINE, f"{where}: hotbar must be 0 to 8, got {said!r:.60}")
    return slot


def _explain_slot(rows: KeyboardMouseRows, row: int, slot: int) -> None:
    key = f"KEY_{slot + 1}"
    recent = range(max(0, row - 1), row + 1)
    if not any(rows.is_pressed(each, key) or rows.motions[each, 2] for each in recent):
        rows.press(row, key)
        rows.notes["rows given the key of a hotbar slot, which was chosen unseen"] += 1


def _field(owner: object, name: str, where: str, default: object) -> object:
    if not isinstance(owner, dict):
        raise UnusableError(_BAD_LINE, f"{where}: expected an object, got {owner!r:.60}")
    value = cast("dict[str, object]", owner).get(name, default)
    if value is None:
        raise UnusableError(_BAD_LINE, f"{where} has no {name!r}")
    return value


def _number(owner: object, name: str, where: str, default: float | None = None) -> float:
    value = _field(owner, name, where, default)
    number = as_number(value)
    if number is None or abs(number) > _MAX_MOTION:
        raise UnusableError(
            _BAD_LINE, f"{where}: {name} must be a number up to {_MAX_MOTION:g}, got {value!r:.60}"
        )
    return number


def _list(owner: object, name: str, where: str, default: object = None) -> list[object]:
    value = _field(owner, name, where, default)
    if not isinstance(value, list) or len(value) > _MAX_ITEMS:
        raise UnusableError(
            _BAD_LINE,
            f"{where}: {name} must be a list of up to {_MAX_ITEMS}, got {value!r:.60}",
        )
    return cast("list[object]", value)


def _integers(owner: object, name: str, where: str) -> list[int]:
    values = _list(owner, name, where, default=[])
    numbers = [number for value in values if (number := as_whole_number(value)) is not None]
    if len(numbers) < len(values):
        raise UnusableError(_BAD_LINE, f"{where}: {name} must be whole numbers, got {values!r:.60}")
    return numbers


def ingest_vpt(
    folders: list[Path],
    *,
    out_dir: Path,
    settings: ShardSettings,
    max_difference: int = 1,
    keep_menus: bool = False,
    part: Part = ALL,
    workers: int,
) -> DropReport:
    """Make a data set of segments, or finish one, or a part of one.

    Args:
        folders: Where `NAME.mp4` and `NAME.jsonl` lie, at any depth.
        out_dir: The data set's folder.
        settings: How to cut and store.
        max_difference: How many lines a segment may have more or less than frames.
        keep_menus: Whether rows with a menu open are valid.
        part: Which of the segments are this process's; all of them.
        workers: Processes.

    Returns:
        What became of the part's segments.

    Raises:
        ValueError: If `max_difference` is negative.
        FileNotFoundError: If no folder holds a segment.
        ShardError: If nothing can be used, or `out_dir` holds another data set.
    """
    if max_difference < 0:
        raise ValueError(f"max-difference must be at least 0, got {max_difference}")
    segments, dropped = find_segments(folders)
    return ingest_pairs(
        segments,
        partial(read_segment, max_difference=max_difference, keep_menus=keep_menus),
        out_dir=out_dir,
        settings=settings,
        part=part,
        workers=workers,
        dropped=dropped,
    )


def find_segments(folders: list[Path]) -> tuple[list[Pair], list[Dropped]]:
    """Find all segments, also those of which a file is missing, and folders without one.

    Raises:
        FileNotFoundError: If no folder holds one.
    """
    found, dropped = search_files(
        folders,
        lambda path: has_suffix(path, (_VIDEO, _LOG)),
        what="NAME.mp4 or NAME.jsonl",
    )
    return [
        Pair(
            name=name,
            game="minecraft",
            session_id=_session(name),
            video_path=next(iter(names.find(name, [_VIDEO])), folder / f"{name}{_VIDEO}"),
            inputs_path=next(iter(names.find(name, [_LOG])), folder / f"{name}{_LOG}"),
        )
        for folder, paths in found.items()
        for names in [FileNames(paths)]
        for name in sorted({plain_name(path.stem) for path in paths})
    ], dropped


def read_segment(
    pair: Pair, video: SourceVideo, *, max_difference: int, keep_menus: bool
) -> tuple[Stretch, Mapping[str, int]]:
    """Read a segment's rows.

    Raises:
        UnusableError: If they do not match the video.
    """
    rows = read_action_log(
        pair.inputs_path,
        num_frames=len(video),
        max_difference=max_difference,
        keep_menus=keep_menus,
        is_video_cut_off=video.is_cut_off,
    )
    actions = rows.to_actions()
    stretch = Stretch(
        name=pair.name,
        original_id=pair.name,
        source="vpt",
        game=pair.game,
        session_id=pair.session_id,
        video=video.cut(0, len(actions)),
        frames=np.arange(len(actions)),
        actions=actions,
        action_space=KEYBOARD_MOUSE.name,
        # Stuck buttons are released, and slots of the hotbar explained.
        labels="processed",
        licence="MIT",
    )
    return stretch, rows.notes


def _session(name: str) -> str:
    match = _NAME.fullmatch(name)
    return match[1] if match else name
