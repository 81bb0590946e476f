"""Make recordings of videos that show a controller: its picture becomes the log of inputs.

    video ─► read_overlay or read_any_overlay, refine ─► Reading ─► watched_recording
      ─► video (a link), NAME.inputs.parquet, NAME.sheet.png, NAME.layout.json, NAME.json
       │  or, with labels alone, NAME.tar.gz
       └► a line in the ledger

What is finished is kept when the work is started again. A video that cannot be used is dropped with
its reason, and stops no other.
"""

import contextlib
import hashlib
import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from data_tools.ingest.recording.ingest_recording import check_video, place_video, write_log
from data_tools.names import has_suffix, is_hidden, plain_name
from data_tools.recordings.recording import (
    FACTS_SUFFIX,
    VIDEO_SUFFIXES,
    RecordingFacts,
    check_game_name,
)
from data_tools.shards.drop_report import Dropped, DropReport, GameShare, format_length
from data_tools.shards.shard_plan import ALL, Part
from data_tools.shards.source_video import SourceVideo, read_video_table
from data_tools.watching.any_skin.pad_networks import name_reader
from data_tools.watching.any_skin.read_any import read_any_overlay
from data_tools.watching.contact_sheet import draw_sheet
from data_tools.watching.overlay_layout import LAYOUT_SUFFIX, OverlayLayout, place_skin
from data_tools.watching.read_known import read_overlay
from data_tools.watching.reading import ReadingError
from data_tools.watching.refine import refine
from data_tools.watching.register_skin import recognize_skin
from data_tools.watching.video_moments import read_moments
from data_tools.watching.watched_recording import (
    ANY_SKIN,
    WatchedRecording,
    WatchSettings,
    find_longest,
    list_graded,
    make_recording,
)
from data_tools.watching.write_labels import (
    LABELS_SUFFIX,
    check_label_name,
    is_our_tarball,
    pack_labels,
)
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import (
    check_folder,
    describe_error,
    hash_parts,
    write_atomically,
)
from nitrogen_train.runtime.ledger import Ledger, name_changes
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import Progress, format_duration, write_line
from nitrogen_train.skins.open_skin import open_presets, open_skin
from nitrogen_train.skins.render_skin import Renderer
from nitrogen_train.skins.skin import Skin

READER = "known-skin-3"
"""Version of the reader of known skins; another one reads other values."""
WORK_NAME = ".watch"
SHEET_SUFFIX = ".sheet.png"
LOG_SUFFIX = ".inputs.parquet"
_OPTIONS = {"corrects_lag": "correct-lag", "session_id": "session"}
"""Options of the fields that have another name."""
_SILENT_S = 60.0
"""A video that takes longer than that has a line each time that it does."""

NO_PAD = "no controller was found"
NO_VIDEO = "the video or what lies in its place cannot be used"


