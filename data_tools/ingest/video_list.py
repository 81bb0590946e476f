"""Read lists of videos to fetch, and keep what became of each.

A list has a JSON object per line, as `labels query --videos` writes it. Beside the videos lies
`fetch.jsonl`, to which a line is added for each video that was asked for; the last one counts.

The module also reads what a site and yt-dlp say: that a video is gone, or that this machine fails.
A video is gone only where the site says so. Everything else passes with time, or has to be mended
here: without a JavaScript runtime yt-dlp finds no format of any video, and a site that limits a
machine calls videos unavailable.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from data_tools.recordings.recording import VIDEO_SUFFIXES
from nitrogen_train.data.schema import ShardError, parse_json_object
from nitrogen_train.runtime.ledger import Ledger

_IS_GONE = re.compile(
    r"\bprivate video\b|\bvideo is private\b|"
    r"\bvideo has been (removed|deleted)\b|\bremoved by the (uploader|user)\b|"
    r"\bno longer available (because|due to)\b|"
    r"\bthis (video|clip) is no longer available *($|\.)|"
    r"\bthis video isn.t available any ?more\b|\bchannel has been terminated\b|"
    r"\bremoved because it (is|was) too long\b|"
    r"\baccount (associated with this video )?has been (terminated|closed|suspended)\b|"
    # "… blocked it in your country on copyright grounds": elsewhere it is there.
    r"\bhas blocked it on copyright grounds\b|"
    r"\b(video|clip)( \S+)? does not exist\b|"
    r"\bunable to download webpage: HTTP Error (404|410)\b",
    re.IGNORECASE,
)
_CAUSES = (
    (
        r"No space left|Errno 28|disk quota|Errno 122",
        "the disk is full: free some space",
    ),
    (
        r"ffmpeg (is not installed|not found)|ffprobe",
        "yt-dlp needs ffmpeg for them: install it, for example apt-get install ffmpeg",
    ),
    (
        r"failed to resolve|name resolution|name or service not known|getaddrinfo|unreachable|"
        r"connection refused|timed out|proxy",
        "this machine does not reach the site: look at its network, DNS and proxy",
    ),
    (
        r"rate.?limit|too many requests|HTTP Error 429|try again later",
        "the site has had enough of this machine: wait an hour, then give a longer --pause-s",
    ),
    (
        r"not a bot|sign in|log.?in|cookies|captcha",
        "the site wants to know who asks: give a browser's cookies with --cookies",
    ),
    (
        r"JavaScript runtime|challenge|requested format is not available|only images",
        "most likely yt-dlp has no JavaScript runtime, which YouTube needs: "
        "pip install -U 'yt-dlp[default,deno]'",
    ),
    (
        r"HTTP Error 403|needs to be reloaded|unable to extract|outdated|older than",
        "most likely yt-dlp is older than the site: pip install -U 'yt-dlp[default,deno]'",
    ),
    (r"your country|your location|geo.?restrict", "the site does not show them in this country"),
)

VIDEO_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")

Status = Literal["got", "gone", "failed"]
"""Here; gone, as the site says, and not asked for again; failed this time."""


def is_gone(message: str) -> bool:
    """Tell whether a site has said that a video is gone for good."""
    return _IS_GONE.search(message) is not None


def guess_cause(messages: Iterable[str]) -> str:
    """Say what most likely makes one video after the other fail, and what to do.

    Args:
        messages: The last error, then the downloader's warnings.
    """
    for message in messages:
        for pattern, advice in _CAUSES:
            if re.search(pattern, message, re.IGNORECASE):
                return advice
    return "wait, or give a browser's cookies with --cookies"


@dataclass(frozen=True, kw_only=True)
class ListedVideo:
    """A line of a list."""

    video_id: str
    url: str
    source: str = "unknown"
    game: str = "other"
    fps: float = 30.0
    """Frame rate of the video's labels: a copy at a lower rate is of no use."""
    hours: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The outcome of one attempt to fetch a video."""

    video_id: str
    status: Status
    reason: str = ""


def read_list(path: Path, *, hosts: tuple[str, ...]) -> list[ListedVideo]:
    """Read a list that may hold a stranger's ids and URLs.

    Args:
        path: JSON lines.
        hosts: Where a URL may lead, subdomains included.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no video, its URL leads elsewhere, or a video comes twice.
    """
    videos: dict[str, ListedVideo] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                video = _parse(parse_json_object(line, "a video"), hosts)
            except ShardError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            if video.video_id in videos:
                raise ValueError(f"{path}, line {number}: {video.video_id} comes twice")
            videos[video.video_id] = video
    return list(videos.values())


def _parse(values: dict[str, object], hosts: tuple[str, ...]) -> ListedVideo:
    known = {item.name: item.type for item in fields(ListedVideo)}
    kept: dict[str, Any] = {}
    for name, kind in known.items():
        value = values.get(name)
        if value is None and name not in ("video_id", "url"):
            continue
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ShardError(f"{name} must be {cast('type', kind).__name__}, got {value!r:.60}")
        kept[name] = value
    video = ListedVideo(**kept)
    if not VIDEO_ID.fullmatch(video.video_id):
        raise ShardError(f"video_id must be 1 to 64 of [A-Za-z0-9_.-], got {video.video_id!r:.80}")
    check_url(video.url, hosts)
    return video


def check_url(url: str, hosts: tuple[str, ...]) -> None:
    """Refuse what a stranger's list could reach with this machine's rights.

    Raises:
        ShardError: If the URL is not of one of the hosts, by HTTP.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise ShardError(f"{url!r:.120} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not any(
        host == known or host.endswith(f".{known}") for known in hosts
    ):
        raise ShardError(
            f"{url!r:.120} does not lead to {', '.join(hosts)}; name another host with --allow-host"
        )


def find_video(folder: Path, video_id: str) -> Path | None:
    """Find a finished video."""
    paths = [folder / f"{video_id}{suffix}" for suffix in VIDEO_SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def open_ledger(folder: Path) -> Ledger[Attempt]:
    """Open the ledger of what became of each video that was asked for."""
    return Ledger(folder / "fetch.jsonl", Attempt)


def read_attempts(folder: Path) -> dict[str, Attempt]:
    """Read the last attempt of each video.

    What an earlier version has called gone for another reason than the site's word has only failed.
    """
    return {
        attempt.video_id: replace(attempt, status="failed")
        if attempt.status == "gone" and not is_gone(attempt.reason)
        else attempt
        for attempt in open_ledger(folder)
        if attempt.status in get_args(Status)
    }
