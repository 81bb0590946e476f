"""`make compare`: train several kinds of policy on the same games, let all play, write one table.

    recordings ─► shards ─► contenders × SEEDS, as many at once as there are cores
      ─► play, with each number of sampling steps ─► docs/NAME.json and a table

`policies` compares kinds of policy on the demo's recordings, with their own logs. `watched`
compares what one kind learns from the logs, from the controllers that were drawn on the same
videos, and from videos on which the controller is left to be seen; all leave the same rows out, in
which the expert was disturbed. Every stage is a command of the project; started again, the
comparison continues.
"""

import argparse
import json
import os
import platform
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from data_tools.watching.judge_reading import JudgedReading, judge_reading
from examples.demo import (
    EPISODES,
    FILLING,
    IMAGE_SIZE,
    MOTION,
    data_command,
    plan_recordings,
    plan_watching,
)
from examples.stages import Command, Journal, end_running, run_stages
from nitrogen_train.evaluation.closed_loop import bootstrap_runs
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.interrupts import Interrupted, interruptible
from nitrogen_train.runtime.progress import track

LOGGED, WATCHED, UNMASKED = "logged", "watched", "unmasked"
"""Data sets of the same play: by its own logs; by the controller on the picture, which is blacked
out; and with the controller left there."""
_FLOW = ["model=small", "model/path_time=shifted_beta", "model.stick_prediction=velocity"]
_ONE_CALL = (1,)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A kind of policy, what it learns from, and what it is tried with."""

    overrides: Sequence[str]
    """Of `nitrogen-train experiment=demo`."""
    shards: str = LOGGED
    """Which of the comparison's data sets it learns from, and is held against offline."""
    num_sampling_steps: Sequence[int] = _ONE_CALL
    """A policy without a solver ignores them, and is tried once."""


