"""The videos of a list, one after the other, and how many of them still exist."""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_tools.videos.answers import guess_cause
from data_tools.videos.download import DownloaderLog, DownloadSettings, check_downloader, download
from data_tools.videos.video_list import (
    Attempt,
    ListedVideo,
    add_attempt,
    find_video,
    read_attempts,
)
from nitrogen_train.data.files import check_folder, write_atomically
from nitrogen_train.progress import track
from nitrogen_train.table import format_table

SURVIVAL_NAME = "survival.json"
_MOST_FAILURES = 5
_MOST_REASONS = 10
_LONGEST_WORDS = 70


@dataclass(frozen=True, kw_only=True)
class Survival:
    """What became of a game's videos at a site."""

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
    """What came of a list."""

    survivals: list[Survival]
    stop: str | None
    """Why the rest was not asked for."""
    num_failed: int
    """Of those asked for."""


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
    log, stop = DownloaderLog(), None
    failures = num_failed = 0
    for number, video in enumerate(track(todo, label="fetch", unit="video", total=len(todo))):
        if number:
            time.sleep(settings.pause_s)
        log.warnings.clear()
        attempt = download(video, folder, settings, log)
        add_attempt(folder, attempt)
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
                got=counts["got"],
                gone=counts["gone"],
                failed=counts["failed"],
                not_asked=counts["not asked"],
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
            str(each.got),
            str(each.gone),
            str(each.failed),
            str(each.not_asked),
            f"{each.hours_got:.2f}",
        )
        for each in survivals
    ]
    names = ("got", "gone", "failed", "not_asked")
    totals = [str(sum(getattr(each, name) for each in survivals)) for name in names]
    rows.append(("all", *totals, f"{sum(each.hours_got for each in survivals):.2f}"))
    header = ("game (source)", "here", "gone", "failed", "not asked", "labelled hours here")
    return format_table(header, rows)


def format_reasons(videos: Sequence[ListedVideo], folder: Path) -> str:
    """Lay out why videos of a list are not here, the commonest reason first; empty if all are."""
    attempts = read_attempts(folder)
    reasons: dict[tuple[str, str], list[str]] = {}
    for video in videos:
        if (state := _state(video, folder, attempts)) in ("gone", "failed"):
            # Before the words stand the site and the video's id.
            words = re.sub(r"^\[[^]]*\] [^ :]+: ", "", attempts[video.video_id].reason)
            reasons.setdefault((state, words[:_LONGEST_WORDS]), []).append(video.video_id)
    if not reasons:
        return ""
    rows = [
        (f"{state}: {words}", str(len(ids)), ids[0])
        for (state, words), ids in sorted(reasons.items(), key=lambda item: -len(item[1]))
    ]
    shown, rest = rows[:_MOST_REASONS], len(rows) - _MOST_REASONS
    more = f"\nand {rest} more reasons" if rest > 0 else ""
    return format_table(("not here because", "videos", "for example"), shown) + more


def _state(video: ListedVideo, folder: Path, attempts: dict[str, Attempt]) -> str:
    if find_video(folder, video.video_id) is not None:
        return "got"
    attempt = attempts.get(video.video_id)
    # One that was got and has been taken away.
    return "not asked" if attempt is None or attempt.status == "got" else attempt.status