@dataclass(frozen=True, kw_only=True)
class WatchedVideo:
    """What became of one video."""

    name: str
    """The recording's."""
    path: str
    digest: str = ""
    """Of the video's size and parts of it, by which another one of its name is told apart."""
    asked: dict[str, Any]
    """The settings."""
    seconds: float = 0.0
    kept_s: float = 0.0
    place: str = ""
    """Where the controller was, in words."""
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
            why = re.sub(
                rf"\S*{re.escape(self.path)}(?=\s)", "it", why.removeprefix(f"{self.path}: ")
            )
            return f"{self.name}: dropped: {why}"
        lost = [
            f"{item.reason} ({item.detail})"
            if not item.seconds
            else f"{format_length(item.seconds)} not: {item.reason} ({item.detail})"
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
    is_labels: bool

    def target(self, name: str) -> Path:
        """Name the file that is written last: where it is, everything is there."""
        return self.out_dir / f"{name}{LABELS_SUFFIX if self.is_labels else FACTS_SUFFIX}"


def watch_videos(
    videos: Sequence[Path],
    *,
    out_dir: Path,
    settings: WatchSettings,
    has_sheet: bool = False,
    copy: bool = False,
    is_labels: bool = False,
    part: Part = ALL,
    workers: int = 1,
) -> tuple[list[WatchedVideo], DropReport]:
    """Make a recording of each video of a part; those that are made already are kept.

    Args:
        videos: Of all parts, `.mp4`, `.mkv` or `.webm`, of different names, or folders of them.
        out_dir: Where the recordings go.
        settings: What is looked for.
        has_sheet: Draw a contact sheet for each video, and write where its controls are.
        copy: Copy the videos; else they are linked to.
        is_labels: Write labels alone, in the layout of NVIDIA's public tarballs.
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
        raise ValueError(f"{out_dir} holds the videos: choose another folder")
    asked = _describe(settings)
    check_game_name(settings.game, out_dir)
    job = _Job(
        settings=settings,
        asked=asked,
        out_dir=out_dir,
        has_sheet=has_sheet,
        copy=copy,
        is_labels=is_labels,
    )
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
        ValueError: If the skin, or the weights that read any skin, cannot be used.
    """
    asked = {
        f"--{_OPTIONS.get(name, name)}": value
        for name, value in vars(settings).items()
        if name != "layout"
    }
    asked["--box"] = None if settings.box is None else ",".join(map(str, settings.box))
    if settings.layout is not None:
        written = json.dumps(asdict(settings.layout), sort_keys=True)
        asked["--layout"] = hashlib.sha256(written.encode()).hexdigest()[:12]
    if settings.skin is None:
        return asked | {"--skin": ANY_SKIN, "reader": name_reader()}
    skins, faults = _open_skins(settings.skin)
    for fault in faults:
        write_line(f"left out: {fault}")
    looks = list(map(_name_look, skins))
    if not _is_choice(settings.skin):
        return asked | {"--skin": looks[0], "reader": READER}
    digest = hashlib.sha256(" ".join(looks).encode()).hexdigest()[:12]
    name = f"{Path(settings.skin).name} ({digest})"
    return asked | {"--skin": name, "reader": f"{READER}, {name_reader()}"}


def _is_choice(skin: str) -> bool:
    """Tell a folder, whose presets a video may show, from the one skin that it shows."""
    return Path(skin).is_dir()


@lru_cache(maxsize=1)
def _open_skins(text: str) -> tuple[list[Skin], list[str]]:
    """Open the skin, or the presets of the folder, that a video may show.

    Returns:
        The skins, and a line for each preset of a folder that cannot be used.

    Raises:
        ValueError: If none can be used.
    """
    return open_presets(Path(text)) if _is_choice(text) else ([open_skin(text)], [])


def _name_look(skin: Skin) -> str:
    """Name a skin with a digest of its looks."""
    renderer = Renderer(skin, 200)
    digest = hashlib.sha256(skin.layout.encode())
    for state in ({}, *({name: 1.0} for name in skin.controls)):
        digest.update(renderer.render(state).tobytes())
    return f"{skin.name} ({digest.hexdigest()[:12]})"


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
    try:
        check_video(path)
        if job.is_labels:
            check_label_name(path)
        is_same = before is not None and (before.asked, before.digest) == (
            job.asked,
            hash_parts(path),
        )
        _refuse_other(job, job.target(name), None if is_same else before, twin=twins.get(path))
    except (ShardError, OSError) as error:
        return _drop(job, path, NO_VIDEO, describe_error(error))
    sheet_path = job.out_dir / f"{name}{SHEET_SUFFIX}"
    is_whole = job.target(name).exists() and (sheet_path.exists() or not job.has_sheet)
    return before if is_same and before and (is_whole or not before.is_kept) else None


def _refuse_other(
    job: _Job, target: Path, other: WatchedVideo | None, *, twin: Path | None
) -> None:
    """Leave files alone that are of something else.

    Raises:
        ShardError: If one of the video's name is there.
    """
    if twin is not None:
        raise ShardError(f"{twin} has its name; rename one of them")
    if not target.exists():
        return
    if other is not None:
        how = name_changes(other.asked, job.asked) or "is of another video"
        raise ShardError(f"{target} {how}; remove it, or choose another folder")
    if job.is_labels:
        is_ours = is_our_tarball(target)
    else:
        facts = RecordingFacts.from_json(target.read_bytes(), what=str(target))
        is_ours = facts.overlay is not None
    if not is_ours:
        raise ShardError(f"{target} was not made by `watch`; choose another folder")


def _drop(job: _Job, path: Path, reason: str, detail: str) -> WatchedVideo:
    name = plain_name(path.stem)
    digest = ""
    with contextlib.suppress(OSError):
        digest = hash_parts(path)
    lost = Dropped(name=name, game=job.settings.game, reason=reason, detail=detail)
    return WatchedVideo(name=name, path=str(path), digest=digest, asked=job.asked, dropped=(lost,))


def _watch(path: Path, *, job: _Job) -> WatchedVideo:
    """Read a video and write its recording, or say why there is none."""
    name = plain_name(path.stem)
    # What cannot be read is this video's fault; what cannot be written is that of all.
    try:
        digest = hash_parts(path)
        video = read_video_table(path)
        read = _read(video, job)
        watched = read.recording
        labels = pack_labels(video, watched) if job.is_labels else b""
        sheet = None
        if job.has_sheet:
            looks = read.skin or read.layout
            sheet = draw_sheet(video, watched.reading, watched.learned, looks)
    except ReadingError as error:
        return _drop(job, path, NO_PAD, str(error))
    except (ShardError, OSError, FFmpegError, ValueError, ArithmeticError, MemoryError) as error:
        return _drop(job, path, NO_VIDEO, describe_error(error) or "it needs too much memory")
    if sheet is not None:
        with write_atomically(job.out_dir / f"{name}{SHEET_SUFFIX}") as temporary:
            sheet.save(temporary, format="PNG")
        read.layout.write(job.out_dir / f"{name}{LAYOUT_SUFFIX}")
    if job.is_labels:
        with write_atomically(job.target(name)) as temporary:
            temporary.write_bytes(labels)
    else:
        write_log(job.out_dir / f"{name}{LOG_SUFFIX}", watched.log)
        place_video(path, job.out_dir / f"{name}{path.suffix.lower()}", copy=job.copy)
        watched.facts.write(job.target(name))
    return WatchedVideo(
        name=name,
        path=str(path),
        digest=digest,
        asked=job.asked,
        seconds=watched.seconds,
        kept_s=watched.kept_s,
        place=watched.place,
        dropped=watched.lost,
    )


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A video that has been read."""

    recording: WatchedRecording
    layout: OverlayLayout
    """Where its controls are."""
    skin: Skin | None
    """None if it is not known."""


def _read(video: SourceVideo, job: _Job) -> _Read:
    """Read a video.

    Raises:
        ReadingError: If the controller is not found, or could be read nowhere.
        ShardError: If it is no video, or cannot be decoded.
        OSError: If it cannot be read.
    """
    settings = job.settings
    box = settings.find_box(video)
    skin = None
    if settings.skin is not None:
        skins, _ = _open_skins(settings.skin)
        is_choice = _is_choice(settings.skin)
        skin = recognize_skin(read_moments(video), skins, box=box) if is_choice else skins[0]
    teller = _Teller(video.path.name, len(video))
    if skin is None:
        reading, layout = read_any_overlay(
            video.path, layout=settings.layout, box=box, progress=teller.count
        )
    else:
        reading = read_overlay(video.path, skin, box=box, progress=teller.count)
        place = find_longest(reading.stretches).box
        layout = place_skin(skin, place, picture=(video.width, video.height))
    reading, _ = refine(reading)
    if settings.layout is not None:
        reading = replace(reading, drawn=reading.drawn & settings.layout.controls)
    recording = make_recording(
        video,
        reading,
        name=plain_name(video.path.stem),
        settings=settings,
        looks={
            "skin": _name_look(skin) if skin else ANY_SKIN,
            "reader": READER if skin else name_reader(),
        },
        graded=list_graded(skin) if skin else frozenset(),
    )
    return _Read(recording=recording, layout=layout, skin=skin)


class _Teller:
    """Says once a minute how much of a long video has been read; several may do so at once."""

    def __init__(self, name: str, num_frames: int) -> None:
        self._name, self._num_frames, self._done = name, num_frames, 0
        self._start = self._told = time.monotonic()

    def count(self, number: int) -> None:
        """Count frames that have been read."""
        self._done += number
        now = time.monotonic()
        if now - self._told >= _SILENT_S and self._done < self._num_frames:
            self._told = now
            rest_s = (now - self._start) * (self._num_frames / self._done - 1)
            share = self._done / self._num_frames
            write_line(f"{self._name}: {share:.0%} read, eta {format_duration(rest_s)}")


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
