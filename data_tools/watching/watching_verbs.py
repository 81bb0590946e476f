"""Define the verbs that read controllers from videos, and draw them on videos."""

import argparse
import re
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_verb,
    add_workers,
    game_name,
    out_folder,
    propose_shard,
)

_BITS = {"": 1, "k": 1_000, "m": 1_000_000}
_MOST_FAULTS = 20
_UNKNOWN = "unknown"
_SKIN_HELP = (
    "xbox, playstation, switch, drawn-SEED for any of our own, or the .json or .png of a preset of "
    "input-overlay"
)
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium")


def add_overlay_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `overlay` and its actions to the command line."""
    summary = "Draw a controller on recorded play, as streams show it."
    verb = verbs.add_parser("overlay", help=summary, description=summary)
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    draw = add_verb(
        actions,
        "draw",
        "Write a recording's video with a controller drawn on it by the recording's log.",
        _draw,
        examples=[
            "rec --out drawn --skin xbox",
            "rec --out drawn --skin dualsense.json --at top-left",
            "rec/a.mp4 --out drawn --skin drawn-7 --bitrate 2M",
        ],
    )
    draw.add_argument(
        "recordings",
        metavar="RECORDING",
        type=Path,
        nargs="+",
        help="folder of recordings, or the video of one",
    )
    draw.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for NAME.mp4"
    )
    draw.add_argument(
        "--skin",
        required=True,
        metavar="SKIN",
        help=_SKIN_HELP,
    )
    draw.add_argument("--width", type=int, default=260, metavar="PX", help="of the controller")
    draw.add_argument(
        "--at",
        default="bottom-right",
        metavar="PLACE",
        help="top-left, top-right, bottom-left, bottom-right, or X,Y of its left top corner",
    )
    draw.add_argument(
        "--opacity", type=float, default=0.9, metavar="SHARE", help="of the controller"
    )
    draw.add_argument(
        "--bitrate", type=_bits, default="4M", metavar="BITS", help="per second, for example 2500k"
    )
    draw.add_argument(
        "--size",
        type=_size,
        default="1280x720",
        metavar="WxH",
        help="of the video; the game's picture is stretched to it",
    )
    draw.add_argument(
        "--fps", type=float, metavar="HZ", help="of the video (default: the recording's)"
    )
    draw.add_argument(
        "--preset",
        choices=_PRESETS,
        default="veryfast",
        metavar="NAME",
        help="ultrafast, superfast, veryfast, faster, fast or medium: how hard x264 tries",
    )
    add_workers(draw)


def add_watch_verb(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `watch` to the command line."""
    verb = add_verb(
        verbs,
        "watch",
        "Make recordings of videos that show a controller.",
        _watch,
        examples=[
            "a/*.mp4 --out rec --game celeste --sheet",
            "a/*.mp4 --out rec --game celeste --skin ds4.json --sheet",
            "a.mp4 --out rec --game hades --skin xbox --box 9,9,260,170",
            "a/*.mp4 --out rec --game hades --part 3/8",
            "a.mp4 --labels lab --game hades --skin xbox --correct-lag",
        ],
    )
    verb.add_argument(
        "videos", metavar="VIDEO", type=Path, nargs="+", help=".mp4, .mkv or .webm, or a folder"
    )
    where = verb.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=out_folder, metavar="FOLDER", help="folder for the recordings")
    where.add_argument(
        "--labels",
        type=out_folder,
        metavar="FOLDER",
        help="write labels alone instead, NAME.tar.gz in the layout of NVIDIA's public ones",
    )
    verb.add_argument(
        "--game", type=game_name, required=True, metavar="NAME", help="what is played"
    )
    verb.add_argument(
        "--skin",
        metavar="SKIN",
        help=f"{_SKIN_HELP}, or a folder of presets of which it may be one; what is known is read "
        "with more certainty (default: any skin)",
    )
    place = verb.add_mutually_exclusive_group()
    place.add_argument(
        "--box", type=_box, metavar="X,Y,W,H",
        help="where the controller is, in pixels, to a fifth of its size (default: searched)",
    )  # fmt: skip
    place.add_argument(
        "--layout", type=Path, metavar="FILE",
        help="a NAME.layout.json: where the controller is, and which of its controls are read",
    )  # fmt: skip
    verb.add_argument(
        "--sheet",
        action="store_true",
        help="NAME.sheet.png, frames beside what was read, and NAME.layout.json",
    )
    verb.add_argument(
        "--correct-lag",
        action="store_true",
        help="move the log by whole rows where the controller shows inputs early or late",
    )
    verb.add_argument("--copy", action="store_true", help="copy the videos (default: link to them)")
    verb.add_argument(
        "--part", default="0/1", metavar="I/N", help="watch the I-th of N parts of the videos"
    )
    add_workers(verb)
    group = verb.add_argument_group("facts")
    group.add_argument("--session", help="one for all the videos (default: each video is one)")
    group.add_argument("--source", default="recordings", help="the collection")
    group.add_argument("--licence", default=_UNKNOWN, help="terms of the pictures")
    group.add_argument("--url", default="", help="where the video can be had")


