"""`ingest vpt`."""

import argparse
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_shard_settings,
    add_verb,
    describe_dataset,
    read_shard_settings,
)


def add_vpt(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to `ingest`."""
    verb = add_verb(
        formats,
        "vpt",
        "Make a data set of OpenAI's Minecraft contractor data: mp4 and jsonl.",
        _ingest,
        examples=["vpt --out data", "vpt --out data --keep-menus"],
    )
    verb.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="+", help="with mp4 and jsonl of one name"
    )
    verb.add_argument(
        "--max-difference", type=int, default=1, metavar="N", help="lines more or less than frames"
    )
    verb.add_argument(
        "--keep-menus", action="store_true", help="learn from rows with a menu open as well"
    )
    add_shard_settings(verb)


def _ingest(options: argparse.Namespace) -> int:
    from data_tools.ingest.vpt.dataset import ingest_vpt
    from data_tools.shards.part import Part

    part = Part.parse(options.part)
    report = ingest_vpt(
        options.folders,
        out_dir=options.out,
        settings=read_shard_settings(options),
        max_difference=options.max_difference,
        keep_menus=options.keep_menus,
        part=part,
        workers=options.workers,
    )
    print(describe_dataset(options.out, part, report))
    return 1 if report.faults else 0
