"""Define a recording: a video, a log of inputs on the same clock, and a file of facts.

* `NAME.mp4` (or mkv, webm): what the player saw;
* `NAME.inputs.jsonl` (or .parquet): rows `{"t_ns": ..., "controls": {"SOUTH": true, ...}}`;
* `NAME.json`: `RecordingFacts`.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from data_tools.names import FileNames, has_suffix, is_hidden, plain_name
from nitrogen_train.data.schema import (
    SCHEMA_VERSION,
    Box,
    Labels,
    ShardError,
    check_version,
    parse_json_object,
    refuse_respelt,
)
from nitrogen_train.runtime.atomic_files import did_you_mean, write_atomically

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm")
LOG_SUFFIXES = (".inputs.jsonl", ".inputs.parquet")
FACTS_SUFFIX = ".json"
_EXAMPLE = {
    "schema_version": SCHEMA_VERSION,
    "video_start_ns": 0,
    "game": "celeste",
    "session_id": "monday",
    "stick_y_axis": "down",
}
"""Keys that `NAME.json` must have."""
_LARGEST = 2**62
"""Above all times in nanoseconds, and still a number of 64 bits when two are added."""


@dataclass(frozen=True, kw_only=True)
class MaskedBox:
    """A part of the picture that nothing is learned from: it shows what was pressed."""

    start_ns: int
    """Time from which on it is blacked out, on the log's clock."""
    stop_ns: int
    """Time at which it is seen again."""
    box: Box
    """Left, top, width and height in pixels of the video."""


@dataclass(frozen=True, kw_only=True)
class OverlayFacts:
    """How the inputs were read from a controller that the video shows."""

    skin: str
    """The artwork, with a digest of what it looks like."""
    layout: str
    """Kind of the pad: `xbox`, `playstation`, `switch`, `generic`."""
    opacity: float
    """Opacity of the pad, in [0, 1]."""
    readable: float
    """Share of the frames in which the pad could be read; `disturbed_ns` holds the others."""
    confidence: float
    """Mean over the readable frames and the controls, in [0, 1]."""
    controls: dict[str, float] = field(default_factory=dict)
    """Mean confidence of each control that the pad shows; it shows no others."""
    lag_ms: float | None = None
    """Time by which the pad shows an input later than the game's picture does; the game's time to
    answer counts against it. None if it could not be measured."""
    lag_confidence: float | None = None
    """Share of draws of parts of the video that give this lag within a frame."""
    shifted_rows: int = 0
    """Rows by which the log was moved to undo the lag, later ones above 0."""
    display_fps: float | None = None
    """Rate at which the pad was drawn, where it is lower than the video's."""
    reader: str = ""
    """Version of the reader."""


