"""Run `nitrogen-data VERB`, which turns recordings into data sets and looks into them."""

import argparse
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from data_tools.command_line import CommandParser, add_verb
from data_tools.dataset_verbs import (
    add_filter_verbs,
    add_index_verbs,
    add_lerobot_verbs,
    add_shard_verbs,
    add_video_verbs,
)
from data_tools.ingest.ingest_verbs import add_ingest_verbs
from data_tools.inspection.inspection_verbs import add_inspection_verbs
from data_tools.recordings.record_verbs import add_capture_verbs, add_record_verbs
from data_tools.watching.watching_verbs import add_overlay_verbs, add_watch_verb
from nitrogen_train.runtime.atomic_files import describe_error
from nitrogen_train.runtime.interrupts import interruptible

_NAME, _PACKAGE = "nitrogen-data", "nitrogen-train"
_PATHS_OR_URLS = {"datasets", "shards"}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


_GROUPS = {
    "record play": ("games", "record", "gamepads", "record-screen"),
    "or bring in what others recorded": ("ingest", "watch", "labels", "videos", "index"),
    "make a data set": ("shard", "merge", "filter"),
    "look into it": ("verify", "stats", "preview", "order", "mixture"),
    "and around it": ("export", "overlay", "completion"),
}
"""The verbs in the order in which a newcomer meets them."""
_EXAMPLES = (
    "record doom_gather --out rec --episodes 24",
    "shard rec --out data",
    "verify data",
)


def build_parser() -> CommandParser:
    """Build the parser of all verbs; the chosen one is named by `command`, and `run` does it."""
    parser = CommandParser(prog=_NAME, usage=f"{_NAME} VERB ...")
    parser.add_argument("--version", action="version", version=f"{_NAME} {version(_PACKAGE)}")
    # Listed in groups instead.
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", help=argparse.SUPPRESS, prog=_NAME
    )
    for add_verbs in (
        add_record_verbs, add_capture_verbs, add_video_verbs, add_ingest_verbs, add_shard_verbs,
        add_filter_verbs, add_inspection_verbs, add_index_verbs, add_lerobot_verbs,
        add_overlay_verbs, add_watch_verb,
    ):  # fmt: skip
        add_verbs(verbs)
    completion = add_verb(
        verbs,
        "completion",
        "Print what lets a shell complete nitrogen-data with Tab.",
        _print_completion,
        examples=["bash", "zsh"],
    )
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="yours")
    parser.description = _describe_verbs(verbs.choices)
    parser.epilog = "\n".join(
        [
            "examples:",
            *(f"  {_NAME} {each}" for each in _EXAMPLES),
            f"\n{_NAME} VERB --help shows a verb's options and examples.",
        ]
    )
    return parser


def _describe_verbs(verbs: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = ["Gameplay recordings to data sets that nitrogen-train reads."]
    for title, names in _GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<13}  {verbs[name].description}" for name in names)]
    return "\n".join(lines)


def _print_completion(options: argparse.Namespace) -> int:
    import shtab

    parser = build_parser()
    _complete_paths(parser)
    print(shtab.complete(parser, options.shell))
    return 0


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Let the shell offer files where a path is expected."""
    import shtab

    for action in parser._actions:
        if isinstance(action.choices, Mapping):
            # What help does not show is not completed.
            action.help = "VERB"
            for verb in action.choices.values():
                _complete_paths(verb)
        elif action.type is Path or action.dest in _PATHS_OR_URLS:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        0; 1 if `verify` found faults, or something that was given could not be used while the rest
        was; 2 if the verb failed, with one line on standard error.
    """
    options = build_parser().parse_args(arguments)
    try:
        with interruptible(f"{options.command}: interrupted; start again to go on"):
            status: int = options.run(options)
        # Closed by who has started this, it is None.
        with contextlib.suppress(AttributeError):
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who reads has seen enough; what is buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            traceback.print_exc()
        hint = ""
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            hint = "; free some space and start again: what is finished is kept"
        print(f"{options.command}: error: {describe_error(error)}{hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
