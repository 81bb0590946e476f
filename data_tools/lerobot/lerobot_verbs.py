"""Define the verbs `ingest lerobot` and `export lerobot`."""

import argparse
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


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `export` and its format to the command line."""
    summary = "Turn a data set into one of another format."
    export = verbs.add_parser("export", help=summary, description=summary)
    formats = export.add_subparsers(dest="format", required=True, metavar="FORMAT")
    verb = add_verb(
        formats,
        "lerobot",
        "Write a LeRobotDataset v3.0.",
        _export,
        examples=["data --out back", "data --out back --game celeste --game hades"],
    )
    verb.add_argument("dataset", metavar="DATASET", type=Path, help="folder of a data set")
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


def add_ingest(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to those that `ingest` reads."""
    verb = add_verb(
        formats,
        "lerobot",
        "Make a data set of a LeRobotDataset v3.0; of an export of ours, the same clips in the "
        "same splits.",
        _ingest,
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


def _export(options: argparse.Namespace) -> int:
    from data_tools.lerobot.export_lerobot import export_lerobot
    from data_tools.lerobot.layout import FileLimits

    counts = export_lerobot(
        options.dataset,
        out_dir=options.out,
        games=options.game,
        limits=FileLimits(data_mb=options.data_mb, video_mb=options.video_mb),
        workers=options.workers,
    )
    print(
        f"{options.out} is a LeRobotDataset v3.0: {counts.num_episodes} episodes, "
        f"{counts.num_frames} frames, tasks {', '.join(counts.games)}"
    )
    for fault in counts.faults:
        print(fault)
    return 1 if counts.faults else 0


def _ingest(options: argparse.Namespace) -> int:
    from data_tools.lerobot.ingest_lerobot import ReadingOptions, plan_lerobot
    from data_tools.shards.shard_plan import Part
    from data_tools.shards.shard_writer import write_dataset
    from nitrogen_train.runtime.atomic_files import check_folder

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
    print(describe_dataset(options.out, part, report))
    return 1 if report.faults else 0
