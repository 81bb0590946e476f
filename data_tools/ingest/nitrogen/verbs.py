"""`labels index`, `labels query` and `ingest nitrogen`."""

import argparse
import shlex
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_shard_settings,
    add_verb,
    add_workers,
    describe_dataset,
    out_folder,
    read_shard_settings,
)

_WHERE = "pieces to take, such as 'game in [celeste, hades] and idle_share < 0.5 and fps == 60'"


def add_labels(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `labels` and what it can do to the command line."""
    summary = "Look into NitroGen's public labels."
    verb = verbs.add_parser("labels", help=summary, description=summary)
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    index = add_verb(
        actions,
        "index",
        "List the pieces of tarballs; starts where it stopped.",
        _index,
        examples=["actions/ --out index", "SHARD_0000.tar.gz SHARD_0001.tar.gz --out index"],
    )
    index.add_argument("tarballs", metavar="TARBALL", type=Path, nargs="+", help="or a folder")
    index.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the index"
    )
    add_workers(index)
    query = add_verb(
        actions,
        "query",
        "Count labelled hours; list videos to get.",
        _query,
        examples=[
            "index",
            "index --min-hours 10 --limit 100",
            "index --where 'game == celeste' --videos v.jsonl",
        ],
    )
    query.add_argument("index", metavar="INDEX", type=Path, help="folder from `labels index`")
    query.add_argument("--where", metavar="EXPRESSION", help=_WHERE)
    query.add_argument(
        "--min-hours", type=float, default=0.0, metavar="H", help="games with at least this much"
    )
    query.add_argument("--limit", type=int, default=40, metavar="N", help="lines of the table")
    query.add_argument(
        "--videos", type=Path, metavar="FILE", help="write the videos, as JSON lines"
    )


def add_format(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `nitrogen` to the formats of `ingest`."""
    verb = add_verb(
        formats,
        "nitrogen",
        "Make a data set of NitroGen's public labels and videos at hand.",
        _ingest,
        examples=[
            "a/ --videos v --out data",
            "a/ --index i --videos v --out data",
            "a/ --index i --videos v --out data --part 3/8",
        ],
    )
    verb.add_argument("tarballs", metavar="TARBALL", type=Path, nargs="+", help="or a folder")
    verb.add_argument(
        "--videos",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder with VIDEO_ID.mp4, .mkv or .webm",
    )
    verb.add_argument(
        "--index",
        type=Path,
        metavar="FOLDER",
        help="from `labels index` (default: made inside --out)",
    )
    verb.add_argument("--where", metavar="EXPRESSION", help=_WHERE)
    verb.add_argument(
        "--crop-game-area", action="store_true", help="keep the game's part of the picture only"
    )
    add_shard_settings(verb)


def _index(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.index_report import describe_index
    from data_tools.ingest.nitrogen.label_index import build_index, find_tarballs
    from nitrogen_train.progress import pluralize

    tarballs = find_tarballs(options.tarballs)
    indexes = build_index(tarballs, index_dir=options.out, workers=options.workers)
    pieces = pluralize(sum(index.num_pieces for index in indexes), "piece")
    print(f"{describe_index(indexes)}\n\n{options.out} lists {pieces}")
    print(f"next: {shlex.join(['nitrogen-data', 'labels', 'query', str(options.out)])}")
    faults = [fault for index in indexes for fault in index.faults if fault.name == index.path.name]
    for fault in faults:
        print(f"{fault.name}: {fault.detail}")
    return 1 if faults else 0


def _query(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.query import (
        format_hours,
        list_videos,
        measure_hours,
        query_index,
        write_videos,
    )

    pieces = query_index(options.index, where=options.where, min_hours=options.min_hours)
    print(format_hours(measure_hours(pieces), limit=options.limit))
    if options.videos is not None:
        videos = list_videos(pieces)
        write_videos(videos, options.videos)
        print(f"\n{options.videos} lists {len(videos)} videos")
    return 0


def _ingest(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.ingest import LabelledVideos, ingest_nitrogen
    from data_tools.shards.part import Part

    part = Part.parse(options.part)
    if part.count > 1 and options.index is None:
        raise ValueError(
            "parts share one index of the labels: make it first, with nitrogen-data labels index "
            "TARBALL... --out INDEX, and give --index INDEX"
        )
    report = ingest_nitrogen(
        LabelledVideos(
            tarballs=options.tarballs,
            videos_dir=options.videos,
            index_dir=options.index,
            where=options.where,
            crops_to_game=options.crop_game_area,
        ),
        out_dir=options.out,
        settings=read_shard_settings(options),
        part=part,
        workers=options.workers,
    )
    print(describe_dataset(options.out, part, report))
    return 1 if report.faults else 0
