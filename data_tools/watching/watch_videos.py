"""Make recordings of videos that show a controller: its picture becomes the log of inputs.

    video ─► read_overlay, refine ─► Reading ─► log, stretches not to learn from, boxes to black out
      ─► video (a link), NAME.inputs.parquet, NAME.sheet.png, NAME.json ─► a line in the ledger

What is finished is kept when the work is started again. A video that cannot be used is dropped with
its reason, and stops no other. Frame t has row t: what the pad shows on a frame is the frame's row.
"""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from jaxtyping import Bool, Int64

from data_tools.ingest.recording.ingest_recording import check_video, place_video, write_log
from data_tools.names import has_suffix, is_hidden, plain_name
from data_tools.recordings.input_log import InputLog, Track
from data_tools.recordings.recording import (
    FACTS_SUFFIX,
    VIDEO_SUFFIXES,
    MaskedBox,
    OverlayFacts,
    RecordingFacts,
    check_game_name,
)
from data_tools.shards.drop_report import Dropped, DropReport, GameShare, format_length
from data_tools.shards.shard_plan import ALL, Part, list_loss
from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.contact_sheet import draw_sheet
from data_tools.watching.read_known import read_overlay
from data_tools.watching.reading import Box, PadStretch, Reading, ReadingError, list_runs
from data_tools.watching.refine import refine
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import check_folder, describe_error, write_atomically
from nitrogen_train.runtime.ledger import Ledger, name_changes
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress, pluralize
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin, Trigger

READER = "known-skin-1"
"""Version of the reader; another one reads other values."""
WORK_NAME = ".watch"
SHEET_SUFFIX = ".sheet.png"
LOG_SUFFIX = ".inputs.parquet"
_GROW_PX = 2
_MASK_AROUND_S = 1.0
"""Time by which a box is blacked out before and after the pad was found there: where a pad moves,
the moment is known to some frames only."""
_SHORTEST_S = 0.25
"""Rows that can be read for a shorter time than that, between others that cannot, are left out."""
_MOST_STRETCHES = 3000
"""More would make the facts larger than a reader takes them."""
_LEAST_CONFIDENCE = 0.25
"""Mean over all controls, below which something else was taken for a pad."""
_DIGITS = 3
_NOT_MEASURED = 100.0
"""Residual of a row that was not decoded."""

