"""`make suite`: record the experts of several games, train one policy on all, and let it play them.

    games ─► recordings ─► shards ─► one policy, told the game ─► held-out seeds ─► docs/suite.json

Every stage is one of the project's commands; started again, what is left of them is done.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from examples.demo import IMAGE_SIZE, data_command, plan_recordings
from examples.stages import Command, Journal, run_stages
from nitrogen_train.evaluation.closed_loop import CONFIDENCE
from nitrogen_train.runtime.atomic_files import write_atomically
from nitrogen_train.runtime.interrupts import announce

EPISODES = {
    "carracing": 24,
    "doom_defend": 48,
    "doom_gather": 20,
    "pekka": 48,
    "supertux": 28,
    "supertuxkart": 32,
}
"""Recorded, by game."""
WEIGHTS = {"doom_defend": 2, "supertux": 2, "supertuxkart": 2}
"""Of the games whose share of the samples is not 1."""
HELDOUT_EPISODES = 20
_NUM_RESAMPLES = 10_000


def main() -> None:
    """Run the recipe, or what is left of it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, default=Path("suite"), help="folder of all results")
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    arguments = parser.parse_args()
    journal = Journal(arguments.output / "stages.json")
    run_stages(plan_suite(arguments.output), journal, again="make suite")
    announce("interrupted; `make suite` writes the table")
    scores = json.loads((arguments.output / "scores.json").read_text(encoding="utf-8"))
    sys.stdout.write(f"\n{describe_scores(scores['games'])}")
    if arguments.json is not None:
        seconds = {stage.name: round(stage.seconds) for stage in journal.stages()}
        with write_atomically(arguments.json) as temporary:
            content = {"games": scores["games"], "seconds": seconds}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def plan_suite(output_dir: Path) -> list[Command]:
    """List the commands, in order."""
    commands = plan_recordings(output_dir, EPISODES)
    shards = {game: output_dir / "shards" / game for game in EPISODES}
    commands += [
        data_command(
            f"shard {output_dir / 'recordings' / game} --out {path} --size {IMAGE_SIZE} --workers 2"
        )
        for game, path in shards.items()
    ]
    sources = [
        word
        for game, path in shards.items()
        for word in (
            f"++data.sources.{game}.path={path}",
            f"++data.sources.{game}.weight={WEIGHTS.get(game, 1)}",
            f"++data.sources.{game}.any_fps=true",
        )
    ]
    run_dir = output_dir / "run"
    train = ["experiment=suite", f"output_dir={run_dir}", *sources]
    evaluate = [
        f"policy={run_dir}", f"games=[{','.join(EPISODES)}]", f"episodes={HELDOUT_EPISODES}",
        f"output_dir={output_dir}", "videos=true", "execution_horizon=1",
    ]  # fmt: skip
    return [
        *commands,
        Command(name="train", arguments=["-m", "nitrogen_train.train", *train]),
        Command(name="evaluate", arguments=["-m", "nitrogen_train.evaluate", *evaluate]),
    ]


def describe_scores(scores: dict[str, dict[str, Any]]) -> str:
    """Lay out the scores as a table of Markdown, and their mean over games."""
    rows = ["| game | random | expert | policy | normalized (95 %) |\n|---|---|---|---|---|\n"]
    rows += [
        f"| {game} | {each['random']:.4g} | {each['expert']:.4g} | {each['policy']:.4g} "
        f"| {each['score']:.2f} ({each['low']:.2f} to {each['high']:.2f}) |\n"
        for game, each in scores.items()
    ]
    mean, low, high = average_games(scores)
    return "".join([*rows, f"| mean | | | | {mean:.2f} ({low:.2f} to {high:.2f}) |\n"])


def average_games(scores: dict[str, dict[str, Any]]) -> tuple[float, float, float]:
    """Average normalized scores over episodes, then over games.

    Returns:
        The mean, and the bounds of its interval: in each game its episodes are drawn again.
    """
    rng = np.random.default_rng(0)
    drawn: list[Any] = []
    for each in scores.values():
        span = each["reference"] - each["random"]
        normalized = (np.asarray(each["policy_scores"]) - each["random"]) / span
        drawn.append(rng.choice(normalized, (_NUM_RESAMPLES, len(normalized))).mean(axis=1))
    bounds = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(np.mean(drawn, axis=0), bounds)
    return float(np.mean([each["score"] for each in scores.values()])), float(low), float(high)


if __name__ == "__main__":
    main()
