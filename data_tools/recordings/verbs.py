"""`record`."""

import argparse
from pathlib import Path

from data_tools.command_line import add_verb


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to the command line."""
    _add_record(verbs)


def _add_record(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = add_verb(
        verbs, "record", "Record a game's scripted expert; starts where it stopped.", _record
    )
    verb.add_argument("game", metavar="GAME", help="name, or your own as module:Class")
    verb.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    verb.add_argument("--episodes", type=int, required=True, help="one recording each")
    verb.add_argument("--first-seed", type=int, help="of the game's recording seeds; its first")
    verb.add_argument(
        "--disturbance",
        type=float,
        default=0.1,
        help="share of the rows in bursts of random controls, from which the expert recovers",
    )
    verb.add_argument("--size", type=int, help="squash frames to this square; the game's own size")
    verb.add_argument("--workers", type=int, default=2, help="processes")


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
