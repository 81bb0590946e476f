"""Make recordings of videos and their logs, one video after the other.

    videos, logs ─► the log of each video ─► convert ─► files of the recording ─► a line per video

What is there already is kept: a recording's facts and notes say so, which may be moved with it, and
no ledger does. A video that cannot be used is dropped with a reason, and stops no other.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_tools.ingest.recording.clock_fit import UnknownClockError
from data_tools.ingest.recording.convert import (
    ClockSettings,
    Converted,
    Description,
    IngestOutcome,
    LogSettings,
    convert_log,
)
from data_tools.names import FileNames, has_suffix, is_hidden, plain_name
from data_tools.recordings.input_log import InputLog
from data_tools.recordings.recording import (
    FACTS_SUFFIX,
    LOG_SUFFIXES,
    VIDEO_SUFFIXES,
    check_game_name,
)
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import (
    check_folder,
    describe_error,
    hash_file,
    write_atomically,
)
from nitrogen_train.runtime.ledger import name_changes

_NOTES_SUFFIX = ".ingest.json"
_OPTIONS = {
    "stick_y_axis": "--stick-y",
    "labels": "--button-labels",
    "video_start_s": "--video-start",
    "is_measured": "--estimate-offset",
    "keeps_unknown": "--keep-unknown",
    "session_id": "--session",
}
"""Options of the fields that have another name."""
_LOG_SUFFIXES = (*LOG_SUFFIXES, ".parquet", ".csv", ".jsonl")


def write_log(path: Path, log: InputLog) -> None:
    """Write a log as parquet: a row per change, and an empty one where it ends."""
    every = [track.times_ns for track in log.tracks.values()]
    times_ns = np.unique(np.concatenate([*every, [log.first_ns, log.last_ns]]))
    columns: dict[str, pa.Array] = {}
    for name in sorted(log.tracks):
        track = log.tracks[name]
        values = np.zeros(len(times_ns))
        unsaid = np.ones(len(times_ns), dtype=bool)
        places = np.searchsorted(times_ns, track.times_ns)
        values[places], unsaid[places] = track.values, False
        columns[name] = pa.array(values, mask=unsaid)
    controls = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    with write_atomically(path) as temporary:
        pq.write_table(pa.table({"t_ns": times_ns, "controls": controls}), temporary)


def place_video(source: Path, target: Path, *, copy: bool) -> None:
    """Copy a video, or link to it: a second name of the file, or where that cannot be a symlink.

    Raises:
        OSError: If there is no room, or no permission.
    """
    with write_atomically(target) as temporary:
        temporary.unlink(missing_ok=True)
        if copy:
            shutil.copyfile(source, temporary)
            return
        try:
            # Of a symlink, the file: a second name of the link would point elsewhere from here.
            os.link(source.resolve(), temporary)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            temporary.symlink_to(source.resolve())


def ingest_recordings(
    videos: Sequence[Path],
    *,
    logs: Sequence[Path],
    out_dir: Path,
    log_settings: LogSettings,
    clock_settings: ClockSettings,
    description: Description,
    copy: bool,
) -> list[IngestOutcome]:
    """Make a recording of each video and its log; those that are made already are kept.

    Args:
        videos: `.mp4`, `.mkv` or `.webm`, of different names.
        logs: One for each video; if empty, the files of the videos' names beside them.
        out_dir: Where the recordings go.
        log_settings: How the logs are read.
        clock_settings: How their times become those of the videos.
        description: What becomes of the facts.
        copy: Copy the videos; else they are linked to.

    Returns:
        What became of each; a fault of one does not stop the others.

    Raises:
        ValueError: If the videos and logs do not pair, or a setting is out of range.
        ShardError: If recordings in `out_dir` name the game in another way.
        OSError: If a recording cannot be written.
    """
    if logs and len(logs) != len(videos):
        raise ValueError(f"got {len(logs)} logs for {len(videos)} videos; give one for each")
    if log_settings.labels and log_settings.columns:
        raise ValueError("--columns names the controls: leave out --button-labels")
    if not 0 <= log_settings.dead_zone < 1:
        raise ValueError(f"dead-zone is a radius in [0, 1), got {log_settings.dead_zone}")
    check_folder(out_dir)
    check_game_name(description.game, out_dir)
    job = _Job(
        out_dir=out_dir,
        log=log_settings,
        clock=clock_settings,
        description=description,
        copy=copy,
    )
    pairs = zip(videos, logs or [None] * len(videos), strict=True)
    first: dict[str, Path] = {}
    return [
        _try_one(job, video, log, twin=first.setdefault(plain_name(video.stem), video))
        for video, log in pairs
    ]


@dataclass(frozen=True, kw_only=True)
class _Job:
    out_dir: Path
    log: LogSettings
    clock: ClockSettings
    description: Description
    copy: bool


def _try_one(job: _Job, video: Path, log: Path | None, *, twin: Path) -> IngestOutcome:
    # What cannot be read is this video's fault; what cannot be written is that of all.
    try:
        if twin is not video:
            raise ShardError(f"{twin} has its name; rename one of them, or use another --out")
        check_video(video)
        found = _read_one(job, video, log or _find_log(video))
    except (ShardError, UnknownClockError, OSError) as error:
        return IngestOutcome(video=video, dropped=describe_error(error))
    return found if isinstance(found, IngestOutcome) else _write_one(job, video, *found)


def _read_one(job: _Job, video_path: Path, log_path: Path) -> IngestOutcome | tuple[Converted, str]:
    """Read a video and its log to a recording and a digest of all that it depends on.

    Returns:
        What came of it, if it is there already.

    Raises:
        UnknownClockError: As `convert_log`.
        ShardError: As `convert_log`, or if another recording is there.
        OSError: If a file cannot be read.
    """
    name = plain_name(video_path.stem)
    notes_path = job.out_dir / f"{name}{_NOTES_SUFFIX}"
    facts_path = job.out_dir / f"{name}{FACTS_SUFFIX}"
    digest = _digest(job, video_path, log_path)
    if facts_path.exists():
        return _read_notes(notes_path, facts_path, digest, video_path, _settings(job))
    converted = convert_log(
        video_path,
        log_path,
        name=name,
        log_settings=job.log,
        clock_settings=job.clock,
        description=job.description,
    )
    return converted, digest


def check_video(path: Path) -> None:
    """Refuse what is no video by its name, with what to do about it.

    Raises:
        FileNotFoundError: If it is not there.
        ShardError: If it is something else.
    """
    if path.is_dir():
        raise ShardError(f"{path} is a folder; name its videos, such as {path}/*.mp4")
    if not path.exists():
        is_pattern = any(letter in path.name for letter in "*?[")
        raise FileNotFoundError(
            f"{path}: {'nothing matches it, or it is in quotes' if is_pattern else 'no such file'}"
        )
    if is_hidden(path):
        raise ShardError(f"{path} is a hidden file, which `shard` passes over; rename it")
    if has_suffix(path, _LOG_SUFFIXES):
        raise ShardError(
            f"{path} is a log, expected a video; name the video (`ingest recording` has --log "
            "for the log)"
        )
    if not has_suffix(path, VIDEO_SUFFIXES):
        raise ShardError(
            f"{path} is not of {', '.join(VIDEO_SUFFIXES)}; ffmpeg -i IN -c copy OUT.mkv puts it "
            "into another container without loss"
        )


def _write_one(job: _Job, video_path: Path, converted: Converted, digest: str) -> IngestOutcome:
    name = plain_name(video_path.stem)
    write_log(job.out_dir / f"{name}.inputs.parquet", converted.log)
    target = job.out_dir / f"{name}{video_path.suffix.lower()}"
    place_video(video_path, target, copy=job.copy)
    with write_atomically(job.out_dir / f"{name}{_NOTES_SUFFIX}") as temporary:
        notes = asdict(converted.outcome) | {"video": str(video_path), "digest": digest}
        notes["settings"] = _settings(job)
        temporary.write_text(json.dumps(notes, indent=1) + "\n")
    # Last: where there are facts, everything is there.
    converted.facts.write(job.out_dir / f"{name}{FACTS_SUFFIX}")
    return converted.outcome


def _find_log(video: Path) -> Path:
    beside = FileNames(path for path in video.parent.iterdir() if path.is_file())
    found = beside.find(video.stem, _LOG_SUFFIXES)
    if not found:
        raise FileNotFoundError(
            f"{video} has no log beside it ({', '.join(_LOG_SUFFIXES)}); name it with --log"
        )
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ShardError(f"{video} has {names} beside it; choose one with --log")
    return found[0]


def _read_notes(
    notes_path: Path, facts_path: Path, digest: str, video_path: Path, settings: dict[str, Any]
) -> IngestOutcome:
    notes: dict[str, Any] = json.loads(notes_path.read_bytes()) if notes_path.exists() else {}
    before: dict[str, Any] = notes.pop("settings", {})
    if notes.pop("digest", None) != digest:
        options = {_OPTIONS.get(name, name): value for name, value in settings.items()}
        made = {_OPTIONS.get(name, name): value for name, value in before.items()}
        how = name_changes(made, options) or "is of another video or log"
        raise ShardError(f"{facts_path} {how}; choose another --out, or remove it")
    ignored, said = tuple(notes.pop("ignored")), tuple(notes.pop("notes"))
    return IngestOutcome(**notes | {"video": video_path, "ignored": ignored, "notes": said})


def _settings(job: _Job) -> dict[str, Any]:
    """Collect what was asked, by the fields' names, as JSON has it."""
    log = asdict(job.log)
    settings = log.pop("conventions") | log | asdict(job.clock) | asdict(job.description)
    return cast("dict[str, Any]", json.loads(json.dumps(settings)))


def _digest(job: _Job, video_path: Path, log_path: Path) -> str:
    settings = [asdict(part) for part in (job.log, job.clock, job.description)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in (video_path, log_path):
        digest.update(hash_file(path))
    return digest.hexdigest()
