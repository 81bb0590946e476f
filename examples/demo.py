"""`make demo`: from videos that show a controller to one policy that plays two games, and a page.

    games ─► recordings ─► videos with a pad drawn on them, as streams show it; their logs are left
      ─► watched: what the pad shows becomes a log ─► shards, the pad hidden ─► policy ─► play

Every stage is one of the project's commands, started as a user would start it. A stage that has
finished is not run again; one that was interrupted continues where it stopped. The recordings' own
logs are read again at the end: the page tells how well the videos were read.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from examples.stages import Command, Journal, run_stages
from examples.watched_section import write_watched_section
from nitrogen_train.evaluation.run_page import Opening, write_report
from nitrogen_train.runtime.interrupts import announce

EPISODES = {"doom_defend": 48, "doom_gather": 20}
"""Recorded, by game."""
IMAGE_SIZE = 96
"""Side of the square picture that the policy sees."""
PADS = {
    "doom_defend": "--skin drawn-1000023 --at top-left",
    "doom_gather": "--skin drawn-1000014 --at top-right",
    "carracing": "--skin drawn-1000005 --at top-right",
}
"""Drawn on each game's videos. No reader is trained with these skins."""
MOTION = ("model=recurrent", "data.num_frames=3", "data.frame_stride=2")
"""A policy that sees three frames: it learns these games in a third of the steps of one that sees
one (docs/policies.md)."""
_TRAINING = ("max_steps=1200", "schedule.warmup_steps=100", "schedule.decay_steps=400")
STREAM = "--width 160 --size 640x480 --bitrate 800k --preset superfast"
"""As many bits a pixel as a stream of 720p, 30 frames a second and 6 Mbit/s has."""
FILLING = "--filling surroundings"
"""What is put where the pad was: a policy plays where none is, and nothing is black either."""
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
    train = [
        "experiment=demo", *MOTION, *_TRAINING, "val_every_n_steps=400",
        f"seed={seed}", f"output_dir={run_dir}", *sources,
    ]  # fmt: skip
    datasets = ",".join(str(output_dir / "shards" / game) for game in EPISODES)
    evaluate = [
        f"policy={run_dir}", f"games=[{','.join(EPISODES)}]", f"episodes={HELDOUT_EPISODES}",
        f"datasets=[{datasets}]", f"output_dir={run_dir}", "videos=true",
        "execution_horizon=1",
    ]  # fmt: skip
    commands += [
        Command(name="train", arguments=["-m", "nitrogen_train.train", *train]),
        Command(name="evaluate", arguments=["-m", "nitrogen_train.evaluate", *evaluate]),
    ]
    return Plan(output_dir=output_dir, seed=seed, commands=commands)


def plan_data(output_dir: Path) -> list[Command]:
    """List the commands that make the demo's data: videos that show a pad, watched and sharded."""
    commands = plan_recordings(output_dir, EPISODES)
    for game in EPISODES:
        recordings, videos, watched, shards = (
            output_dir / name / game for name in ("recordings", "videos", "watched", "shards")
        )
        commands += plan_watching(game, recordings, videos, watched)
        commands.append(
            data_command(
                f"shard {watched} --out {shards} --size {IMAGE_SIZE} {FILLING} --workers 2"
            )
        )
    return commands


def plan_watching(game: str, recordings: Path, videos: Path, watched: Path) -> list[Command]:
    """List the commands that draw a pad on a game's videos, and read it from them."""
    watch = data_command(f"watch {videos} --out {watched} --game {game} --workers 2")
    return [
        data_command(f"overlay draw {recordings} --out {videos} {PADS[game]} {STREAM} --workers 2"),
        # A video whose controller is not found is left out; the others are enough.
        replace(watch, may_leave_out=True),
    ]


def plan_recordings(output_dir: Path, episodes: Mapping[str, int]) -> list[Command]:
    """List the commands that record games, a number of episodes of each."""
    return [
        data_command(
            f"record {game} --out {output_dir / 'recordings' / game} "
            f"--episodes {number} --workers 2"
        )
        for game, number in episodes.items()
    ]


def write_page(plan: Plan, journal: Journal) -> Path:
    """Write the page about a finished demo."""
    run_dir = plan.run_dir
    page = run_dir / "report.html"
    write_report(
        page,
        opening=Opening(
            title="From videos that show a controller to a policy that plays",
            sections=[write_watched_section(plan.output_dir, list(EPISODES), size=IMAGE_SIZE)],
        ),
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


def data_command(line: str) -> Command:
    """Make a stage of a line of `nitrogen-data`, named by its verb and its game."""
    words = line.split()
    verb = words[: 2 if words[0] == "overlay" else 1]
    name = f"{verb[-1]} {Path(words[len(verb)]).name}"
    return Command(name=name, arguments=["-m", "data_tools", *words])


def _run_dir(output_dir: Path, seed: int) -> Path:
    return output_dir / f"run-{seed}"


if __name__ == "__main__":
    main()
