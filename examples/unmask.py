"""`python -m examples.unmask WATCHED --out FOLDER`: recordings whose controller stays to be seen.

For `make compare`, to show why it must not: a policy reads the answer off the picture.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from data_tools.recordings.recording import FACTS_SUFFIX, find_recordings


def main() -> None:
    """Link the files of watched recordings, and write facts that black nothing out."""
    parser = argparse.ArgumentParser(prog="python -m examples.unmask", description=__doc__)
    parser.add_argument("watched", type=Path, help="a folder that `watch` wrote")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for recording in find_recordings([arguments.watched]):
        for path in (recording.video_path, recording.log_path):
            link = arguments.out / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
        facts = replace(recording.read_facts(), masked_boxes=())
        facts.write(arguments.out / f"{recording.name}{FACTS_SUFFIX}")


if __name__ == "__main__":
    main()
