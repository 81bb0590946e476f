"""Define the verbs that make, change and export data sets."""

import argparse
import shlex
import sys
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_filling,
    add_shard_settings,
    add_verb,
    add_workers,
    describe_dataset,
    game_name,
    out_folder,
    read_shard_settings,
    report_dataset,
)
from data_tools.shards.filter_settings import SWITCHABLE, FilterSettings
from nitrogen_train.runtime.atomic_files import check_folder, describe_error

_NUMBERS = {
    "min_active": "idle: share of the rows that must not be idle",
    "dead_zone": "idle: of an axis",
    "corner_share": "corner: share of the rows with a stick in one corner",
    "black_level": "black: brightness of the brightest part of a black picture, of 255",
    "black_share": "black: share of the pictures",
    "frozen_share": "frozen: share of the time with input in which nothing moves",
    "constant_share": "menu: share of the picture that never changes while another part does",
    "same_level": "copy: largest difference in brightness of any part, of 255",
    "sample_hz": "pictures that are looked at, per second",
}
_HOSTS = ("youtube.com", "youtu.be", "twitch.tv")


def add_shard_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `shard` and `merge` to the command line."""
    verb = add_verb(
        verbs,
        "shard",
        "Make a data set of recordings; starts where it stopped.",
        _shard,
        examples=[
            "rec --out data",
            "rec/doom_gather rec/doom_defend --out data --size 192",
            "rec --out data --part 3/8",
        ],
    )
    verb.add_argument(
        "recordings",
        metavar="FOLDER",
        type=Path,
        nargs="+",
        help="with recordings of `record`, `record-screen`, `ingest recording` or `watch`",
    )
    add_shard_settings(verb)
    add_filling(verb)
    merge = add_verb(
        verbs,
        "merge",
        "Join the parts of a data set that several processes wrote.",
        _merge,
        examples=["data"],
    )
    merge.add_argument("dataset", metavar="DATASET", type=Path, help="folder with all parts")


def _shard(options: argparse.Namespace) -> int:
    from data_tools.shards.shard_plan import Part
    from data_tools.shards.shard_recordings import shard_recordings

    part = Part.parse(options.part)
    report = shard_recordings(
        options.recordings,
        out_dir=options.out,
        settings=read_shard_settings(options),
        part=part,
        workers=options.workers,
    )
    return report_dataset(options.out, part, report)


def _merge(options: argparse.Namespace) -> int:
    from data_tools.shards.shard_plan import ALL
    from data_tools.shards.shard_writer import join_parts

    report = join_parts(options.dataset)
    return report_dataset(options.dataset, ALL, report)


def add_filter_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `filter` to the command line."""
    verb = add_verb(
        verbs,
        "filter",
        "Make a data set of the clips that are worth learning from.",
        _filter,
        examples=["data --dry-run", "data --out good", "data --out good --off menu,copy"],
    )
    verb.add_argument("dataset", metavar="DATASET", help="folder or URL with a manifest")
    verb.add_argument(
        "--out", type=out_folder, metavar="FOLDER", help="folder for the new data set"
    )
    verb.add_argument("--dry-run", action="store_true", help="only say what would be kept")
    verb.add_argument(
        "--off", action="extend", nargs="+", choices=SWITCHABLE, default=[], metavar="RULE",
        help=f"rules that are not asked, of {', '.join(SWITCHABLE)}; with spaces or commas between",
    )  # fmt: skip
    for name, text in _NUMBERS.items():
        default = getattr(FilterSettings, name)
        verb.add_argument(
            f"--{name.replace('_', '-')}", type=float, default=default, metavar="X", help=text
        )
    verb.add_argument(
        "--idle-window",
        type=float,
        metavar="SECONDS",
        help="idle: ask in stretches of this length, of which half must pass "
        "(default: the whole clip)",
    )
    verb.add_argument(
        "--clips-per-shard", type=int, default=64, metavar="N", help="clips in one tar"
    )
    verb.add_argument(
        "--part", default="0/1", metavar="I/N",
        help="filter the I-th of N parts of the shards (from 0); then `merge`",
    )  # fmt: skip
    add_workers(verb)


