"""One video, by yt-dlp, which knows the sites."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from data_tools.videos.answers import is_gone
from data_tools.videos.video_list import SUFFIXES, Attempt, ListedVideo, find_video
from nitrogen_train.progress import write_line

PARTIAL_NAME = ".downloading"

_LONGEST_REASON = 300


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
            reason=f"yt-dlp has left none of {', '.join(SUFFIXES)}",
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
