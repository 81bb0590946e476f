"""`make compare`: train every kind of policy on the demo's games, let all play, write one table.

    the demo's recordings, with their own logs ─► shards ─► CONTENDERS × SEEDS, as many at once as
    there are cores ─► play, with each number of sampling steps ─► docs/policies.json and a table

Every stage is a `nitrogen-train` or a `nitrogen-eval`; started again, the comparison continues.
"""

import argparse
import json
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from examples.demo import EPISODES, IMAGE_SIZE, data_command, plan_recordings
from examples.stages import Command, Journal, end_running, run_stages
from nitrogen_train.evaluation.closed_loop import bootstrap_runs
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.interrupts import Interrupted, interruptible
from nitrogen_train.runtime.progress import track

_FLOW = ["model=small", "model/path_time=shifted_beta", "model.stick_prediction=velocity"]
_ONE_CALL = (1,)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A kind of policy, and what it is tried with."""

    overrides: Sequence[str]
    """Of `nitrogen-train experiment=demo`."""
    num_sampling_steps: Sequence[int] = _ONE_CALL
    """A policy without a solver ignores them, and is tried once."""


CONTENDERS = {
    "flow, velocity": Contender(
        overrides=[*_FLOW, "model.button_prediction=velocity"], num_sampling_steps=(1, 2, 4, 16)
    ),
    "flow, buttons by cross entropy": Contender(
        overrides=[*_FLOW, "model.button_prediction=logits"], num_sampling_steps=(1, 2, 4, 16)
    ),
    "regression": Contender(overrides=["model=regression"]),
    "recurrent, 3 frames": Contender(
        overrides=["model=recurrent", "data.num_frames=3", "data.frame_stride=2"]
    ),
}
SEEDS = (0, 1, 2)
HELDOUT_EPISODES = 10
"""Played per game and training seed."""
TRAINING = [
    "max_steps=1200",
    "schedule.warmup_steps=100",
    "schedule.decay_steps=400",
    "val_every_n_steps=1200",
]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, and the evaluations of its policy."""

    name: str
    seed: int
    run_dir: Path
    commands: list[Command]


def main() -> None:
    """Run the comparison, or what is left of it, and write its table."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, default=Path("compare"), help="folder of all runs")
    parser.add_argument("--data", type=Path, default=Path("demo"), help="folder of the recordings")
    parser.add_argument(
        "--results", type=Path, default=Path("docs/policies.json"), help="file of the results"
    )
    arguments = parser.parse_args()
    journal = Journal(arguments.output / "stages.json")
    shards_dir = arguments.output / "shards"
    run_stages(plan_data(arguments.data, shards_dir), journal, again="make compare")
    runs = plan_runs(arguments.output, shards_dir=shards_dir)
    with interruptible("interrupted; `make compare` continues from here"):
        _run_all(runs)
    rows = [row for name in CONTENDERS for row in summarize(name, runs)]
    results = {
        "training": TRAINING,
        "episodes": HELDOUT_EPISODES,
        "rows": rows,
        "runs": [
            {"policy": run.name, "seed": run.seed, "commands": [str(each) for each in run.commands]}
            for run in runs
        ],
        "machine": platform.platform(),
        "torch": version("torch"),
    }
    with write_atomically(arguments.results) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"\n{format_rows(rows)}\n{arguments.results.resolve()}\n")


def plan_data(data_dir: Path, shards_dir: Path) -> list[Command]:
    """List the commands that record the demo's games and shard them with their own logs."""
    shards = [
        f"shard {data_dir / 'recordings' / game} --out {shards_dir / game} --size {IMAGE_SIZE}"
        for game in EPISODES
    ]
    return [*plan_recordings(data_dir), *map(data_command, shards)]


def plan_runs(output_dir: Path, *, shards_dir: Path) -> list[Run]:
    """List the trainings, seed by seed, so that an early end leaves whole rounds."""
    return [
        _plan_run(name, contender, seed, output_dir=output_dir, shards_dir=shards_dir)
        for seed in SEEDS
        for name, contender in CONTENDERS.items()
    ]


