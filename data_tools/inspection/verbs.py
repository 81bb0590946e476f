"""`verify`, `stats`, `preview`, `order` and `mixture`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from data_tools.command_line import add_verb, add_workers


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to the command line."""
    _add_readers(verbs)
    _add_order(verbs)
    _add_mixture(verbs)


def _add_readers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verify = add_verb(
        verbs, "verify", "Check all that a data set promises; 1 if it is faulty.", _verify
    )
    verify.add_argument(
        "datasets", metavar="DATASET", type=Path, nargs="+", help="folders that one run trains on"
    )
    verify.add_argument(
        "--strict", action="store_true", help="1 also if something looks like a mistake"
    )
    verify.add_argument("--report", type=Path, metavar="FILE", help="JSON to write")
    add_workers(verify)
    stats = add_verb(verbs, "stats", "Count clips, hours and presses per game and split.", _stats)
    preview = add_verb(
        verbs, "preview", "Write a clip as a video with its controller drawn below it.", _preview
    )
    for verb in (stats, preview):
        verb.add_argument("dataset", metavar="DATASET", type=Path, help="folder with a manifest")
    stats.add_argument("--html", type=Path, metavar="PAGE", help="a page with charts to write")
    add_workers(stats)
    preview.add_argument("clip_id", metavar="CLIP_ID", nargs="?", help="the first clip if left out")
    preview.add_argument("--out", type=Path, required=True, help="the mp4 to write")
    preview.add_argument(
        "--predictions", type=Path, metavar="FILE", help="parquet of nitrogen-eval, drawn as well"
    )


def _add_order(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = add_verb(
        verbs, "order", "Print the windows that a rank will train on, in order.", _order
    )
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
    verb = add_verb(
        verbs, "mixture", "Count what is in use, and its share of the samples.", _mixture
    )
    _add_run_choice(verb)
    verb.add_argument("--steps", type=int, help="optimizer steps; the run's max_steps")
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_run_choice(verb: argparse.ArgumentParser) -> None:
    """Ask for a run, or for the data of one that has nitrogen-train's defaults."""
    verb.add_argument("datasets", metavar="DATASET", nargs="*", help="folders or URLs, weight 1")
    verb.add_argument("--mixture", type=Path, metavar="FILE", help="YAML, as data.sources has it")
    verb.add_argument(
        "--run", dest="run_dir", type=Path, metavar="FOLDER", help="a run, from which all is read"
    )
    verb.add_argument("--global-batch-size", type=int, help="samples of a step; the run's")


def _verify(options: argparse.Namespace) -> int:
    from data_tools.inspection.finding import summarize, write_findings
    from data_tools.inspection.verify import verify_datasets
    from data_tools.shards.report import describe_contents

    findings = verify_datasets(options.datasets, workers=options.workers)
    for finding in findings:
        is_named = len(options.datasets) > 1 and finding.dataset
        print(f"{finding.level}: {f'{finding.dataset}: ' if is_named else ''}{finding.text}")
    if options.report is not None:
        write_findings(options.report, datasets=options.datasets, findings=findings)
    has_fault = any(finding.level == "fault" for finding in findings)
    if not has_fault:
        for dataset in options.datasets:
            print(describe_contents(dataset))
    print(f"{', '.join(map(str, options.datasets))}: {summarize(findings)}")
    return 1 if has_fault or (options.strict and findings) else 0


def _stats(options: argparse.Namespace) -> int:
    from data_tools.inspection.stats import compute_stats, count_dataset, format_stats
    from data_tools.inspection.stats_page import write_stats_page

    counts = count_dataset(options.dataset, workers=options.workers)
    print(format_stats(compute_stats(counts)))
    if options.html is not None:
        write_stats_page(options.html, options.dataset, counts)
        print(f"\n{options.html} shows it")
    return 0


def _preview(options: argparse.Namespace) -> int:
    from data_tools.inspection.preview import preview_clip

    row = preview_clip(
        options.dataset,
        options.clip_id,
        out_path=options.out,
        predictions_path=options.predictions,
    )
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