@dataclass(frozen=True, kw_only=True)
class RecordingFacts:
    """`NAME.json`: what the video and the log do not say themselves."""

    video_start_ns: int
    """Time of the video's first frame, on the log's clock."""
    game: str
    session_id: str
    """Recordings of one session stay on one side of every split."""
    stick_y_axis: Literal["up", "down"]
    """Direction of positive y in the log: up in XInput, down in the public labels and here."""
    device: str = "unknown"
    """Device with which the game was played."""
    source: str = "recordings"
    """The collection that the clips will belong to."""
    licence: str = "unknown"
    """Terms of the pictures."""
    url: str = ""
    """Address at which the video can be had."""
    action_space: str = "gamepad"
    labels: Labels = "raw"
    disturbed_ns: tuple[tuple[int, int], ...] = ()
    """[start, stop) times in which something else than the player chose: not learned from."""
    masked_boxes: tuple[MaskedBox, ...] = ()
    """Parts of the picture that `shard` blacks out."""
    overlay: OverlayFacts | None = None
    """How the inputs were read from the video; None if a program logged them."""
    score: float | None = None
    """Score that the player reached, where the game tells it."""
    seed: int | None = None
    """The game's, where it has one."""
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> "RecordingFacts":
        """Read facts that a person may have written.

        Args:
            data: The file's bytes.
            what: Its name, for messages.

        Raises:
            ShardError: If a field is missing, unknown or of another type, or a newer version wrote
                it.
        """
        values = parse_json_object(data, what)
        known = {item.name: item for item in fields(cls)}
        if "schema_version" in values:
            check_version(values["schema_version"], what)
        for name in values:
            if name not in known:
                hint = did_you_mean(name, known, otherwise=f"; it may have {', '.join(known)}")
                raise ShardError(f"{what} has an unknown field {name!r}{hint}")
        if missing := [name for name in _EXAMPLE if name not in values]:
            raise ShardError(
                f"{what} lacks {', '.join(missing)}; it holds at least {json.dumps(_EXAMPLE)}"
            )
        for name, value in values.items():
            kind = known[name].type
            if name in _PARSERS:
                values[name] = _PARSERS[name](value, what)
            elif not _fits(value, kind):
                raise ShardError(f"{what}: {name} must be {_describe(kind)}, got {value!r}")
        if type(score := values.get("score")) is int:
            values["score"] = float(score)
        return cls(**cast("dict[str, Any]", values))

    def write(self, path: Path) -> None:
        """Write the facts beside a video; those on overlays only where there is one."""
        values = asdict(self)
        for name in ("masked_boxes", "overlay"):
            if not values[name]:
                del values[name]
        with write_atomically(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The three files of a recording."""

    name: str
    video_path: Path
    log_path: Path
    facts_path: Path

    def read_facts(self) -> RecordingFacts:
        """Read `NAME.json`.

        Raises:
            ShardError: If it breaks the contract.
            OSError: If it cannot be read.
        """
        return RecordingFacts.from_json(self.facts_path.read_bytes(), what=str(self.facts_path))


def find_recordings(folders: Sequence[Path]) -> list[Recording]:
    """Find the recordings in some folders, ordered by name.

    Raises:
        FileNotFoundError: If a folder is missing or holds no video, or a video lacks its log or its
            facts.
        ShardError: If two recordings have one name, or a recording has two logs.
    """
    recordings, faults = search_recordings(folders)
    for fault in faults.values():
        raise fault
    return recordings


def search_recordings(folders: Sequence[Path]) -> tuple[list[Recording], dict[Path, Exception]]:
    """Find the recordings in some folders, ordered by name, and say what is wrong with the others.

    Returns:
        Recordings of different names, and a `ShardError` or an `OSError` for each folder and video
        that gives none.
    """
    recordings: dict[str, Recording] = {}
    faults: dict[Path, Exception] = {}
    for folder in folders:
        try:
            videos, names = _list_folder(folder)
        except OSError as error:
            faults[folder] = error
            continue
        for video_path in videos:
            try:
                recording = _collect(video_path, names)
            except (ShardError, OSError) as error:
                faults[video_path] = error
                continue
            if (first := recordings.setdefault(recording.name, recording)) is not recording:
                faults[video_path] = ShardError(
                    f"{first.video_path} and {video_path} have one name; rename one of them"
                )
    return [recordings[name] for name in sorted(recordings)], faults


def check_game_name(game: str, folder: Path) -> None:
    """Make sure that a folder's recordings do not name a game in another way.

    Raises:
        ShardError: If one does.
    """
    games = {game}
    for path in folder.glob(f"*{FACTS_SUFFIX}"):
        # What is no recording's has its own fault when it is read.
        with contextlib.suppress(ShardError, OSError):
            games.add(RecordingFacts.from_json(path.read_bytes(), what=str(path)).game)
    refuse_respelt(games, what=f"the recordings in {folder}")


def _find_below(folder: Path) -> Path | None:
    """Find the first folder with a recording's log in the two levels below a folder."""
    for level in ("*/", "*/*/"):
        logs = [path for suffix in LOG_SUFFIXES for path in folder.glob(f"{level}*{suffix}")]
        for log in sorted(logs):
            if not any(is_hidden(Path(part)) for part in log.relative_to(folder).parts):
                return log.parent
    return None


def _list_folder(folder: Path) -> tuple[list[Path], FileNames]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder of recordings")
    paths = sorted(folder.iterdir())
    videos = [path for path in paths if has_suffix(path, VIDEO_SUFFIXES) and not is_hidden(path)]
    if not videos:
        below = _find_below(folder)
        hint = f"; {below} holds recordings" if below else ""
        raise FileNotFoundError(f"{folder} holds no video ({', '.join(VIDEO_SUFFIXES)}){hint}")
    return videos, FileNames(path for path in paths if path.is_file())


def _collect(video_path: Path, names: FileNames) -> Recording:
    name = plain_name(video_path.stem)
    logs, facts = names.find(name, LOG_SUFFIXES), names.find(name, [FACTS_SUFFIX])
    if not video_path.is_file():
        raise ShardError(f"{video_path} is no file, expected a video")
    if not logs:
        raise FileNotFoundError(
            f"{video_path} lacks its input log {name}{' or '.join(LOG_SUFFIXES)}"
            f"{_advise(video_path)}"
        )
    if len(logs) > 1:
        raise ShardError(f"{video_path} has two input logs; keep one")
    if not facts:
        raise FileNotFoundError(
            f"{video_path} lacks its facts {name}{FACTS_SUFFIX}{_advise(video_path)}"
        )
    return Recording(name=name, video_path=video_path, log_path=logs[0], facts_path=facts[0])


def _advise(video_path: Path) -> str:
    """Say what makes a recording of a video and a log of another program; goes on a message."""
    videos = video_path.with_name(f"*{video_path.suffix}")
    return f"; first nitrogen-data ingest recording {videos} --out FOLDER --game NAME"


def _parse_intervals(value: object, what: str) -> tuple[tuple[int, int], ...]:
    intervals = cast("list[object]", value) if isinstance(value, list) else [None]
    for interval in intervals:
        pair = cast("list[Any]", interval) if isinstance(interval, list) else []
        if len(pair) != 2 or not all(_is_number(time, int) for time in pair) or pair[0] >= pair[1]:
            raise ShardError(f"{what}: disturbed_ns must hold [start, stop) pairs in nanoseconds")
    return tuple((start, stop) for start, stop in cast("list[list[int]]", intervals))


def _parse_masks(value: object, what: str) -> tuple[MaskedBox, ...]:
    masks: list[MaskedBox] = []
    for item in cast("list[object]", value) if isinstance(value, list) else [None]:
        values = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        box = values.get("box")
        numbers: list[Any] = [values.get("start_ns"), values.get("stop_ns")]
        numbers += cast("list[Any]", box) if isinstance(box, list) else []
        if not (
            values.keys() == {"start_ns", "stop_ns", "box"}
            and len(numbers) == 6
            and all(_is_number(number, int) for number in numbers)
            and numbers[0] < numbers[1]
            and min(numbers[2:]) >= 0 < min(numbers[4:])
        ):
            raise ShardError(
                f"{what}: masked_boxes must hold objects of start_ns, stop_ns and box, which is "
                "[left, top, width, height] in pixels of the video"
            )
        start, stop, *edges = numbers
        masks.append(MaskedBox(start_ns=start, stop_ns=stop, box=cast("Box", tuple(edges))))
    return tuple(masks)


def _parse_overlay(value: object, what: str) -> OverlayFacts | None:
    if value is None:
        return None
    values = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    known = [item.name for item in fields(OverlayFacts)]
    texts = [values.get(name) for name in ("skin", "layout", "reader")]
    numbers = [values.get(name) for name in ("opacity", "readable", "confidence")]
    # Facts have been written without some of these.
    optional = ("lag_ms", "lag_confidence", "shifted_rows", "display_fps")
    numbers += [values.get(name) or 0.0 for name in optional]
    controls = values.get("controls")
    numbers += [*controls.values()] if isinstance(controls, dict) else [None]
    if not (
        set(known) - set(optional) <= values.keys() <= set(known)
        and type(values.get("shifted_rows", 0)) is int
        and all(_fits(text, str) for text in texts)
        and all(number is not None and _fits(number, float | None) for number in numbers)
    ):
        raise ShardError(f"{what}: overlay must be an object of {', '.join(known)}")
    return OverlayFacts(**values)


_PARSERS: dict[str, Callable[[object, str], object]] = {
    "disturbed_ns": _parse_intervals,
    "masked_boxes": _parse_masks,
    "overlay": _parse_overlay,
}
"""Fields that are no plain values."""


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401 - a type expression
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is str:
        # Half a pair of UTF-16, as JSON can escape it, is no letter.
        return isinstance(value, str) and value.isprintable()
    if kind is int:
        return _is_number(value, int)
    return value is None or any(_is_number(value, each) for each in (int, *get_args(kind)))


def _describe(kind: Any) -> str:  # noqa: ANN401 - a type expression
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if kind is str:
        return "printable text"
    if kind is int:
        return "a whole number"
    return f"{'a number' if float in get_args(kind) else 'a whole number'} or null"


def _is_number(value: object, kind: type) -> bool:
    return type(value) is kind and kind in (int, float) and abs(cast("float", value)) < _LARGEST