def _box(text: str) -> tuple[int, int, int, int]:
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected X,Y,W,H in pixels, got {text!r}")
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def _watch(options: argparse.Namespace) -> int:
    from data_tools.shards.drop_report import format_length, iter_reasons
    from data_tools.shards.shard_plan import Part
    from data_tools.watching.overlay_layout import OverlayLayout
    from data_tools.watching.watch_videos import watch_videos
    from data_tools.watching.watched_recording import WatchSettings
    from nitrogen_train.runtime.progress import pluralize

    is_labels = options.labels is not None
    if is_labels and (options.copy or options.session or options.licence != _UNKNOWN):
        raise ValueError(
            "--labels writes neither videos nor facts: leave out --copy, --session and --licence"
        )
    out_dir = options.labels or options.out
    watched, report = watch_videos(
        options.videos,
        out_dir=out_dir,
        settings=WatchSettings(
            skin=options.skin,
            game=options.game,
            box=options.box,
            layout=options.layout and OverlayLayout.read(options.layout),
            corrects_lag=options.correct_lag,
            session_id=options.session,
            source=options.source,
            licence=options.licence,
            url=options.url,
        ),
        has_sheet=options.sheet,
        copy=options.copy,
        is_labels=is_labels,
        part=Part.parse(options.part),
        workers=options.workers,
    )
    for each in watched:
        print(each.describe())
    if len(watched) > 1:
        for line in iter_reasons(report.dropped):
            print(line)
    kept = sum(each.is_kept for each in watched)
    length = format_length(sum(share.kept_s for share in report.games))
    rest = f"; {pluralize(len(watched) - kept, 'video')} dropped" if kept < len(watched) else ""
    what = "tarball" if is_labels else "recording"
    print(f"{pluralize(kept, what)}, {length} to learn from, in {out_dir}{rest}")
    if kept:
        labels = f"nitrogen-data ingest nitrogen {out_dir} --videos FOLDER --out data"
        print(f"next: {labels if is_labels else propose_shard(out_dir)}")
    return 1 if report.faults else 0


def _bits(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a number such as 4M or 2500k, got {text!r}")
    return round(float(match[1]) * _BITS[match[2].lower()])


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    return int(match[1]), int(match[2])


def _draw(options: argparse.Namespace) -> int:
    from data_tools.watching.draw_overlays import OverlaySettings, draw_overlays
    from nitrogen_train.runtime.progress import pluralize
    from nitrogen_train.skins.open_skin import open_skin

    settings = OverlaySettings(
        skin=options.skin,
        width=options.width,
        at=options.at,
        opacity=options.opacity,
        bitrate=options.bitrate,
        size=options.size,
        fps=options.fps,
        preset=options.preset,
    )
    for note in open_skin(options.skin).notes:
        print(f"{options.skin}: {note}")
    drawn = draw_overlays(
        options.recordings, out_dir=options.out, settings=settings, workers=options.workers
    )
    faulty = [each for each in drawn if each.fault]
    for each in faulty[:_MOST_FAULTS]:
        print(f"{each.name}: not drawn: {each.fault}")
    if len(faulty) > _MOST_FAULTS:
        print(f"and {len(faulty) - _MOST_FAULTS} more")
    print(f"{pluralize(len(drawn) - len(faulty), 'video')} in {options.out}")
    return 1 if faulty else 0