NO_PAD = "no pad was found"
NO_VIDEO = "the video or what lies in its place cannot be used"
UNREADABLE = "the pad could not be read there"
DAMAGED = "the video is damaged or changes its size there"


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is looked for, and what the recordings say of the play."""

    skin: str
    """What `open_skin` takes."""
    game: str
    box: tuple[int, int, int, int] | None = None
    """Left, top, width and height of the place of the pad, to a fifth of its size."""
    session_id: str | None = None
    """None: each video is a session."""
    source: str = "recordings"
    licence: str = "unknown"
    url: str = ""

    def __post_init__(self) -> None:
        """Check the box.

        Raises:
            ValueError: If it holds nothing.
        """
        if self.box is not None and (min(self.box) < 0 or min(self.box[2:]) < 1):
            got = ",".join(map(str, self.box))
            raise ValueError(f"--box takes X,Y,W,H in pixels, W and H above 0, got {got}")

    @property
    def edges(self) -> Box | None:
        """Return the box by its edges."""
        if self.box is None:
            return None
        x, y, width, height = self.box
        return x, y, x + width, y + height


@dataclass(frozen=True, kw_only=True)
class WatchedVideo:
    """What became of one video."""

    name: str
    """The recording's."""
    path: str
    size_bytes: int = 0
    """The video's, by which another one of its name is told apart."""
    asked: dict[str, Any]
    """The settings."""
    seconds: float = 0.0
    kept_s: float = 0.0
    place: str = ""
    """Where the pad was, in words."""
    dropped: tuple[Dropped, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Tell whether there is a recording."""
        return not any(item.is_fault for item in self.dropped)

    @classmethod
    def from_json(cls, *, dropped: list[dict[str, Any]], **values: Any) -> "WatchedVideo":  # noqa: ANN401 - a line of the ledger
        """Build one of a line of the ledger."""
        return cls(dropped=tuple(Dropped(**item) for item in dropped), **values)

    def describe(self) -> str:
        """Say in one line what came in, what was kept, and why the rest was not."""
        if not self.is_kept:
            why = self.dropped[0].detail
            # Most reasons begin with the file, which is named already.
            why = why.removeprefix(f"{self.path}: ").replace(self.path, "it", 1)
            return f"{self.name}: dropped: {why}"
        lost = [
            f"{format_length(item.seconds)} not: {item.reason} ({item.detail})"
            for item in self.dropped
        ]
        kept = f"{format_length(self.kept_s)} kept of {format_length(self.seconds)}, {self.place}"
        return "; ".join([f"{self.name}: {kept}", *lost])


@dataclass(frozen=True, kw_only=True)
class _Job:
    settings: WatchSettings
    asked: dict[str, Any]
    out_dir: Path
    has_sheet: bool
    copy: bool


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """A video that has been read, before anything is written."""

    video: SourceVideo
    reading: Reading
    learned: Bool[np.ndarray, " rows"]
    facts: RecordingFacts
    log: InputLog
    outcome: WatchedVideo


def watch_videos(
    videos: Sequence[Path],
    *,
    out_dir: Path,
    settings: WatchSettings,
    has_sheet: bool = False,
    copy: bool = False,
    part: Part = ALL,
    workers: int = 1,
) -> tuple[list[WatchedVideo], DropReport]:
    """Make a recording of each video of a part; those that are made already are kept.

    Args:
        videos: Of all parts, `.mp4`, `.mkv` or `.webm`, of different names, or folders of them.
        out_dir: Where the recordings go.
        settings: What is looked for.
        has_sheet: Draw a contact sheet for each video.
        copy: Copy the videos; else they are linked to.
        part: Which of the videos are this process's.
        workers: Processes.

    Returns:
        What became of each of the part's videos, and the sum of it.

    Raises:
        ValueError: If the skin cannot be used, the folder holds the videos, or another process is
            at the same work.
        ShardError: If recordings in `out_dir` name the game in another way.
        OSError: If a recording cannot be written.
    """
    check_folder(out_dir)
    videos = list_videos(videos)
    if out_dir.resolve() in {path.parent.resolve() for path in videos}:
        raise ValueError(f"{out_dir} holds the videos: choose another folder with --out")
    asked = _describe(settings)
    check_game_name(settings.game, out_dir)
    job = _Job(settings=settings, asked=asked, out_dir=out_dir, has_sheet=has_sheet, copy=copy)
    mine = part.take(videos)
    twins = _find_twins(videos)
    work_dir = out_dir / WORK_NAME
    ledger = Ledger(work_dir / f"{part.name or 'all'}.jsonl", WatchedVideo.from_json)
    with ledger.hold():
        kept = _read_kept(work_dir)
        known = {path: _find_known(job, path, kept, twins) for path in mine}
        found = dict(known)
        todo = [path for path, each in known.items() if each is None]
        watched = map_in_order(partial(_watch, job=job), todo, workers=workers)
        with (
            contextlib.closing(watched),
            Progress(total=len(todo), label="watch", unit="video") as progress,
        ):
            for path, each in zip(todo, progress.count(watched), strict=True):
                found[path] = each
                if each.is_kept or each.dropped[0].reason == NO_PAD:
                    ledger.add(each)
        done = [each for each in found.values() if each is not None]
        report = _report(done, settings.game)
        report.write(work_dir / f"report{part.name and f'-{part.name}'}.json")
    return done, report


def list_videos(paths: Sequence[Path]) -> list[Path]:
    """List videos, and those in folders by name; a folder without one stands for itself.

    Raises:
        OSError: If a folder cannot be read.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else []
        videos = [each for each in inside if has_suffix(each, VIDEO_SUFFIXES)]
        found += [each for each in videos if not is_hidden(each)] or [path]
    return found


def _describe(settings: WatchSettings) -> dict[str, Any]:
    """Describe what is asked for by the options' names, as JSON has it.

    Raises:
        ValueError: If the skin cannot be used.
    """
    skin = open_skin(settings.skin)
    renderer = Renderer(skin, 200)
    digest = hashlib.sha256(skin.layout.encode())
    for state in ({}, *({name: 1.0} for name in skin.controls)):
        digest.update(renderer.render(state).tobytes())
    asked = asdict(settings) | {"skin": f"{skin.name} ({digest.hexdigest()[:12]})"}
    asked["box"] = None if settings.box is None else ",".join(map(str, settings.box))
    return {f"--{name.removesuffix('_id')}": value for name, value in asked.items()} | {
        "reader": READER
    }


def _find_twins(videos: Sequence[Path]) -> dict[Path, Path]:
    """Find for each video whose name another one has the first of that name."""
    first: dict[str, Path] = {}
    twins = {path: first.setdefault(plain_name(path.stem), path) for path in videos}
    return {path: twin for path, twin in twins.items() if path is not twin}


def _read_kept(work_dir: Path) -> dict[str, WatchedVideo]:
    """Read what is finished, whichever part did it."""
    return {
        each.name: each
        for path in sorted(work_dir.glob("*.jsonl"))
        for each in Ledger(path, WatchedVideo.from_json)
    }


def _find_known(
    job: _Job, path: Path, kept: dict[str, WatchedVideo], twins: dict[Path, Path]
) -> WatchedVideo | None:
    """Find what is known of a video without reading it; None if it must be read."""
    name = plain_name(path.stem)
    before = kept.get(name)
    facts_path = job.out_dir / f"{name}{FACTS_SUFFIX}"
    try:
        check_video(path)
        is_same = before is not None and (before.asked, before.size_bytes) == (
            job.asked,
            path.stat().st_size,
        )
        _refuse_other(job, facts_path, None if is_same else before, twin=twins.get(path))
    except (ShardError, OSError) as error:
        return _drop(job, path, NO_VIDEO, describe_error(error))
    sheet_path = job.out_dir / f"{name}{SHEET_SUFFIX}"
    is_whole = facts_path.exists() and (sheet_path.exists() or not job.has_sheet)
    return before if is_same and before and (is_whole or not before.is_kept) else None


def _refuse_other(
    job: _Job, facts_path: Path, other: WatchedVideo | None, *, twin: Path | None
) -> None:
    """Leave recordings alone that are of something else.

    Raises:
        ShardError: If one of the video's name is there.
    """
    if twin is not None:
        raise ShardError(f"{twin} has its name; rename one of them")
    if not facts_path.exists():
        return
    if other is not None:
        how = name_changes(other.asked, job.asked) or "is of another video"
        raise ShardError(f"{facts_path} {how}; remove it, or choose another --out")
    if RecordingFacts.from_json(facts_path.read_bytes(), what=str(facts_path)).overlay is None:
        raise ShardError(f"{facts_path} is of another recording; choose another --out")


def _drop(job: _Job, path: Path, reason: str, detail: str) -> WatchedVideo:
    name = plain_name(path.stem)
    size = 0
    with contextlib.suppress(OSError):
        size = path.stat().st_size
    lost = Dropped(name=name, game=job.settings.game, reason=reason, detail=detail)
    return WatchedVideo(
        name=name, path=str(path), size_bytes=size, asked=job.asked, dropped=(lost,)
    )


def _watch(path: Path, *, job: _Job) -> WatchedVideo:
    """Read a video and write its recording, or say why there is none."""
    # What cannot be read is this video's fault; what cannot be written is that of all.
    try:
        watched = _read(path, job)
        sheet = None
        if job.has_sheet:
            sheet = draw_sheet(
                watched.video, watched.reading, watched.learned, open_skin(job.settings.skin)
            )
    except ReadingError as error:
        return _drop(job, path, NO_PAD, str(error))
    except (ShardError, OSError, FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        return _drop(job, path, NO_VIDEO, describe_error(error) or "it needs too much memory")
    name = watched.outcome.name
    write_log(job.out_dir / f"{name}{LOG_SUFFIX}", watched.log)
    place_video(path, job.out_dir / f"{name}{path.suffix.lower()}", copy=job.copy)
    if sheet is not None:
        with write_atomically(job.out_dir / f"{name}{SHEET_SUFFIX}") as temporary:
            sheet.save(temporary, format="PNG")
    # Last: where there are facts, everything is there.
    watched.facts.write(job.out_dir / f"{name}{FACTS_SUFFIX}")
    return watched.outcome


def _read(path: Path, job: _Job) -> _Watched:
    """Read a video.

    Raises:
        ReadingError: If the pad is not found, or could be read nowhere.
        ShardError: If it is no video, or cannot be decoded.
        OSError: If it cannot be read.
    """
    name, settings = plain_name(path.stem), job.settings
    skin = open_skin(settings.skin)
    video = read_video_table(path)
    reading, _ = refine(read_overlay(path, skin, box=settings.edges))
    edges_ns = video.edges_ns(0)
    runs = find_unreadable(reading.readable, fps=video.fps)
    learned = np.ones(len(video), bool)
    for start, stop in runs:
        learned[start:stop] = False
    if not learned.any():
        raise ReadingError(f"{path}: the pad was found, and can be read in none of its frames")
    overlay = _describe_overlay(reading, learned, skin=str(job.asked["--skin"]))
    if overlay.confidence < _LEAST_CONFIDENCE:
        raise ReadingError(
            f"{path}: what looks most like the pad is none: its controls are read with a "
            f"confidence of {overlay.confidence:.2f}, expected at least {_LEAST_CONFIDENCE}"
        )
    facts = RecordingFacts(
        video_start_ns=0,
        game=settings.game,
        session_id=settings.session_id or name,
        stick_y_axis="down",
        device=f"{reading.layout} pad on the video",
        source=settings.source,
        licence=settings.licence,
        url=settings.url,
        disturbed_ns=tuple((int(edges_ns[a]), int(edges_ns[b])) for a, b in runs),
        masked_boxes=tuple(_list_masks(reading, edges_ns)),
        overlay=overlay,
    )
    lost = tuple(_list_lost(reading, edges_ns, runs, name=name, settings=settings))
    lost += tuple(list_loss(video, name=name, game=settings.game))
    outcome = WatchedVideo(
        name=name,
        path=str(path),
        size_bytes=path.stat().st_size,
        asked=job.asked,
        seconds=float(edges_ns[-1] / 1e9),
        kept_s=float(np.diff(edges_ns)[learned].sum() / 1e9),
        place=_describe_places(reading.stretches, overlay),
        dropped=lost,
    )
    log = make_log(reading, edges_ns, graded=list_graded(skin))
    return _Watched(
        video=video, reading=reading, learned=learned, facts=facts, log=log, outcome=outcome
    )


def find_unreadable(readable: Bool[np.ndarray, " rows"], *, fps: float) -> list[tuple[int, int]]:
    """List the stretches of rows that are not learned from, with short ones between them.

    Example:
        >>> find_unreadable(np.array([1, 1, 1, 0, 1, 0, 1, 1], bool), fps=8.0)
        [(3, 6)]
    """
    runs = list_runs(~readable)
    shortest = _SHORTEST_S * fps
    while True:
        joined: list[tuple[int, int]] = []
        for start, stop in runs:
            if joined and start - joined[-1][1] < shortest:
                joined[-1] = (joined[-1][0], stop)
            else:
                joined.append((start, stop))
        if len(joined) <= _MOST_STRETCHES:
            return joined
        runs, shortest = joined, 2 * shortest


def list_graded(skin: Skin) -> frozenset[str]:
    """Name the triggers of which a skin shows how far they are pulled."""
    return frozenset(
        element.control
        for element in skin.elements
        if isinstance(element, Trigger) and element.mode != "binary"
    )


def make_log(
    reading: Reading, edges_ns: Int64[np.ndarray, " edges"], *, graded: frozenset[str]
) -> InputLog:
    """Make a log of a reading: an event where a control changes, at the time of its frame.

    Args:
        reading: Of all frames.
        edges_ns: When each frame is shown, and when the last one's row ends.
        graded: Triggers that are more than up or down.
    """
    tracks: dict[str, Track] = {}
    for name in sorted(reading.drawn):
        values = reading.control(name).astype(np.float64).round(_DIGITS)
        if name in GAMEPAD.buttons and name not in graded:
            values = (values > GAMEPAD.trigger_threshold).astype(np.float64)
        new = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        tracks[name] = Track(times_ns=edges_ns[new], values=values[new])
    return InputLog(tracks=tracks, first_ns=int(edges_ns[0]), last_ns=int(edges_ns[-1]))


def _list_masks(reading: Reading, edges_ns: Int64[np.ndarray, " edges"]) -> Iterator[MaskedBox]:
    """Grow the boxes of the pad, in the picture and in time; stretches at one place are one."""
    around_ns = round(_MASK_AROUND_S * 1e9)
    for box in dict.fromkeys(stretch.box for stretch in reading.stretches):
        left, top = (max(0, edge - _GROW_PX) for edge in box[:2])
        right = min(reading.width, box[2] + _GROW_PX)
        bottom = min(reading.height, box[3] + _GROW_PX)
        times = [
            (int(edges_ns[stretch.start]), int(edges_ns[stretch.stop]))
            for stretch in reading.stretches
            if stretch.box == box
        ]
        yield MaskedBox(
            start_ns=max(0, times[0][0] - around_ns),
            stop_ns=times[-1][1] + around_ns,
            box=(left, top, right - left, bottom - top),
        )


def _describe_overlay(
    reading: Reading, learned: Bool[np.ndarray, " rows"], *, skin: str
) -> OverlayFacts:
    buttons = reading.button_confidence[learned].mean(axis=0)
    sticks = reading.stick_confidence[learned].mean(axis=0)
    means = dict(zip((*GAMEPAD.buttons, *GAMEPAD.sticks), [*buttons, *sticks], strict=True))
    controls = {name: round(float(means[name]), _DIGITS) for name in sorted(reading.drawn)}
    longest = max(reading.stretches, key=lambda stretch: stretch.stop - stretch.start)
    return OverlayFacts(
        skin=skin,
        layout=reading.layout,
        opacity=round(float(longest.opacity), _DIGITS),
        readable=round(float(learned.mean()), _DIGITS),
        confidence=round(float(np.mean(list(controls.values()))), _DIGITS),
        controls=controls,
        display_fps=reading.display_fps,
        reader=READER,
    )


def _describe_places(stretches: Sequence[PadStretch], overlay: OverlayFacts) -> str:
    boxes = list(dict.fromkeys(stretch.box for stretch in stretches))
    left, top, right, bottom = boxes[0]
    words = f"pad of {right - left}x{bottom - top} at {left},{top}"
    if len(boxes) > 1:
        words += f" and {pluralize(len(boxes) - 1, 'other place')}"
    return f"{words}, confidence {overlay.confidence:.2f}"


def _list_lost(
    reading: Reading,
    edges_ns: Int64[np.ndarray, " edges"],
    runs: Sequence[tuple[int, int]],
    *,
    name: str,
    settings: WatchSettings,
) -> Iterator[Dropped]:
    """List what is not learned from, for the report."""
    # What could not be decoded has no residual that was measured.
    decoded = np.flatnonzero(reading.residual != _NOT_MEASURED)
    end = int(decoded[-1]) + 1 if len(decoded) else 0
    for reason, first, last in ((UNREADABLE, 0, end), (DAMAGED, end, len(reading))):
        parts = [(max(a, first), min(b, last)) for a, b in runs if a < last and b > first]
        if not parts:
            continue
        times_s = [(float(edges_ns[a] / 1e9), float(edges_ns[b] / 1e9)) for a, b in parts]
        start_s, stop_s = max(times_s, key=lambda time: time[1] - time[0])
        length = format_length(stop_s - start_s)
        yield Dropped(
            name=name,
            game=settings.game,
            seconds=sum(stop - start for start, stop in times_s),
            reason=reason,
            detail=f"{pluralize(len(parts), 'time')}, longest for {length} from {start_s:.1f} s on",
            is_fault=False,
            is_told=True,
        )


def _report(done: Sequence[WatchedVideo], game: str) -> DropReport:
    """Sum up what became of videos."""
    kept = [each for each in done if each.is_kept]
    dropped = [item for each in done for item in each.dropped]
    share = GameShare(
        game=game,
        num_clips=len(kept),
        kept_s=round(math.fsum(each.kept_s for each in kept), 6),
        dropped_s=round(math.fsum(item.seconds for item in dropped), 6),
    )
    return DropReport(
        games=[share], dropped=sorted(dropped, key=lambda item: (item.reason, item.name))
    )
