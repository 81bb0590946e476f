"""`ingest FORMAT`: other people's data to ours."""

import argparse

from data_tools.ingest.recording.verbs import add_format as add_recording

_FORMATS = (add_recording,)


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ingest` and its formats to the command line."""
    summary = "Turn data of another format into recordings or data sets; starts where it stopped."
    verb = verbs.add_parser("ingest", help=summary, description=summary)
    formats = verb.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for add_format in _FORMATS:
        add_format(formats)
