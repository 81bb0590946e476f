"""`ingest open-p2p`."""

import argparse
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_shard_settings,
    add_verb,
    describe_dataset,
    read_shard_settings,
)


def add_open_p2p(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to `ingest`."""
    verb = add_verb(
        formats,
        "open-p2p",
        "Make a data set of Open Pixel2Play's unpacked recordings: mp4 and annotation.proto.",
        _ingest,
        examples=["p2p --out data", "p2p --out data --video-name 192x192.mp4"],
    )
    verb.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="+", help="with recordings, at any depth"
    )
    verb.add_argument("--video-name", default="192x192.mp4", help="which video of a recording")
    add_shard_settings(verb)


def _ingest(options: argparse.Namespace) -> int:
    from data_tools.ingest.open_p2p.dataset import ingest_open_p2p
    from data_tools.shards.part import Part

    part = Part.parse(options.part)
    report = ingest_open_p2p(
        options.folders,
        out_dir=options.out,
        settings=read_shard_settings(options),
        video_name=options.video_name,
        part=part,
        workers=options.workers,
    )
    print(describe_dataset(options.out, part, report))
    return 1 if report.faults else 0
