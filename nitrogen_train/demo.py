"""`make demo`: record two real games, train one policy on both, let it play, write a page about it.

Every stage is one of the project's commands, started as a user would start it. A stage that has
finished is not run again; one that was interrupted continues where it stopped.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nitrogen_train.data.files import write_atomically
from nitrogen_train.evaluation.report import Stage, write_report

EPISODES = {"doom_defend": 60, "doom_gather": 24}
"""Recorded, by game."""
HELDOUT_EPISODES = 20
"""Played per game, on seeds that no recording uses."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One stage of the demo."""

    name: str
    arguments: list[str]
    """Of the Python interpreter."""

    def __str__(self) -> str:
        return shlex.join(["python", *self.arguments])


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
    parser = argparse.ArgumentParser(prog="python -m nitrogen_train.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of all results")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    arguments = parser.parse_args()
    plan = make_plan(arguments.output, seed=arguments.seed)
    journal = Journal(plan.run_dir / "stages.json")
    for number, command in enumerate(plan.commands, start=1):
        say = sys.stdout.write
        if journal.is_finished(command):
            say(f"[{number}/{len(plan.commands)}] {command.name}: done before\n")
            continue
        say(f"[{number}/{len(plan.commands)}] {command.name}\n    {command}\n")
        sys.stdout.flush()
        status = journal.run(command)
        if status:
            say(f"{command.name} ended with status {status}; `make demo` continues from here\n")
            sys.exit(status)
    page = write_page(plan, journal)
    sys.stdout.write(f"\n{page.resolve()}\n")


def make_plan(output_dir: Path, *, seed: int) -> Plan:
    """List the demo's commands, in order."""
    run_dir = _run_dir(output_dir, seed)
    commands: list[Command] = []
    for game, episodes in EPISODES.items():
        recordings, shards = output_dir / "recordings" / game, output_dir / "shards" / game
        record = f"record {game} --out {recordings} --episodes {episodes} --workers 2"
        shard = f"shard {recordings} --out {shards} --size 96 --workers 2"
        commands += [_data_command(record), _data_command(shard)]
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


class Journal:
    """What has been run, how long it took, and whether it finished; kept in a file."""

    def __init__(self, path: Path) -> None:
        """Read what earlier starts have written."""
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self._entries = json.loads(path.read_text(encoding="utf-8"))

    def is_finished(self, command: Command) -> bool:
        """Tell whether this very command has ended well before."""
        entry = self._entries.get(command.name, {})
        return bool(entry.get("finished")) and entry["command"] == str(command)

    def run(self, command: Command) -> int:
        """Run a command, count its time, also if it is interrupted, and return its exit status."""
        start = time.monotonic()
        status = -1
        try:
            status = subprocess.run([sys.executable, *command.arguments], check=False).returncode
        finally:
            before = self._entries.get(command.name, {}).get("seconds", 0.0)
            self._entries[command.name] = {
                "command": str(command),
                "seconds": before + time.monotonic() - start,
                "finished": status == 0,
            }
            with write_atomically(self._path) as temporary:
                temporary.write_text(json.dumps(self._entries, indent=1), encoding="utf-8")
        return status

    def stages(self) -> list[Stage]:
        """List what has been run, for the page."""
        return [
            Stage(name=name, command=entry["command"], seconds=entry["seconds"])
            for name, entry in self._entries.items()
        ]


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
