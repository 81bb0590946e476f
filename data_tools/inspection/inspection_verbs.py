"""Define the verbs `verify`, `stats`, `preview`, `order` and `mixture`."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from data_tools.command_line import CommandParser, add_verb, add_workers

_FIRST_WINDOWS = 20
"""Lines of `order` where nobody says how many: a step may have thousands."""


def add_inspection_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `verify`, `stats`, `preview`, `order` and `mixture` to the command line."""
    _add_readers(verbs)
    _add_preview(verbs)
    _add_order(verbs)
    _add_mixture(verbs)


def _add_readers(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verify = add_verb(
        verbs,
        "verify",
        "Check all that a data set promises; status 1 if it is faulty.",
        _verify,
        examples=["data", "data others --strict", "data --report doctor.json"],
    )
    verify.add_argument(
        "datasets", metavar="DATASET", type=Path, nargs="+", help="folders that one run trains on"
    )
    verify.add_argument(
        "--strict", action="store_true", help="1 also if something looks like a mistake"
    )
    verify.add_argument("--report", type=Path, metavar="FILE", help="JSON to write")
    add_workers(verify)
    stats = add_verb(
        verbs,
        "stats",
        "Count clips, hours and presses per game and split.",
        _stats,
        examples=["data", "data --html page.html", "data --workers 4"],
    )
    stats.add_argument("dataset", metavar="DATASET", help="folder or URL with a manifest")
    stats.add_argument("--html", type=Path, metavar="PAGE.html", help="a page with charts to write")
    add_workers(stats)


def _add_preview(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "preview",
        "Write a clip as a video with its pad below it, or list clips.",
        _preview,
        examples=[
            "data",
            "data doom_gather-000100-0000 --out clip.mp4",
            "data --out clip.mp4 --predictions predictions.parquet",
        ],
    )
    verb.add_argument("dataset", metavar="DATASET", help="folder or URL with a manifest")
    verb.add_argument(
        "clip_id",
        metavar="CLIP_ID",
        nargs="?",
        help="which clip; without --out they are listed (default: the first, with --predictions "
        "the first that was predicted)",
    )
    verb.add_argument("--out", type=Path, metavar="FILE.mp4", help="the video to write")
    verb.add_argument(
        "--predictions", type=Path, metavar="FILE", help="parquet of nitrogen-eval, drawn as well"
    )


def _add_order(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "order",
        "Print the windows that a rank will train on, in order.",
        _order,
        examples=[
            "data",
            "--run runs/mine --start 5000 --steps 100",
            "data --world-size 1024 --rank 7 --accumulation 1",
        ],
    )
    _add_run_choice(verb)
    verb.add_argument(
        "--world-size", type=int, metavar="N", help="ranks (default: those of the run's trainer)"
    )
    verb.add_argument("--rank", type=int, default=0, metavar="RANK", help="whose windows")
    verb.add_argument(
        "--start", type=int, default=0, metavar="STEP", help="the first optimizer step"
    )
    verb.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help=f"how many of them (default: the first {_FIRST_WINDOWS} windows of one)",
    )
    verb.add_argument("--seed", type=int, help="of the order (default: the run's)")
    verb.add_argument(
        "--accumulation",
        type=int,
        metavar="N",
        help="micro-batches of a rank in a step (default: as many as the run has)",
    )
    verb.add_argument(
        "--lane-groups", type=int, metavar="N", help="see data.lane_groups (default: the run's)"
    )
    verb.add_argument(
        "--windows-per-visit",
        type=int,
        metavar="N",
        help="see data.windows_per_visit (default: the run's)",
    )


def _add_mixture(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "mixture",
        "Count what a run uses, and its share of the samples.",
        _mixture,
        examples=["data others", "--run runs/mine", "--mixture mixture.yaml --steps 100000"],
    )
    _add_run_choice(verb)
    verb.add_argument(
        "--steps", type=int, metavar="N", help="optimizer steps (default: the run's max_steps)"
    )
    verb.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_run_choice(verb: argparse.ArgumentParser) -> None:
    """Ask for a run, or for the data of one that has nitrogen-train's defaults."""
    verb.add_argument("datasets", metavar="DATASET", nargs="*", help="folders or URLs, weight 1")
    verb.add_argument("--mixture", type=Path, metavar="FILE", help="YAML, as data.sources has it")
    verb.add_argument(
        "--run", dest="run_dir", type=Path, metavar="FOLDER", help="a run, from which all is read"
    )
    verb.add_argument(
        "--global-batch-size", type=int, metavar="N", help="samples of a step (default: the run's)"
    )


def _verify(options: argparse.Namespace) -> int:
    from data_tools.inspection.verify import summarize, verify_datasets, write_findings
    from data_tools.shards.drop_report import describe_contents

    for dataset in options.datasets:
        if re.match(r"\w+:/", str(dataset)):
            raise ValueError(f"{dataset} is a URL: verify reads every byte, of folders alone")
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
    from data_tools.inspection.stats import (
        compute_stats,
        count_dataset,
        format_stats,
        write_stats_page,
    )
    from nitrogen_train.data.dataset import Dataset

    if options.html is not None and options.html.suffix != ".html":
        # Before hours of counting: a browser shows the text of anything else.
        raise ValueError(f"a page is a .html file, got {options.html}")
    counts = count_dataset(Dataset(options.dataset), workers=options.workers)
    print(format_stats(compute_stats(counts)))
    if options.html is not None:
        write_stats_page(options.html, counts)
        print(f"\n{options.html} shows it")
    return 0


def _preview(options: argparse.Namespace) -> int:
    from data_tools.inspection.preview import list_clips, preview_clip
    from nitrogen_train.data.dataset import Dataset

    dataset = Dataset(options.dataset)
    if options.out is None:
        if options.clip_id is not None or options.predictions is not None:
            raise ValueError("say where the video goes: --out FILE.mp4")
        _print_lines(list_clips(dataset))
        return 0
    row = preview_clip(
        dataset, options.clip_id, out_path=options.out, predictions_path=options.predictions
    )
    print(f"{options.out} shows {row.clip_id} ({row.game}, {row.split})")
    return 0


def _order(options: argparse.Namespace) -> int:
    from data_tools.inspection.read_run import choose_run, iter_order, split_rank
    from nitrogen_train.config import count_processes
    from nitrogen_train.run.data_of_run import build_plan

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
        world_size=count_processes(config) if options.world_size is None else options.world_size,
        rank=options.rank,
        accumulation=options.accumulation,
        default=config.data.micro_batch_size,
    )
    steps = 1 if options.steps is None else options.steps
    lines = iter_order(build_plan(config), share, start=options.start, num_steps=steps)
    num_windows = share.shape.samples_per_process
    if options.steps is not None or num_windows <= _FIRST_WINDOWS:
        _print_lines(lines)
        return 0
    _print_lines(islice(lines, _FIRST_WINDOWS))
    print(
        f"the first {_FIRST_WINDOWS} of {num_windows} windows of step {options.start}; "
        "--steps 1 prints all of them",
        file=sys.stderr,
    )
    return 0


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _mixture(options: argparse.Namespace) -> int:
    from data_tools.inspection.read_run import choose_run, format_use, measure_use
    from nitrogen_train.run.data_of_run import build_plan

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
