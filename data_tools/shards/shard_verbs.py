"""Define the verbs `shard` and `merge`."""

import argparse
from pathlib import Path

from data_tools.command_line import (
    CommandParser,
    add_shard_settings,
    add_verb,
    describe_dataset,
    read_shard_settings,
)


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
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
        help="with recordings of `record`, `record-screen` or `ingest recording`",
    )
    add_shard_settings(verb)
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
    print(describe_dataset(options.out, part, report))
    return 1 if report.faults else 0


def _merge(options: argparse.Namespace) -> int:
    from data_tools.shards.shard_plan import ALL
    from data_tools.shards.shard_writer import join_parts

    report = join_parts(options.dataset)
    print(describe_dataset(options.dataset, ALL, report))
    return 1 if report.faults else 0
