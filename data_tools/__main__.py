"""`nitrogen-data VERB`: record, shard, merge, verify, stats, preview, order, mixture, index."""

import argparse
import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data_tools.arguments import build_parser
from data_tools.shards.part import Part

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Returns:
        0; 1 if `verify` found faults; 2 if the verb failed, with one line on standard error.
    """
    options = build_parser().parse_args(arguments)
    try:
        status = _VERBS[options.verb](options)
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


def _record(options: argparse.Namespace) -> int:
    from data_tools.recordings.record import record_game

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
    from data_tools.shards.plan import ShardSettings
    from data_tools.shards.report import format_report
    from data_tools.shards.shard import shard_recordings

    part = Part.parse(options.part)
    report = shard_recordings(
        options.recordings,
        out_dir=options.out,
        settings=ShardSettings(
            size=options.size,
            clip_seconds=options.clip_seconds,
            heldout_share=options.heldout_share,
            clips_per_shard=options.clips_per_shard,
        ),
        part=part,
        workers=options.workers,
    )
    print(format_report(report))
    print(_describe_progress(options.out, part))
    return 0


def _merge(options: argparse.Namespace) -> int:
    from data_tools.shards.report import format_report
    from data_tools.shards.write import join_parts

    print(format_report(join_parts(options.dataset)))
    print(f"{options.dataset} is a data set")
    return 0


def _describe_progress(out_dir: Path, part: Part) -> str:
    if part.count == 1:
        return f"{out_dir} is a data set"
    return (
        f"{out_dir} holds part {part.index} of {part.count}; after all of them: "
        f"nitrogen-data merge {out_dir}"
    )


def _verify(options: argparse.Namespace) -> int:
    from data_tools.inspection.verify import verify_dataset

    faults = verify_dataset(options.dataset, workers=options.workers)
    for fault in faults:
        print(fault)
    number = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    print(f"{options.dataset}: {number if faults else 'sound'}")
    return 1 if faults else 0


def _stats(options: argparse.Namespace) -> int:
    from data_tools.inspection.stats import compute_stats, format_stats

    print(format_stats(compute_stats(options.dataset)))
    return 0


def _preview(options: argparse.Namespace) -> int:
    from data_tools.inspection.preview import preview_clip

    row = preview_clip(options.dataset, options.clip_id, out_path=options.out)
    print(f"{options.out} shows {row.clip_id} ({row.game}, {row.split})")
    return 0


def _order(options: argparse.Namespace) -> int:
    from data_tools.inspection.order import iter_order, split_rank
    from data_tools.inspection.run_choice import choose_run, count_ranks
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
    from data_tools.inspection.mixture import format_use, measure_use
    from data_tools.inspection.run_choice import choose_run
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
    from data_tools.foreign.index import ForeignFacts, format_report, index_shards
    from data_tools.inspection.run_choice import name_dataset

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


_VERBS = {
    "record": _record,
    "shard": _shard,
    "merge": _merge,
    "verify": _verify,
    "stats": _stats,
    "preview": _preview,
    "order": _order,
    "mixture": _mixture,
    "index": _index,
}
"""In the order of the help."""


if __name__ == "__main__":
    sys.exit(main())
