"""`make demo`: record two real games, train one policy on both, let it play, write a page about it.

Every stage is one of the project's commands, started as a user would start it. A stage that has
finished is not run again; one that was interrupted continues where it stopped.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from examples.stages import Command, Journal, run_stages
from nitrogen_train.evaluation.run_page import write_report
from nitrogen_train.runtime.interrupts import announce

EPISODES = {"doom_defend": 60, "doom_gather": 24}
"""Recorded, by game."""
HELDOUT_EPISODES = 20
"""Played per game, on seeds that no recording uses."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where the demo's results lie, and the commands that make them."""

    output_dir: Path
    seed: int
    commands: list[Command]

    @property
    def run_dir(self) -> Path:
        """The training run's folder."""
        return _run_dir(self.output_dir, self.seed)


def main() -> None:
    """Run the demo, or what is left of it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of all results")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    arguments = parser.parse_args()
    plan = make_plan(arguments.output, seed=arguments.seed)
    journal = Journal(plan.run_dir / "stages.json")
    run_stages(plan.commands, journal, again="make demo")
    announce("interrupted; `make demo` writes the page")
    page = write_page(plan, journal)
    sys.stdout.write(f"\n{page.resolve()}\n")


def make_plan(output_dir: Path, *, seed: int) -> Plan:
    """List the demo's commands, in order."""
    run_dir = _run_dir(output_dir, seed)
    commands = plan_data(output_dir)
    sources = [f"data.sources.{game}.path={output_dir / 'shards' / game}" for game in EPISODES]
    train = ["experiment=demo", f"seed={seed}", f"output_dir={run_dir}", *sources]
    datasets = ",".join(str(output_dir / "shards" / game) for game in EPISODES)
    evaluate = [
        f"policy={run_dir}", f"games=[{','.join(EPISODES)}]", f"episodes={HELDOUT_EPISODES}",
        f"datasets=[{datasets}]", f"output_dir={run_dir}", "videos=true",
        "execution_horizon=1", "num_sampling_steps=1",
    ]  # fmt: skip
    commands += [
        Command(name="train", arguments=["-m", "nitrogen_train.train", *train]),
        Command(name="evaluate", arguments=["-m", "nitrogen_train.evaluate", *evaluate]),
    ]
    return Plan(output_dir=output_dir, seed=seed, commands=commands)


def plan_data(output_dir: Path) -> list[Command]:
    """List the commands that record and shard the demo's games."""
    commands: list[Command] = []
    for game, episodes in EPISODES.items():
        recordings, shards = output_dir / "recordings" / game, output_dir / "shards" / game
        record = f"record {game} --out {recordings} --episodes {episodes} --workers 2"
        shard = f"shard {recordings} --out {shards} --size 96 --workers 2"
        commands += [_data_command(record), _data_command(shard)]
    return commands


def write_page(plan: Plan, journal: Journal) -> Path:
    """Write the page about a finished demo."""
    run_dir = plan.run_dir
    page = run_dir / "report.html"
    write_report(
        page,
        title="From recordings to a policy that plays",
        scores=json.loads((run_dir / "scores.json").read_text(encoding="utf-8")),
        offline=json.loads((run_dir / "offline.json").read_text(encoding="utf-8")),
        metrics_csv=run_dir / "metrics.csv",
        videos={game: run_dir / "videos" / f"{game}.mp4" for game in EPISODES},
        stages=journal.stages(),
        facts={
            "processors": os.cpu_count(),
            "machine": platform.platform(),
            "Python": platform.python_version(),
            "torch": version("torch"),
            "training seed": plan.seed,
        },
    )
    return page


def _data_command(line: str) -> Command:
    words = line.split()
    return Command(name=f"{words[0]} {Path(words[1]).name}", arguments=["-m", "data_tools", *words])


def _run_dir(output_dir: Path, seed: int) -> Path:
    return output_dir / f"run-{seed}"


if __name__ == "__main__":
    main()
