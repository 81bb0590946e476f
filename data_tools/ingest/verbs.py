"""`ingest FORMAT`: other people's data to ours; and `labels`, a look into one of the formats."""

import argparse

from data_tools.command_line import CommandParser
from data_tools.ingest.nitrogen.verbs import add_format as add_nitrogen
from data_tools.ingest.nitrogen.verbs import add_labels
from data_tools.ingest.open_p2p.verbs import add_open_p2p
from data_tools.ingest.recording.verbs import add_format as add_recording
from data_tools.ingest.vpt.verbs import add_vpt
from data_tools.lerobot.verbs import add_ingest as add_lerobot

_FORMATS = (add_recording, add_nitrogen, add_lerobot, add_vpt, add_open_p2p)


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `ingest` and its formats to the command line."""
    summary = "Turn videos with logs, or data of others, into data of ours."
    verb = verbs.add_parser("ingest", help=summary, description=summary)
    formats = verb.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for add_format in _FORMATS:
        add_format(formats)
    add_labels(verbs)
