"""Fetch the videos of a list, one after the other, and count how many of them still exist.

yt-dlp, which knows the sites, fetches each video.
"""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from data_tools.ingest.video_list import (
    Attempt,
    ListedVideo,
    find_video,
    guess_cause,
    is_gone,
    open_ledger,
    read_attempts,
)
from data_tools.recordings.recording import VIDEO_SUFFIXES
from data_tools.shards.drop_report import Dropped, iter_reasons
from nitrogen_train.runtime.atomic_files import check_folder, write_atomically
from nitrogen_train.runtime.progress import format_table, track, write_line

PARTIAL_NAME = ".downloading"

_LONGEST_REASON = 300

SURVIVAL_NAME = "survival.json"
_STATES = ("got", "gone", "failed", "not_asked")
_MOST_FAILURES = 5
_MOST_REASONS = 10
_LONGEST_WORDS = 70


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """The settings of a download."""

    max_height: int = 1080
    """Height of the picture, in pixels; the next lower one that there is."""
    bytes_per_s: int | None = None
    """Limit of the rate; none by default."""
    pause_s: float = 1.0
    """Between two videos."""
    retries: int = 5
    """Number of times that a failed request is tried again."""
    cookies_path: Path | None = None
    """Cookies of a browser, in Netscape's format."""

    def __post_init__(self) -> None:
        checks = {
            f"--max-height must be at least 64, got {self.max_height}": self.max_height >= 64,
            f"--rate-mb must be above 0, got {self.bytes_per_s} bytes per second": (
                self.bytes_per_s is None or self.bytes_per_s > 0
            ),
            f"--pause-s must be at least 0, got {self.pause_s}": self.pause_s >= 0,
            f"--retries must be at least 0, got {self.retries}": self.retries >= 0,
        }
        for rule, is_met in checks.items():
            if not is_met:
                raise ValueError(rule)
        if self.cookies_path is not None and not self.cookies_path.is_file():
            raise FileNotFoundError(f"{self.cookies_path} is no file of cookies")


def check_downloader() -> None:
    """Make sure that yt-dlp is there.

    Raises:
        RuntimeError: If it is not installed.
    """
    try:
        import yt_dlp  # noqa: F401 - an extra
    except ImportError as error:
        raise RuntimeError(
            'getting videos takes yt-dlp; install it with: pip install "nitrogen-train[videos]"'
        ) from error


class DownloaderLog:
    """Shows the downloader's warnings, each of them once; errors come as exceptions."""

    def __init__(self) -> None:
        """Begin without any."""
        self.warnings: list[str] = []
        self._shown: set[str] = set()

    def warning(self, message: str) -> None:
        """Show it, unless it has been shown of another video."""
        text = _clean(message)
        self.warnings.append(text)
        # Behind the site's name stands the id of the video.
        kind = re.sub(r"^(\[[^]]*\]) [^ :]+:", r"\1", text)
        if kind not in self._shown:
            self._shown.add(kind)
            write_line(f"yt-dlp warns: {text}")

    def debug(self, message: str) -> None:
        """Drop it."""

    def info(self, message: str) -> None:
        """Drop it."""

    def error(self, message: str) -> None:
        """Drop it."""


def download(
    video: ListedVideo, folder: Path, settings: DownloadSettings, log: DownloaderLog
) -> Attempt:
    """Get a video's pictures, or go on with what an earlier attempt has got of it.

    Args:
        video: What to get.
        folder: Where it goes, under its id, once it is whole.
        settings: How to ask.
        log: Takes the downloader's warnings.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    options = _options(video, folder, settings) | {"logger": log}
    try:
        with YoutubeDL(cast("Any", options)) as downloader:
            downloader.download([video.url])
    except YoutubeDLError as error:
        message = _clean(str(error)).removeprefix("ERROR: ")
        return Attempt(
            video_id=video.video_id,
            status="gone" if is_gone(message) else "failed",
            reason=message[:_LONGEST_REASON],
        )
    if find_video(folder, video.video_id) is None:
        return Attempt(
            video_id=video.video_id,
            status="failed",
            reason=f"yt-dlp has left none of {', '.join(VIDEO_SUFFIXES)}",
        )
    return Attempt(video_id=video.video_id, status="got")


def _clean(message: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())


def _options(video: ListedVideo, folder: Path, settings: DownloadSettings) -> dict[str, Any]:
    # Unknown heights and rates pass. Below the labels' rate frames do not match rows: such a copy
    # is taken only if there is no other, and refused when clips are cut.
    pictures = [
        f"bv*[height<=?{settings.max_height}][fps>=?{video.fps * 0.9:.0f}]",
        f"b[height<=?{settings.max_height}]",
    ]
    return {
        "format": "/".join(pictures),
        "outtmpl": {"default": f"{video.video_id}.%(ext)s"},
        "paths": {"home": str(folder), "temp": str(folder / PARTIAL_NAME)},
        "continuedl": True,
        "retries": settings.retries,
        "fragment_retries": settings.retries,
        "extractor_retries": settings.retries,
        "skip_unavailable_fragments": False,
        "ratelimit": settings.bytes_per_s,
        "cookiefile": None if settings.cookies_path is None else str(settings.cookies_path),
        "socket_timeout": 30,
        "noplaylist": True,
        "playlist_items": "1",
        "updatetime": False,
        "cachedir": False,
        "quiet": True,
        "noprogress": True,
    }


@dataclass(frozen=True, kw_only=True)
class Survival:
    """The numbers of a game's videos that a site still has, and of those it has not."""

    source: str
    game: str
    got: int
    gone: int
    failed: int
    not_asked: int
    hours_got: float
    """Labelled time of the videos that are here."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The outcome of fetching a list."""

    survivals: list[Survival]
    stop: str | None
    """Reason why the rest was not asked for."""
    num_failed: int
    """Number of the requested videos that failed."""