def _filter(options: argparse.Namespace) -> int:
    from data_tools.shards.drop_report import format_faults
    from data_tools.shards.filter_clips import filter_dataset, format_rules
    from data_tools.shards.shard_plan import Part
    from nitrogen_train.data.dataset import Dataset

    if options.dry_run == (options.out is not None):
        raise ValueError("give either --out FOLDER or --dry-run")
    if options.out is not None and options.out.resolve() == Path(options.dataset).resolve():
        raise ValueError(f"--out {options.out} is the data set itself: name another folder")
    settings = FilterSettings(
        off=tuple(sorted(set(options.off))),
        idle_window_s=options.idle_window,
        **{name: getattr(options, name) for name in _NUMBERS},
    )
    part = Part.parse(options.part)
    report = filter_dataset(
        Dataset(options.dataset),
        out_dir=options.out,
        settings=settings,
        clips_per_shard=options.clips_per_shard,
        part=part,
        workers=options.workers,
    )
    print(format_rules(report, settings.on))
    if report.faults:
        print(format_faults(report.faults))
    if options.out is not None:
        print(describe_dataset(options.out, part))
    return 1 if report.faults else 0


def add_index_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `index` to the command line."""
    verb = add_verb(
        verbs,
        "index",
        "Write a manifest for foreign shards, which stay as they are.",
        _index,
        examples=[
            "tars --game celeste",
            "tars --game celeste --session-from-key '^(run[0-9]+)'",
            "s3://bucket/tars --game celeste --out manifests",
        ],
    )
    verb.add_argument("shards", metavar="FOLDER_OR_URL", nargs="+", help="with .tar files")
    verb.add_argument("--game", required=True, type=game_name, help="that they show, lower case")
    verb.add_argument("--source", help="name of the collection (default: the folder's)")
    verb.add_argument("--licence", default="unknown", help="of the clips")
    verb.add_argument(
        "--session-from-key",
        metavar="REGEX",
        help="its first group, found in a record's key, is its session (default: a tar is one)",
    )
    verb.add_argument(
        "--fps", type=float, metavar="HZ", help="of pictures, and of videos that have none"
    )
    verb.add_argument(
        "--val-share",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="share of the sessions for validation",
    )
    verb.add_argument(
        "--out",
        type=out_folder,
        metavar="FOLDER",
        help="where a URL's manifest goes (default: the folder with the tars)",
    )


def _index(options: argparse.Namespace) -> int:
    from data_tools.ingest.tar_index import ForeignFacts, format_report, index_shards, read_finished
    from data_tools.shards.drop_report import describe_contents
    from nitrogen_train.data.dataset import Dataset

    if options.out is not None and len(options.shards) > 1:
        raise ValueError("--out takes the manifest of one folder: index the others by themselves")
    is_faulty = False
    for root in options.shards:
        facts = ForeignFacts(
            game=options.game,
            source=options.source or Dataset(root).name,
            licence=options.licence,
            session_pattern=options.session_from_key,
            fps=options.fps,
            val_share=options.val_share,
        )
        try:
            done = read_finished(root, out_dir=options.out, facts=facts)
            if done is not None:
                print(f"{root}: done before: {done}")
                continue
            found = index_shards(root, out_dir=options.out, facts=facts)
        except (ValueError, OSError) as error:
            if len(options.shards) == 1:
                raise
            print(f"{root}: not indexed: {describe_error(error)}")
            is_faulty = True
            continue
        print(f"{root}: {format_report(found)}")
        out_dir = options.out or Path(root)
        print(describe_contents(out_dir))
        print(f"next: {shlex.join(['nitrogen-data', 'verify', str(out_dir)])}")
        is_faulty |= any(tar.fault is not None for tar in found)
    return 1 if is_faulty else 0


def add_video_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `videos fetch` to the command line."""
    summary = "Get videos from where they were published."
    verb = verbs.add_parser("videos", help=summary, description=summary)
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = add_verb(
        actions,
        "fetch",
        "Get the videos of a list; starts where it stopped.",
        _fetch_videos,
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


def _fetch_videos(options: argparse.Namespace) -> int:
    from data_tools.ingest.fetch_videos import (
        SURVIVAL_NAME,
        DownloadSettings,
        fetch_videos,
        format_reasons,
        format_survival,
    )
    from data_tools.ingest.video_list import read_list

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


def add_lerobot_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `export` and its format to the command line."""
    summary = "Turn a data set into one of another format."
    export = verbs.add_parser("export", help=summary, description=summary)
    formats = export.add_subparsers(dest="format", required=True, metavar="FORMAT")
    verb = add_verb(
        formats,
        "lerobot",
        "Write a LeRobotDataset v3.0.",
        _export_lerobot,
        examples=["data --out back", "data --out back --game celeste --game hades"],
    )
    verb.add_argument("dataset", metavar="DATASET", help="folder or URL of a data set")
    verb.add_argument(
        "--out",
        type=out_folder,
        required=True,
        metavar="FOLDER",
        help="folder for the LeRobotDataset",
    )
    verb.add_argument("--game", action="append", help="take these alone; may come several times")
    verb.add_argument("--data-mb", type=float, default=100.0, metavar="MIB", help="size of a table")
    verb.add_argument(
        "--video-mb", type=float, default=200.0, metavar="MIB", help="size of a video"
    )
    add_workers(verb)


def add_lerobot(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `lerobot` to the formats of `ingest`."""
    verb = add_verb(
        formats,
        "lerobot",
        "Make a data set of a LeRobotDataset v3.0; of an export of ours, the same clips in the "
        "same splits.",
        _ingest_lerobot,
        examples=[
            "back --out data",
            "robot --out data --map x=LEFT_STICK_X",
            "robot --out data --game pick_up",
        ],
    )
    verb.add_argument("folder", metavar="FOLDER", type=Path, help="with meta, data and videos")
    verb.add_argument("--camera", help="feature with the pictures (default: the only one)")
    verb.add_argument(
        "--map",
        metavar="NAME=CONTROL,...",
        help="which numbers are which controls (default: the names inside `action` that are "
        "controls)",
    )
    verb.add_argument(
        "--stick-y-axis", choices=["up", "down"], help="where positive y points in the data set"
    )
    verb.add_argument("--action-space", help="that the controls belong to (default: gamepad)")
    verb.add_argument("--game", help="that it shows (default: each episode's task)")
    verb.add_argument("--source", help="name of the collection (default: the folder's)")
    verb.add_argument("--licence", help="of the pictures")
    add_shard_settings(verb)


def _export_lerobot(options: argparse.Namespace) -> int:
    from data_tools.lerobot.export_lerobot import export_lerobot
    from data_tools.lerobot.layout import FileLimits
    from data_tools.shards.drop_report import format_faults
    from nitrogen_train.data.dataset import Dataset

    counts = export_lerobot(
        Dataset(options.dataset),
        out_dir=options.out,
        games=options.game,
        limits=FileLimits(data_mb=options.data_mb, video_mb=options.video_mb),
        workers=options.workers,
    )
    print(
        f"{options.out} is a LeRobotDataset v3.0: {counts.num_episodes} episodes, "
        f"{counts.num_frames} frames, tasks {', '.join(counts.games)}"
    )
    if counts.faults:
        print(format_faults(counts.faults))
    return 1 if counts.faults else 0


def _ingest_lerobot(options: argparse.Namespace) -> int:
    from data_tools.lerobot.ingest_lerobot import ReadingOptions, plan_lerobot
    from data_tools.shards.shard_plan import Part
    from data_tools.shards.shard_writer import write_dataset

    check_folder(options.out)
    part = Part.parse(options.part)
    plan = plan_lerobot(
        options.folder,
        options=ReadingOptions(
            camera=options.camera,
            action_map=options.map,
            stick_y_axis=options.stick_y_axis,
            action_space=options.action_space,
            source=options.source,
            game=options.game,
            licence=options.licence,
        ),
        settings=read_shard_settings(options),
        part=part,
        workers=options.workers,
    )
    report = write_dataset(plan, out_dir=options.out, workers=options.workers)
    return report_dataset(options.out, part, report)
