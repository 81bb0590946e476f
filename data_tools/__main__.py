"""`nitrogen-data VERB`: record, shard, verify, stats, preview."""

import argparse
import errno
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        0; 1 if `verify` found faults; 2 if the verb failed, with one line on standard error.
    """
    options = _build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            traceback.print_exc()
        hint = ""
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            hint = "; free some space and start again: what is finished is kept"
        print(f"nitrogen-data {options.verb}: {error}{hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nitrogen-data {options.verb}: interrupted; start again to go on", file=sys.stderr)
        return 130


def _record(options: argparse.Namespace) -> int:
    from data_tools.record import record_game

    facts = record_game(
        options.game,
        out_dir=options.out,
        num_episodes=options.episodes,
        first_seed=options.first_seed,
        disturbance=options.disturbance,
        size=options.size,
        workers=options.workers,
    )
    scores = [fact.score for fact in facts if fact.score is not None]
    print(f"{len(facts)} recordings in {options.out}, mean score {sum(scores) / len(scores):.2f}")
    return 0


def _shard(options: argparse.Namespace) -> int:
    from data_tools.plan import ShardSettings
    from data_tools.shard import shard_recordings

    manifest = shard_recordings(
        options.recordings,
        out_dir=options.out,
        settings=ShardSettings(
            size=options.size,
            clip_seconds=options.clip_seconds,
            heldout_share=options.heldout_share,
            clips_per_shard=options.clips_per_shard,
        ),
        workers=options.workers,
    )
    shards = len(set(manifest.table["shard"].to_pylist()))
    print(f"{len(manifest)} clips in {shards} shards in {options.out}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from data_tools.verify import verify_dataset

    faults = verify_dataset(options.dataset, workers=options.workers)
    for fault in faults:
        print(fault)
    print(f"{options.dataset}: {f'{len(faults)} faults' if faults else 'sound'}")
    return 1 if faults else 0


def _stats(options: argparse.Namespace) -> int:
    from data_tools.stats import compute_stats, format_stats

    print(format_stats(compute_stats(options.dataset)))
    return 0


def _preview(options: argparse.Namespace) -> int:
    from data_tools.preview import preview_clip

    row = preview_clip(options.dataset, options.clip_id, out_path=options.out)
    print(f"{options.out} shows {row.clip_id} ({row.game}, {row.split})")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nitrogen-data",
        description="Gameplay recordings to data sets that nitrogen-train reads.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_record(verbs)
    _add_shard(verbs)
    _add_readers(verbs)
    return parser


def _add_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=summary,
        description=summary,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    verb.add_argument("--debug", action="store_true", help="show where an error came from")
    return verb


def _add_record(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "record", "Record a game's scripted expert; starts where it stopped.")
    verb.set_defaults(run=_record)
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
    verb.set_defaults(run=_shard)
    verb.add_argument("recordings", metavar="RECORDINGS_DIR", type=Path, nargs="+")
    verb.add_argument("--out", type=Path, required=True, help="folder for the data set")
    verb.add_argument("--size", type=int, default=256, help="side of the stored picture, in pixels")
    verb.add_argument("--clip-seconds", type=float, default=20.0, help="longest clip, up to 20")
    verb.add_argument(
        "--heldout-share", type=float, default=0.15, help="share of the sessions for validation"
    )
    verb.add_argument("--clips-per-shard", type=int, default=64, help="clips in one tar")
    verb.add_argument("--workers", type=int, default=2, help="processes")


def _add_readers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = _add_verb(verbs, "verify", "Check all that a data set promises; 1 if it is faulty.")
    verify.set_defaults(run=_verify)
    verify.add_argument("--workers", type=int, default=2, help="processes")
    stats = _add_verb(verbs, "stats", "Count clips, hours and presses per game and split.")
    stats.set_defaults(run=_stats)
    preview = _add_verb(verbs, "preview", "Write a clip as a video with its gamepad drawn on it.")
    preview.set_defaults(run=_preview)
    for verb in (verify, stats, preview):
        verb.add_argument("dataset", metavar="DATASET", type=Path, help="folder with a manifest")
    preview.add_argument("clip_id", metavar="CLIP_ID", nargs="?", help="the first clip if left out")
    preview.add_argument("--out", type=Path, required=True, help="the mp4 to write")


if __name__ == "__main__":
    sys.exit(main())
