"""What the verbs of `nitrogen-data` have in common on the command line."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_tools.shards.part import Part
    from data_tools.shards.plan import ShardSettings
    from data_tools.shards.report import DatasetReport


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Add a verb.

    Args:
        verbs: The verbs so far.
        name: What it is called by.
        summary: One line of help.
        run: Does it with the parsed arguments and returns the exit status.
    """
    verb = verbs.add_parser(name, help=summary, description=summary, formatter_class=_Formatter)
    verb.add_argument("--debug", action="store_true", help="show where an error came from")
    verb.set_defaults(run=run)
    return verb


def add_workers(verb: argparse.ArgumentParser) -> None:
    """Ask for the number of processes."""
    verb.add_argument("--workers", type=int, default=2, help="processes")


def add_gamepad(verb: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Ask which gamepad is played with."""
    verb.add_argument(
        "--device", type=Path, metavar="PATH", help="/dev/input/eventN; the only gamepad there is"
    )
    verb.add_argument(
        "--pad-map",
        metavar="CONTROL=CODE,...",
        help="where the pad's controls are, if they were not found: SOUTH=BTN_EAST,EAST=BTN_SOUTH; "
        "nitrogen-data gamepads --watch shows them",
    )


def add_shard_settings(verb: argparse.ArgumentParser) -> None:
    """Ask for what shapes every data set, whatever goes into it."""
    verb.add_argument("--out", type=Path, required=True, help="folder for the data set")
    verb.add_argument("--size", type=int, default=256, help="side of the stored picture, in pixels")
    verb.add_argument("--clip-seconds", type=float, default=20.0, help="longest clip, up to 20")
    verb.add_argument(
        "--heldout-share", type=float, default=0.15, help="share of the sessions for validation"
    )
    verb.add_argument("--clips-per-shard", type=int, default=64, help="clips in one tar")
    add_workers(verb)
    verb.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="write the I-th of N parts (from 0), for example in a SLURM array; then `merge`",
    )


def read_shard_settings(options: argparse.Namespace) -> "ShardSettings":
    """Read the answers to `add_shard_settings`, but for `out`, `workers` and `part`.

    Raises:
        ValueError: If one is out of range.
    """
    from data_tools.shards.plan import ShardSettings

    return ShardSettings(
        size=options.size,
        clip_seconds=options.clip_seconds,
        heldout_share=options.heldout_share,
        clips_per_shard=options.clips_per_shard,
    )


def describe_dataset(out_dir: Path, part: "Part", report: "DatasetReport") -> str:
    """Say what has been written, and what is next if there are other parts."""
    from data_tools.shards.report import describe_lacking_split, format_report

    if part.count == 1:
        parts = [format_report(report), describe_lacking_split(out_dir), f"{out_dir} is a data set"]
        return "\n\n".join(filter(None, parts))
    return (
        f"{format_report(report)}\n\n{out_dir} holds part {part.index} of {part.count}; "
        f"after all of them: nitrogen-data merge {out_dir}"
    )
