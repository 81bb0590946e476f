"""`python -m examples.watched_copies WATCHED --of RECORDINGS --out FOLDER`: for `make compare`.

    watched recordings ─► links to their files, and facts: rows in which the recording's player was
      disturbed are not learned from; with --unmask, the controller stays to be seen

Players whose videos are watched are not disturbed, as recorded experts are so that recordings show
ways back. A log says which rows are so, a video cannot; both are to be learned from alike. The
controller is left to be seen to show why it must not: a policy reads the answer off the picture.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from data_tools.recordings.recording import FACTS_SUFFIX, find_recordings


def main() -> None:
    """Link the files of watched recordings, and write facts of their own."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.watched_copies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("watched", type=Path, help="a folder that `watch` wrote")
    parser.add_argument("--of", type=Path, required=True, help="the recordings that were watched")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unmask", action="store_true", help="leave the controller to be seen")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    played = {recording.name: recording for recording in find_recordings([arguments.of])}
    for recording in find_recordings([arguments.watched]):
        for path in (recording.video_path, recording.log_path):
            link = arguments.out / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
        facts = recording.read_facts()
        disturbed = played[recording.name].read_facts().disturbed_ns
        facts = replace(facts, disturbed_ns=_join(*facts.disturbed_ns, *disturbed))
        if arguments.unmask:
            facts = replace(facts, masked_boxes=())
        facts.write(arguments.out / f"{recording.name}{FACTS_SUFFIX}")


def _join(*stretches: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Join stretches of time that meet."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


if __name__ == "__main__":
    main()
