"""`nitrogen-data VERB`: record, shard, verify, stats, preview, order, mixture, index."""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        0; 1 if `verify` found faults; 2 if the verb failed, with one line on standard error.
    """
    options = _build_parser().parse_args(arguments)
    try:
        status = options.run(options)
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
    except KeyboardInterrupt:
        print(f"nitrogen-data {options.verb}: interrupted; start again to go on", file=sys.stderr)
        return 130


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


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
    number = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    print(f"{options.dataset}: {number if faults else 'sound'}")
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


def _order(options: argparse.Namespace) -> int:
    from data_tools.order import iter_order, split_rank
    from data_tools.run_choice import choose_run, count_ranks
    from nitrogen_train.run_plan import build_plan

    config = choose_run(
        datasets=options.datasets,
        mixture_path=options.mixture,
        run_dir=options.run_dir,
        seed=options.seed,
        global_batch_size=options.global_batch_size,
        lane_groups=options.lane_groups,
        windows_per_visit=options.windows_per_visit,
    )
    share = split_rank(
        config.data.global_batch_size,
        world_size=count_ranks(config) if options.world_size is None else options.world_size,
        rank=options.rank,
        accumulation=options.accumulation,
        default=config.data.micro_batch_size,
    )
    for line in iter_order(build_plan(config), share, start=options.start, num_steps=options.steps):
        print(line)
    return 0


def _mixture(options: argparse.Namespace) -> int:
    from data_tools.mixture import format_use, measure_use
    from data_tools.run_choice import choose_run
    from nitrogen_train.run_plan import build_plan

    config = choose_run(
        datasets=options.datasets,
        mixture_path=options.mixture,
        run_dir=options.run_dir,
        global_batch_size=options.global_batch_size,
    )
    steps = config.max_steps if options.steps is None else options.steps
    use = measure_use(build_plan(config), num_steps=steps)
    print(json.dumps(asdict(use)) if options.json else format_use(use))
    return 0


def _index(options: argparse.Namespace) -> int:
    from data_tools.index import ForeignFacts, format_report, index_shards
    from data_tools.run_choice import name_dataset

    if options.out is not None and len(options.shards) > 1:
        raise ValueError("--out takes the manifest of one folder: index the others by themselves")
    for root in options.shards:
        facts = ForeignFacts(
            game=options.game,
            source=options.source or name_dataset(root),
            licence=options.licence,
            session_pattern=options.session_from_key,
            fps=options.fps,
            val_share=options.val_share,
        )
        found = index_shards(root, out_dir=options.out, facts=facts)
        print(f"{root}: {format_report(found)}")
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


def _add_order(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "order", "Print the windows that a rank will train on, in order.")
    verb.set_defaults(run=_order)
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
    verb.set_defaults(run=_mixture)
    _add_run_choice(verb)
    verb.add_argument("--steps", type=int, help="optimizer steps; the run's max_steps")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_index(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = _add_verb(verbs, "index", "Write a manifest for foreign shards, which stay as they are.")
    verb.set_defaults(run=_index)
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


if __name__ == "__main__":
    sys.exit(main())
