"""One video, by yt-dlp, which knows the sites."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_tools.videos.video_list import Attempt, ListedVideo, find_video

PARTIAL_NAME = ".downloading"

# First what passes: some sites say "unavailable" to who asks too often.
_PASSES = re.compile(
    r"try again later|not a bot|rate.?limit|too many requests|HTTP Error (403|408|429|5\d\d)|"
    r"timed out|sign in to confirm|cookies",
    re.IGNORECASE,
)
_IS_GONE = re.compile(
    r"unavailable|private|removed|terminated|suspended|does not exist|not available|deleted|"
    r"no longer|copyright|HTTP Error (404|410|451)|unsupported url|members-only",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """How to ask."""

    max_height: int = 1080
    """Of the picture, in pixels; the next lower one that there is."""
    bytes_per_s: int | None = None
    """Limit of the rate; none by default."""
    pause_s: float = 1.0
    """Between two videos."""
    retries: int = 5
    """Of a request that fails."""
    cookies_path: Path | None = None
    """Cookies of a browser, in Netscape's format."""

    def __post_init__(self) -> None:
        checks = {
            "max-height must be at least 64": self.max_height >= 64,
            "the rate must be above 0": self.bytes_per_s is None or self.bytes_per_s > 0,
            "pause-s must be at least 0": self.pause_s >= 0,
            "retries must be at least 0": self.retries >= 0,
        }
        for rule, is_met in checks.items():
            if not is_met:
                raise ValueError(f"{rule}, got {self}")
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


def download(video: ListedVideo, folder: Path, settings: DownloadSettings) -> Attempt:
    """Get a video's pictures, or go on with what an earlier attempt has got of it.

    Args:
        video: What to get.
        folder: Where it goes, under its id, once it is whole.
        settings: How to ask.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    try:
        with YoutubeDL(cast("Any", _options(video, folder, settings))) as downloader:
            downloader.download([video.url])
    except YoutubeDLError as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
        reason = " ".join(text.split())[:200]
        is_gone = _IS_GONE.search(reason) and not _PASSES.search(reason)
        return Attempt(
            video_id=video.video_id, status="gone" if is_gone else "failed", reason=reason
        )
    if find_video(folder, video.video_id) is None:
        return Attempt(
            video_id=video.video_id, status="gone", reason="it comes in none of mp4, mkv and webm"
        )
    return Attempt(video_id=video.video_id, status="got")


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
        "no_warnings": True,
        "logger": _Silent(),
    }


class _Silent:
    """Errors come as exceptions; the rest is not for reports."""

    def debug(self, message: str) -> None:
        """Drop it."""

    def info(self, message: str) -> None:
        """Drop it."""

    def warning(self, message: str) -> None:
        """Drop it."""

    def error(self, message: str) -> None:
        """Drop it."""
