"""Define the verb `index`."""

import argparse
import shlex
from pathlib import Path

from data_tools.command_line import CommandParser, add_verb, game_name, out_folder
from nitrogen_train.runtime.atomic_files import describe_error


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
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
    from data_tools.foreign.tar_index import (
        ForeignFacts,
        format_report,
        index_shards,
        read_finished,
    )
    from data_tools.inspection.run_choice import name_dataset
    from data_tools.shards.drop_report import describe_contents

    if options.out is not None and len(options.shards) > 1:
        raise ValueError("--out takes the manifest of one folder: index the others by themselves")
    is_faulty = False
    for root in options.shards:
        facts = ForeignFacts(
            game=options.game,
            source=options.source or name_dataset(root),
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