def fetch_videos(
    videos: Sequence[ListedVideo],
    folder: Path,
    settings: DownloadSettings,
    *,
    is_retry: bool = False,
) -> Fetched:
    """Get videos that are not here yet, until many in a row fail.

    What is gone is not asked for again; what failed is, after those that were never asked for.

    Args:
        videos: From a list.
        folder: Where they go.
        settings: How to ask.
        is_retry: Whether to ask for those that were gone, too.

    Raises:
        RuntimeError: If yt-dlp is missing.
    """
    check_downloader()
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    todo = _choose(videos, folder, is_retry=is_retry)
    log, stop, ledger = DownloaderLog(), None, open_ledger(folder)
    failures = num_failed = 0
    for number, video in enumerate(track(todo, label="fetch", unit="video", total=len(todo))):
        if number:
            time.sleep(settings.pause_s)
        log.warnings.clear()
        attempt = download(video, folder, settings, log)
        ledger.add(attempt)
        num_failed += attempt.status == "failed"
        failures = failures + 1 if attempt.status == "failed" else 0
        if failures == _MOST_FAILURES:
            advice = guess_cause([attempt.reason, *log.warnings])
            stop = (
                f"{failures} videos in a row failed, the last with: {attempt.reason}; {advice}; "
                "then start again"
            )
            break
    return Fetched(
        survivals=write_survival(videos, folder),
        stop=stop,
        num_failed=num_failed,
    )


def _choose(videos: Sequence[ListedVideo], folder: Path, *, is_retry: bool) -> list[ListedVideo]:
    attempts = read_attempts(folder)

    def is_open(video: ListedVideo) -> bool:
        attempt = attempts.get(video.video_id)
        return is_retry or attempt is None or attempt.status != "gone"

    todo = [video for video in videos if is_open(video) and not find_video(folder, video.video_id)]
    # Those that always fail would else stop every start before the others.
    return sorted(todo, key=lambda video: video.video_id in attempts)


def write_survival(videos: Sequence[ListedVideo], folder: Path) -> list[Survival]:
    """Count what became of a list's videos, and write it beside them with the reasons."""
    attempts = read_attempts(folder)
    states = {video.video_id: _state(video, folder, attempts) for video in videos}
    groups: dict[tuple[str, str], list[ListedVideo]] = {}
    for video in videos:
        groups.setdefault((video.source, video.game), []).append(video)
    survivals: list[Survival] = []
    for (source, game), members in sorted(groups.items()):
        counts = Counter(states[video.video_id] for video in members)
        survivals.append(
            Survival(
                source=source,
                game=game,
                **{state: counts[state] for state in _STATES},
                hours_got=round(
                    math.fsum(v.hours for v in members if states[v.video_id] == "got"), 4
                ),
            )
        )
    reasons = {
        video.video_id: attempts[video.video_id].reason
        for video in videos
        if states[video.video_id] in ("gone", "failed")
    }
    with write_atomically(folder / SURVIVAL_NAME) as path:
        values = {"survival": [asdict(each) for each in survivals], "reasons": reasons}
        path.write_text(json.dumps(values, indent=1) + "\n")
    return survivals


def format_survival(survivals: Sequence[Survival]) -> str:
    """Lay survival out as a table, with a last line for all."""
    rows: list[tuple[str, ...]] = [
        (
            f"{each.game[:40]} ({each.source})",
            *(str(getattr(each, state)) for state in _STATES),
            f"{each.hours_got:.2f}",
        )
        for each in survivals
    ]
    totals = [str(sum(getattr(each, state) for each in survivals)) for state in _STATES]
    rows.append(("all", *totals, f"{sum(each.hours_got for each in survivals):.2f}"))
    header = ("game (source)", "here", "gone", "failed", "not asked", "labelled hours here")
    return format_table(header, rows)


def format_reasons(videos: Sequence[ListedVideo], folder: Path) -> str:
    """Lay out why videos of a list are not here, the commonest reason first; empty if all are."""
    attempts = read_attempts(folder)
    dropped: list[Dropped] = []
    for video in videos:
        if (state := _state(video, folder, attempts)) in ("gone", "failed"):
            # Before the words stand the site and the video's id.
            words = re.sub(r"^\[[^]]*\] [^ :]+: ", "", attempts[video.video_id].reason)
            reason = f"{state}: {words[:_LONGEST_WORDS]}"
            dropped.append(
                Dropped(name=video.video_id, seconds=3600 * video.hours, reason=reason, detail="")
            )
    lines = list(iter_reasons(dropped))
    rest = len(lines) - _MOST_REASONS
    return "\n".join([*lines[:_MOST_REASONS], *([f"and {rest} more reasons"] if rest > 0 else [])])


def _state(video: ListedVideo, folder: Path, attempts: dict[str, Attempt]) -> str:
    if find_video(folder, video.video_id) is not None:
        return "got"
    attempt = attempts.get(video.video_id)
    # One that was got and has been taken away.
    return "not_asked" if attempt is None or attempt.status == "got" else attempt.status
