"""`ingest FORMAT`: other people's data to ours; and `labels`, a look into one of the formats."""

import argparse

from data_tools.ingest.nitrogen import verbs as nitrogen

_FORMATS = (nitrogen.add_format,)


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `ingest` and its formats to the command line."""
    summary = "Turn data of another format into recordings or data sets; starts where it stopped."
    verb = verbs.add_parser("ingest", help=summary, description=summary)
    formats = verb.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for add_format in _FORMATS:
        add_format(formats)
    nitrogen.add_labels(verbs)
