"""What `nitrogen-data` can be asked on a command line; no verb's own code is imported."""

import argparse
from pathlib import Path


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs; the chosen one's name is `verb`."""
    parser = argparse.ArgumentParser(
        prog="nitrogen-data",
        description="Gameplay recordings to data sets that nitrogen-train reads.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_record(verbs)
    _add_shard(verbs)
    _add_readers(verbs)
    _add_order(verbs)
    _add_mixture(verbs)
    _add_index(verbs)
    return parser


def _add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary,
        formatter_class=_Formatter,
    )
    verb.add_argument("--debug", action="store_true", help="show where an error came from")
    return verb


def _add_record(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "record", "Record a game's scripted expert; starts where it stopped.")
    verb.add_argument("game", metavar="GAME", help="name, or your own as module:Class")
    verb.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    verb.add_argument("--episodes", type=int, required=True, help="one recording each")
    verb.add_argument("--first-seed", type=int, help="of the game's recording seeds; its first")
    verb.add_argument(
        "--disturbance",
        type=float,
        default=0.1,
        help="share of the rows in bursts of random controls, from which the expert recovers",
    )
    verb.add_argument("--size", type=int, help="squash frames to this square; the game's own size")
    verb.add_argument("--workers", type=int, default=2, help="processes")


def _add_shard(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "shard", "Make a data set of recordings; starts where it stopped.")
    verb.add_argument("recordings", metavar="RECORDINGS_DIR", type=Path, nargs="+")
    _add_shard_settings(verb)
    merge = _add_verb(verbs, "merge", "Join the parts that several processes have written.")
    merge.add_argument("dataset", metavar="DATASET", type=Path, help="folder with all parts")


def _add_shard_settings(verb: argparse.ArgumentParser) -> None:
    """Ask for what shapes every data set, whatever goes into it."""
    verb.add_argument("--out", type=Path, required=True, help="folder for the data set")
    verb.add_argument("--size", type=int, default=256, help="side of the stored picture, in pixels")
    verb.add_argument("--clip-seconds", type=float, default=20.0, help="longest clip, up to 20")
    verb.add_argument(
        "--heldout-share", type=float, default=0.15, help="share of the sessions for validation"
    )
    verb.add_argument("--clips-per-shard", type=int, default=64, help="clips in one tar")
    verb.add_argument("--workers", type=int, default=2, help="processes")
    verb.add_argument(
        "--part",
        default="0/1",
        metavar="I/N",
        help="write the I-th of N parts (from 0), for example in a SLURM array; then `merge`",
    )


def _add_readers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = _add_verb(verbs, "verify", "Check all that a data set promises; 1 if it is faulty.")
    verify.add_argument("--workers", type=int, default=2, help="processes")
    stats = _add_verb(verbs, "stats", "Count clips, hours and presses per game and split.")
    preview = _add_verb(verbs, "preview", "Write a clip as a video with its gamepad drawn on it.")
    for verb in (verify, stats, preview):
        verb.add_argument("dataset", metavar="DATASET", type=Path, help="folder with a manifest")
    preview.add_argument("clip_id", metavar="CLIP_ID", nargs="?", help="the first clip if left out")
    preview.add_argument("--out", type=Path, required=True, help="the mp4 to write")


def _add_order(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "order", "Print the windows that a rank will train on, in order.")
    _add_run_choice(verb)
    verb.add_argument("--world-size", type=int, help="ranks; as the run's trainer has")
    verb.add_argument("--rank", type=int, default=0, help="whose windows")
    verb.add_argument("--start", type=int, default=0, help="the first optimizer step")
    verb.add_argument("--steps", type=int, default=1, help="how many of them")
    verb.add_argument("--seed", type=int, help="the run's")
    verb.add_argument(
        "--accumulation", type=int, help="micro-batches of a rank in a step; as the run has"
    )
    verb.add_argument("--lane-groups", type=int, help="see data.lane_groups; the run's")
    verb.add_argument("--windows-per-visit", type=int, help="see data.windows_per_visit; the run's")


def _add_mixture(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "mixture", "Count what is in use, and its share of the samples.")
    _add_run_choice(verb)
    verb.add_argument("--steps", type=int, help="optimizer steps; the run's max_steps")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_index(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "index", "Write a manifest for foreign shards, which stay as they are.")
    verb.add_argument("shards", metavar="FOLDER_OR_URL", nargs="+", help="with .tar files")
    verb.add_argument("--game", required=True, help="that they show")
    verb.add_argument("--source", help="name of the collection; the folder's")
    verb.add_argument("--licence", default="unknown", help="of the clips")
    verb.add_argument(
        "--session-from-key",
        metavar="REGEX",
        help="its first group, found in a record's key, is its session; a tar is one",
    )
    verb.add_argument("--fps", type=float, help="of pictures, and of videos that have none")
    verb.add_argument(
        "--val-share", type=float, default=0.15, help="share of the sessions for validation"
    )
    verb.add_argument("--out", type=Path, help="where a URL's manifest goes; the folder itself")


def _add_run_choice(verb: argparse.ArgumentParser) -> None:
    """Ask for a run, or for the data of one that has nitrogen-train's defaults."""
    verb.add_argument("datasets", metavar="DATASET", nargs="*", help="folders or URLs, weight 1")
    verb.add_argument("--mixture", type=Path, metavar="FILE", help="YAML, as data.sources has it")
    verb.add_argument(
        "--run", dest="run_dir", type=Path, metavar="FOLDER", help="a run, from which all is read"
    )
    verb.add_argument("--global-batch-size", type=int, help="samples of a step; the run's")
