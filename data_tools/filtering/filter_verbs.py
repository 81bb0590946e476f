"""Define the verb `filter`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import CommandParser, add_verb, add_workers, out_folder
from data_tools.filtering.filter_settings import SWITCHABLE, FilterSettings

if TYPE_CHECKING:
    from data_tools.shards.shard_plan import Part

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


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add it to the command line."""
    verb = add_verb(
        verbs,
        "filter",
        "Make a data set of the clips that are worth learning from.",
        _filter,
        examples=["data --dry-run", "data --out good", "data --out good --off menu,copy"],
    )
    verb.add_argument("dataset", metavar="DATASET", type=Path, help="folder with a manifest")
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


def _describe_end(out_dir: Path, part: "Part") -> str:
    from data_tools.shards.drop_report import describe_contents

    if part.count > 1:
        merge = shlex.join(["nitrogen-data", "merge", str(out_dir)])
        return f"{out_dir} holds part {part.index} of {part.count}; after all of them: {merge}"
    verify = shlex.join(["nitrogen-data", "verify", str(out_dir)])
    return f"{describe_contents(out_dir)}\nnext: {verify}"


def _filter(options: argparse.Namespace) -> int:
    from data_tools.filtering.filter_clips import filter_dataset, format_rules
    from data_tools.shards.drop_report import format_faults
    from data_tools.shards.shard_plan import Part

    if options.dry_run == (options.out is not None):
        raise ValueError("give either --out FOLDER or --dry-run")
    settings = FilterSettings(
        off=tuple(sorted(set(options.off))),
        idle_window_s=options.idle_window,
        **{name: getattr(options, name) for name in _NUMBERS},
    )
    part = Part.parse(options.part)
    report = filter_dataset(
        options.dataset,
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
        print(_describe_end(options.out, part))
    return 1 if report.faults else 0
