"""Measure sampling, training, data, video and games here, or predict training on GPUs.

Weights are random, and pictures too, but for those of videos. What is compared is measured in turn
in the same run.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.diversity import describe_diversity, measure_diversity
from benchmarks.encoding import (
    describe_decoders,
    describe_encodings,
    list_encodings,
    measure_decoders,
    measure_encodings,
    read_clip,
)
from benchmarks.feeding import describe_feeding, measure_feeding
from benchmarks.games import describe_games, measure_games
from benchmarks.loading import measure_loading
from benchmarks.loading_report import describe_loading
from benchmarks.machine import describe_machine, measure_matmul_rate
from benchmarks.manifest import describe_manifest, measure_manifest
from benchmarks.sampling import describe_sampling, measure_sampling
from benchmarks.serving import describe_serving, measure_serving
from benchmarks.strategies import STRATEGIES, describe_strategies, measure_strategies
from benchmarks.throughput import describe_throughput, predict_throughput
from benchmarks.training import describe_training, measure_training
from benchmarks.workload import BASE, DEMO, FULL
from nitrogen_train.games import list_games
from nitrogen_train.runtime.atomic_files import write_atomically

Result = tuple[str, list[dict[str, Any]]]
"""For people, and for `--json`."""

_SIZES = {workload.name: workload for workload in (FULL, BASE, DEMO)}
_NUM_BLOCKS = {"full": 4, "base": 8, "demo": 30}
"""Pairs of blocks of training steps, by size: a few minutes each."""


def main() -> None:
    """Run one benchmark, print its results and, if asked to, write them to a file."""
    arguments = _parse_arguments()
    machine = describe_machine()
    sys.stdout.write(", ".join(f"{name} {value}" for name, value in machine.items()) + "\n")
    sys.stdout.flush()
    text, results = arguments.run(arguments)
    sys.stdout.write(text)
    if arguments.json is not None:
        with write_atomically(arguments.json) as temporary:
            content = {"machine": machine, arguments.command: results}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def run_sampling(arguments: argparse.Namespace) -> Result:
    """Measure sampling at full size."""
    costs = measure_sampling(FULL, repetitions=arguments.repetitions)
    matmul_rate = measure_matmul_rate()
    results = [
        {
            **asdict(cost),
            "flops_ratio": cost.flops_ratio,
            "speedup": cost.speedup,
            "matmul_flops_per_s": matmul_rate,
        }
        for cost in costs
    ]
    return describe_sampling(costs, matmul_rate=matmul_rate), results


def run_training(arguments: argparse.Namespace) -> Result:
    """Measure a training step at some sizes, and what feeds it."""
    feeding = measure_feeding()
    costs = [
        measure_training(_SIZES[name], num_blocks=_NUM_BLOCKS[name]) for name in arguments.sizes
    ]
    results = [
        {**asdict(cost), "overhead_s": cost.overhead_s, "overhead_share": cost.overhead_share}
        for cost in costs
    ]
    text = f"{describe_training(costs)}\n{describe_feeding(feeding)}"
    return text, [*results, *map(asdict, feeding)]


def run_strategies(arguments: argparse.Namespace) -> Result:
    """Measure strategies on two processes."""
    costs = measure_strategies(arguments.strategies)
    return describe_strategies(costs), [asdict(cost) for cost in costs]


def run_throughput(_: argparse.Namespace) -> Result:
    """Predict the speed of training at the sizes that are meant for GPUs."""
    throughputs = [predict_throughput(workload) for workload in (FULL, BASE)]
    results = [{**asdict(each), "samples_per_s": each.samples_per_s} for each in throughputs]
    return describe_throughput(throughputs), results


def run_manifest(arguments: argparse.Namespace) -> Result:
    """Measure what a manifest of many clips costs each process."""
    cost = measure_manifest(num_clips=arguments.clips, num_games=arguments.games)
    return describe_manifest(cost), [asdict(cost)]


def run_diversity(arguments: argparse.Namespace) -> Result:
    """Measure how well the order of many clips shuffles."""
    diversity = measure_diversity(
        num_clips=arguments.clips,
        num_games=arguments.games,
        pass_clips=arguments.pass_clips,
        lane_groups=arguments.lane_groups,
    )
    return describe_diversity(diversity), [asdict(diversity)]


def run_loading(arguments: argparse.Namespace) -> Result:
    """Measure our loader on one core, and others on the same clips."""
    cost = measure_loading(
        arguments.datasets,
        num_rounds=arguments.rounds,
        max_clips=arguments.clips,
        micro_batch_size=arguments.micro_batch_size,
        lerobot_python=arguments.lerobot_python,
    )
    return describe_loading(cost), [asdict(cost)]


def run_encoding(arguments: argparse.Namespace) -> Result:
    """Measure encodings of videos, and the libraries that decode them."""
    clips = [read_clip(path) for path in arguments.videos]
    rounds, fps = arguments.rounds, clips[0].fps
    encodings = measure_encodings(clips, list_encodings(fps=fps), num_rounds=rounds)
    decoders = measure_decoders(clips, num_rounds=rounds)
    text = f"{describe_encodings(encodings, fps=fps)}\n{describe_decoders(decoders, fps=fps)}"
    return text, [asdict(cost) for cost in (*encodings, *decoders)]


def run_games(arguments: argparse.Namespace) -> Result:
    """Measure games, and what random player and expert reach in them.

    Raises:
        SystemExit: If a game cannot be measured.
    """
    try:
        measured = measure_games(
            list_games(arguments.games),
            num_seeds=arguments.seeds,
            num_processes=arguments.processes,
            ledger_path=arguments.ledger,
        )
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    return describe_games(measured), [
        {**asdict(each.cost), **asdict(each.scores)} for each in measured
    ]


def run_serving(arguments: argparse.Namespace) -> Result:
    """Measure what serving adds to a policy's time."""
    costs = measure_serving(num_rounds=arguments.rounds)
    return describe_serving(costs), [{**asdict(cost), "added_ms": cost.added_ms} for cost in costs]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace], Result], text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[shared], help=text, description=text)
        command.set_defaults(run=run)
        return command

    sampling = add("sampling", run_sampling, "sampling at full size: ours against the naive loop")
    sampling.add_argument(
        "--repetitions", type=int, default=5, help="pairs of calls per number of steps (5)"
    )
    training = add(
        "training", run_training, "a training step: ours under Lightning against a bare loop"
    )
    training.add_argument(
        "--sizes", nargs="+", choices=_SIZES, default=list(_SIZES), help="which sizes (all)"
    )
    strategies = add(
        "strategies", run_strategies, "DDP and ZeRO on two processes: time and memory per step"
    )
    strategies.add_argument(
        "--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES, help="which (all)"
    )
    add("throughput", run_throughput, "samples/s that training is predicted to reach on GPUs")
    manifest = add("manifest", run_manifest, "opening a manifest of many clips: time and memory")
    manifest.add_argument("--clips", type=int, default=7_200_000, help="how many (7200000)")
    manifest.add_argument("--games", type=int, default=1000, help="of how many games (1000)")
    diversity = add("diversity", run_diversity, "how well the order shuffles, and at what memory")
    diversity.add_argument("--clips", type=int, default=7_200_000, help="how many (7200000)")
    diversity.add_argument("--games", type=int, default=1000, help="of how many games (1000)")
    diversity.add_argument(
        "--pass-clips", type=int, default=2000, help="of which to enumerate passes (2000)"
    )
    diversity.add_argument("--lane-groups", type=int, help="see data.lane_groups; the default")
    _add_loading(add("loading", run_loading, "our loader on one core against four others"))
    encoding = add(
        "encoding", run_encoding, "how clips are best encoded, and what decodes them fastest"
    )
    encoding.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="recordings")
    encoding.add_argument("--rounds", type=int, default=7, help="measurements of each (7)")
    serving = add("serving", run_serving, "what serving adds to a policy's time")
    serving.add_argument("--rounds", type=int, default=300, help="answers of each client (300)")
    games = add("games", run_games, "speed, repetition and saved states of games; random, expert")
    games.add_argument(
        "games", nargs="*", default=["suite"], metavar="GAME", help="which (suite: all of ours)"
    )
    games.add_argument("--seeds", type=int, default=10, help="held-out seeds of each player (10)")
    games.add_argument("--processes", type=int, default=2, help="that play (2)")
    games.add_argument(
        "--ledger", type=Path, metavar="FILE", help="keeps what is measured: its games are done"
    )
    return parser.parse_args()


def _add_loading(loading: argparse.ArgumentParser) -> None:
    loading.add_argument(
        "datasets", nargs="+", type=Path, metavar="DATASET", help="folders of `nitrogen-data shard`"
    )
    loading.add_argument("--rounds", type=int, default=7, help="turns of each reader (7)")
    loading.add_argument(
        "--clips", type=int, default=64, help="training clips to read, of all data sets (64)"
    )
    loading.add_argument("--micro-batch-size", type=int, help="windows of a batch; the default's")
    loading.add_argument(
        "--lerobot-python", type=Path, metavar="PATH", help="interpreter that has lerobot"
    )


if __name__ == "__main__":
    main()