def summarize(name: str, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Average a contender's scores over training seeds and episodes.

    Yields:
        A row per number of sampling steps: normalized scores by game and over games, with 95 %
        bootstrap intervals over training seeds and, within them, episodes.
    """
    mine = [run for run in runs if run.name == name]
    for num_steps in CONTENDERS[name].num_sampling_steps:
        normalized = np.stack([_read_scores(run, num_steps) for run in mine])
        scores = {}
        for index, game in enumerate([*EPISODES, "mean"]):
            part = normalized[:, [index]] if game in EPISODES else normalized
            low, high = bootstrap_runs(part)
            scores[game] = {
                "mean": float(part.mean()),
                "low": low,
                "high": high,
                "seeds": part.mean(axis=(1, 2)).tolist(),
            }
        yield {"policy": name, "num_sampling_steps": num_steps, "scores": scores}


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the rows out as a table in Markdown."""
    lines = [
        f"| policy | sampling steps | {' | '.join(EPISODES)} | mean of games, 95 % | each seed |",
        "|---" * (len(EPISODES) + 4) + "|",
    ]
    for row in rows:
        games = [f"{row['scores'][game]['mean']:.2f}" for game in EPISODES]
        mean = row["scores"]["mean"]
        interval = f"**{mean['mean']:.2f}** ({mean['low']:.2f} to {mean['high']:.2f})"
        seeds = ", ".join(f"{seed:.2f}" for seed in mean["seeds"])
        cells = [row["policy"], str(row["num_sampling_steps"]), *games, interval, seeds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _plan_run(
    name: str, contender: Contender, seed: int, *, output_dir: Path, shards_dir: Path
) -> Run:
    run_dir = output_dir / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}"
    sources = [f"data.sources.{game}.path={shards_dir / game}" for game in EPISODES]
    train = ["experiment=demo", *TRAINING, *contender.overrides, *sources]
    commands = [_command("train", [*train, f"seed={seed}", f"output_dir={run_dir}"])]
    stride = [word for word in contender.overrides if word.startswith("data.frame_stride=")]
    for position, num_steps in enumerate(contender.num_sampling_steps):
        first = _scores_dir(run_dir, contender.num_sampling_steps[0])
        evaluate = [
            f"policy={run_dir}", f"games=[{','.join(EPISODES)}]", f"episodes={HELDOUT_EPISODES}",
            f"num_sampling_steps={num_steps}", f"output_dir={_scores_dir(run_dir, num_steps)}",
            "execution_horizon=1", "num_processes=1",
            *(word.removeprefix("data.") for word in stride),
            *([f"known_dir={first}"] if position else []),
        ]  # fmt: skip
        commands.append(_command("evaluate", evaluate, suffix=f" {num_steps}"))
    return Run(name=name, seed=seed, run_dir=run_dir, commands=commands)


def _command(verb: str, words: Sequence[str], *, suffix: str = "") -> Command:
    return Command(name=verb + suffix, arguments=["-m", f"nitrogen_train.{verb}", *words])


def _run_all(runs: Sequence[Run]) -> None:
    """Run every run's stages in order, several runs at once, each on one core.

    Raises:
        Interrupted: If a signal came; what runs has ended then.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    is_over = threading.Event()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            futures = [pool.submit(_run_stages, run, is_over) for run in runs]
            for future in track(
                as_completed(futures), label="train and play", unit="run", total=len(futures)
            ):
                future.result()
        except Interrupted as interrupt:
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            end_running(interrupt.number)
            raise


def _run_stages(run: Run, is_over: threading.Event) -> None:
    journal = Journal(run.run_dir / "stages.json")
    run.run_dir.mkdir(parents=True, exist_ok=True)
    log_path = run.run_dir / "log.txt"
    with log_path.open("a", encoding="utf-8") as log:
        for command in run.commands:
            if is_over.is_set():
                return
            if not journal.is_finished(command) and (status := journal.run(command, log=log)):
                raise ChildProcessError(
                    f"{command.name} of {run.run_dir} ended with status {status}: see {log_path}; "
                    "`make compare` continues from here"
                )


def _read_scores(run: Run, num_steps: int) -> Float64[np.ndarray, "games episodes"]:
    text = (_scores_dir(run.run_dir, num_steps) / "scores.json").read_text(encoding="utf-8")
    games = json.loads(text)["games"]
    return np.array(
        [
            (np.array(score["policy_scores"]) - score["random"])
            / (score["reference"] - score["random"])
            for score in (games[game] for game in EPISODES)
        ]
    )


def _scores_dir(run_dir: Path, num_steps: int) -> Path:
    return run_dir / f"sampling-steps-{num_steps}"


if __name__ == "__main__":
    main()
