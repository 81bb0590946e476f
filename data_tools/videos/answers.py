"""Reads what a site and yt-dlp say: that a video is gone, or that this machine fails.

A video is gone only where the site says so. Everything else passes, or is to be mended here:
without a JavaScript runtime yt-dlp finds no format of any video, and a site that has had enough of
a machine calls videos unavailable.
"""

import re
from collections.abc import Iterable

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