POLICIES = {
    "flow, velocity": Contender(
        overrides=[*_FLOW, "model.button_prediction=velocity"], num_sampling_steps=(1, 2, 4, 16)
    ),
    "flow, buttons by cross entropy": Contender(
        overrides=[*_FLOW, "model.button_prediction=logits"], num_sampling_steps=(1, 2, 4, 16)
    ),
    "regression": Contender(overrides=["model=regression"]),
    "recurrent, 3 frames": Contender(overrides=MOTION),
}
LABELS = {
    "logs": Contender(overrides=MOTION),
    "watched": Contender(overrides=MOTION, shards=WATCHED),
    "watched, controller left on the picture": Contender(overrides=MOTION, shards=UNMASKED),
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
class Comparison:
    """What is compared, and on which games."""

    contenders: Mapping[str, Contender]
    episodes: Mapping[str, int]
    """Recorded, by game."""
    overrides: Sequence[str] = ()
    """Of all trainings."""

    def plan_data(self, data_dir: Path, shards_dir: Path) -> list[Command]:
        """List the commands that record the games, and make the data sets of the contenders."""
        commands = plan_recordings(data_dir, self.episodes)
        kinds = {contender.shards for contender in self.contenders.values()}
        for game in self.episodes:
            logged, videos, watched, chosen, unmasked = (
                data_dir / name / game
                for name in ("recordings", "videos", WATCHED, "chosen", UNMASKED)
            )
            commands.append(_shard(logged, shards_dir / LOGGED / game))
            if WATCHED in kinds:
                commands += plan_watching(game, logged, videos, watched)
                commands.append(_copy(watched, logged, chosen, name=f"choose rows of {game}"))
                commands.append(_shard(chosen, shards_dir / WATCHED / game))
            if UNMASKED in kinds:
                copy = _copy(watched, logged, unmasked, "--unmask", name=f"unmask {game}")
                commands += [copy, _shard(unmasked, shards_dir / UNMASKED / game)]
        return commands

    def judge_watched(self, data_dir: Path) -> dict[str, JudgedReading]:
        """Hold what was read from each game's videos against its logs; empty if nothing was.

        Raises:
            ShardError: If a recording breaks its contract.
        """
        if all(contender.shards == LOGGED for contender in self.contenders.values()):
            return {}
        return {
            game: judge_reading(data_dir / WATCHED / game, data_dir / "recordings" / game)
            for game in self.episodes
        }

    def plan_runs(self, output_dir: Path, *, shards_dir: Path) -> list["Run"]:
        """List the trainings, seed by seed, so that an early end leaves whole rounds."""
        return [
            self._plan_run(name, contender, seed, output_dir=output_dir, shards_dir=shards_dir)
            for seed in SEEDS
            for name, contender in self.contenders.items()
        ]

    def _plan_run(
        self, name: str, contender: Contender, seed: int, *, output_dir: Path, shards_dir: Path
    ) -> "Run":
        run_dir = output_dir / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}"
        shards = {game: shards_dir / contender.shards / game for game in self.episodes}
        sources = [f"++data.sources.{game}.path={path}" for game, path in shards.items()]
        train = ["experiment=demo", *TRAINING, *contender.overrides, *sources, *self.overrides]
        commands = [_command("train", [*train, f"seed={seed}", f"output_dir={run_dir}"])]
        stride = [word for word in contender.overrides if word.startswith("data.frame_stride=")]
        for position, num_steps in enumerate(contender.num_sampling_steps):
            first = _scores_dir(run_dir, contender.num_sampling_steps[0])
            datasets = ",".join(map(str, shards.values()))
            evaluate = [
                f"policy={run_dir}", f"games=[{','.join(self.episodes)}]",
                f"episodes={HELDOUT_EPISODES}", f"num_sampling_steps={num_steps}",
                f"output_dir={_scores_dir(run_dir, num_steps)}",
                "execution_horizon=1", "num_processes=1",
                *(word.removeprefix("data.") for word in stride),
                *([f"known_dir={first}"] if position else [f"datasets=[{datasets}]"]),
            ]  # fmt: skip
            commands.append(_command("evaluate", evaluate, suffix=f" {num_steps}"))
        return Run(name=name, seed=seed, run_dir=run_dir, commands=commands)

    def summarize(self, name: str, runs: Sequence["Run"]) -> Iterator[dict[str, Any]]:
        """Average a contender's scores over training seeds and episodes.

        Yields:
            A row per number of sampling steps: normalized scores by game and over games, with 95 %
            bootstrap intervals over training seeds and, within them, episodes; and how well actions
            of held-out play were told offline, the mean of the seeds.
        """
        mine = [run for run in runs if run.name == name]
        for num_steps in self.contenders[name].num_sampling_steps:
            normalized = np.stack([_read_scores(run, num_steps, self.episodes) for run in mine])
            scores = {}
            for index, game in enumerate([*self.episodes, "mean"]):
                part = normalized if game == "mean" else normalized[:, [index]]
                low, high = bootstrap_runs(part)
                scores[game] = {
                    "mean": float(part.mean()),
                    "low": low,
                    "high": high,
                    "seeds": part.mean(axis=(1, 2)).tolist(),
                }
            row = {"policy": name, "num_sampling_steps": num_steps, "scores": scores}
            yield row | {"offline": _read_offline(mine, num_steps)}


COMPARISONS = {
    "policies": Comparison(contenders=POLICIES, episodes=EPISODES),
    "watched": Comparison(
        contenders=LABELS,
        episodes={**EPISODES, "carracing": 16},
        # Its rows last 80 ms, those of the other two 86 ms.
        overrides=["++data.sources.carracing.weight=4", "++data.sources.carracing.any_fps=true"],
    ),
}


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
    parser.add_argument("what", nargs="?", choices=COMPARISONS, default="policies")
    parser.add_argument("--output", type=Path, default=Path("compare"), help="folder of all runs")
    parser.add_argument("--data", type=Path, default=Path("demo"), help="folder of the recordings")
    parser.add_argument("--results", type=Path, help="file of the results (docs/NAME.json)")
    arguments = parser.parse_args()
    comparison = COMPARISONS[arguments.what]
    journal = Journal(arguments.output / "stages.json")
    shards_dir = arguments.output / "shards"
    run_stages(comparison.plan_data(arguments.data, shards_dir), journal, again="make compare")
    read = comparison.judge_watched(arguments.data)
    sys.stdout.write(format_reading(read))
    runs = comparison.plan_runs(arguments.output, shards_dir=shards_dir)
    with interruptible("interrupted; `make compare` continues from here"):
        _run_all(runs)
    rows = [row for name in comparison.contenders for row in comparison.summarize(name, runs)]
    results = {
        "training": TRAINING,
        "episodes": HELDOUT_EPISODES,
        "read": {game: asdict(judged) for game, judged in read.items()},
        "rows": rows,
        "runs": [
            {"policy": run.name, "seed": run.seed, "commands": [str(each) for each in run.commands]}
            for run in runs
        ],
        "machine": platform.platform(),
        "torch": version("torch"),
    }
    path = arguments.results or Path("docs") / f"{arguments.what}.json"
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"\n{format_rows(rows)}\n{path.resolve()}\n")


