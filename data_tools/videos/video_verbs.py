"""Define the verb `videos fetch`."""

import argparse
import sys
from pathlib import Path

from data_tools.command_line import CommandParser, add_verb, out_folder

_HOSTS = ("youtube.com", "youtu.be", "twitch.tv")


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add it to the command line."""
    summary = "Get videos from where they were published."
    verb = verbs.add_parser("videos", help=summary, description=summary)
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = add_verb(
        actions,
        "fetch",
        "Get the videos of a list; starts where it stopped.",
        _fetch,
        examples=[
            "videos.jsonl --out videos",
            "videos.jsonl --out videos --limit 10",
            "videos.jsonl --out videos --retry",
        ],
    )
    fetch.add_argument(
        "list", metavar="LIST", type=Path, help="JSON lines, from `labels query --videos`"
    )
    fetch.add_argument(
        "--out",
        type=out_folder,
        required=True,
        metavar="FOLDER",
        help="folder for VIDEO_ID.mp4 and so on",
    )
    fetch.add_argument("--limit", type=int, metavar="N", help="take only the first N of the list")
    fetch.add_argument("--max-height", type=int, default=1080, metavar="PX", help="of the picture")
    fetch.add_argument(
        "--rate-mb", type=float, metavar="MB", help="at most so many megabytes per second"
    )
    fetch.add_argument(
        "--pause-s", type=float, default=1.0, metavar="S", help="seconds between two videos"
    )
    fetch.add_argument(
        "--retries", type=int, default=5, metavar="N", help="of a request that fails"
    )
    fetch.add_argument(
        "--cookies", type=Path, metavar="FILE", help="file of a browser's cookies (Netscape format)"
    )
    fetch.add_argument("--retry", action="store_true", help="ask again for what was gone")
    fetch.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help=f"beside {', '.join(_HOSTS)}",
    )


def _fetch(options: argparse.Namespace) -> int:
    from data_tools.videos.fetch_videos import (
        SURVIVAL_NAME,
        DownloadSettings,
        fetch_videos,
        format_reasons,
        format_survival,
    )
    from data_tools.videos.video_list import read_list

    settings = DownloadSettings(
        max_height=options.max_height,
        bytes_per_s=None if options.rate_mb is None else round(options.rate_mb * 1e6),
        pause_s=options.pause_s,
        retries=options.retries,
        cookies_path=options.cookies,
    )
    videos = read_list(options.list, hosts=(*_HOSTS, *options.allow_host))[: options.limit]
    fetched = fetch_videos(videos, options.out, settings, is_retry=options.retry)
    print(format_survival(fetched.survivals))
    if reasons := format_reasons(videos, options.out):
        print(f"\n{reasons}\n\n{options.out / SURVIVAL_NAME} has the reason of each")
    if fetched.stop is not None:
        print(f"nitrogen-data videos: {fetched.stop}", file=sys.stderr)
    is_empty = not any(each.got for each in fetched.survivals)
    return 1 if fetched.num_failed or is_empty else 0
