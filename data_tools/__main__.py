"""`nitrogen-data VERB`: recordings to data sets, and a look into them."""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence

from data_tools.capture import verbs as capture
from data_tools.filtering import verbs as filtering
from data_tools.foreign import verbs as foreign
from data_tools.ingest import verbs as ingest
from data_tools.inspection import verbs as inspection
from data_tools.lerobot import verbs as lerobot
from data_tools.recordings import verbs as recordings
from data_tools.shards import verbs as shards
from data_tools.videos import verbs as videos
from nitrogen_train.interrupts import interruptible

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs; the chosen one's name is `verb`, and `run` does it."""
    parser = argparse.ArgumentParser(
        prog="nitrogen-data",
        description="Gameplay recordings to data sets that nitrogen-train reads.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    packages = (
        recordings, capture, videos, ingest, shards, filtering, inspection, foreign, lerobot,
    )  # fmt: skip
    for package in packages:
        package.add_verbs(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        0; 1 if `verify` found faults, or something that was given could not be used while the rest
        was; 2 if the verb failed, with one line on standard error.
    """
    options = build_parser().parse_args(arguments)
    try:
        with interruptible(f"nitrogen-data {options.verb}: interrupted; start again to go on"):
            status: int = options.run(options)
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
        print(f"nitrogen-data {options.verb}: {error}{hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