def format_reading(read: Mapping[str, JudgedReading]) -> str:
    """Say in a line per game how well its videos were read."""
    lines = []
    for game, judged in read.items():
        f1 = "nothing pressed" if judged.press_f1 is None else f"press F1 {judged.press_f1:.3f}"
        r2 = ", ".join(f"{axis} {value:.2f}" for axis, value in judged.stick_r2.items())
        lines.append(f"{game}: {judged.readable:.1%} of its rows were read; {f1}; R² {r2 or '–'}\n")
    return "".join(lines)


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the rows out as a table in Markdown."""
    names = [name for name in rows[0]["scores"] if name != "mean"]
    lines = [
        f"| policy | sampling steps | {' | '.join(names)} | mean of games, 95 % | each seed "
        "| frame F1, stick error offline |",
        "|---" * (len(names) + 5) + "|",
    ]
    for row in rows:
        games = [f"{row['scores'][game]['mean']:.2f}" for game in names]
        mean, offline = row["scores"]["mean"], row["offline"]
        interval = f"**{mean['mean']:.2f}** ({mean['low']:.2f} to {mean['high']:.2f})"
        seeds = ", ".join(f"{seed:.2f}" for seed in mean["seeds"])
        told = f"{offline['frame_f1']:.2f}, {offline['stick_mae']:.3f}" if offline else ""
        cells = [row["policy"], str(row["num_sampling_steps"]), *games, interval, seeds, told]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shard(recordings: Path, shards: Path) -> Command:
    kind = shards.parent.name
    command = data_command(
        f"shard {recordings} --out {shards} --size {IMAGE_SIZE} {FILLING} --workers 2"
    )
    return replace(command, name=f"{command.name}, {kind}")


def _copy(watched: Path, recordings: Path, out: Path, *options: str, name: str) -> Command:
    words = [str(watched), "--of", str(recordings), "--out", str(out), *options]
    return Command(name=name, arguments=["-m", "examples.watched_copies", *words])


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


def _read_scores(
    run: Run, num_steps: int, names: Iterable[str]
) -> Float64[np.ndarray, "games episodes"]:
    text = (_scores_dir(run.run_dir, num_steps) / "scores.json").read_text(encoding="utf-8")
    games = json.loads(text)["games"]
    return np.array(
        [
            (np.array(score["policy_scores"]) - score["random"])
            / (score["reference"] - score["random"])
            for score in (games[game] for game in names)
        ]
    )


def _read_offline(runs: Sequence[Run], num_steps: int) -> dict[str, float]:
    """Average what was told of held-out play; empty for a number of steps that was played only."""
    paths = [_scores_dir(run.run_dir, num_steps) / "offline.json" for run in runs]
    found = [
        json.loads(path.read_text(encoding="utf-8"))["players"]["policy"]["macro"]
        for path in paths
        if path.exists()
    ]
    names = ("frame_f1", "onset_f1", "stick_mae")
    return {name: float(np.mean([each[name] for each in found])) for name in names if found}


def _scores_dir(run_dir: Path, num_steps: int) -> Path:
    return run_dir / f"sampling-steps-{num_steps}"


if __name__ == "__main__":
    main()
