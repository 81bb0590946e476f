"""Define the verbs `games` and `record`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import CommandParser, add_gamepad, add_verb, out_folder, propose_shard

if TYPE_CHECKING:
    from data_tools.recordings.recording import RecordingFacts

# The names alone: a game's module takes time to import.
_GAMES = ("carracing", "doom_defend", "doom_gather")
# Not defaults of argparse: beside --player human they must not be given.
_DISTURBANCE = 0.1
_WORKERS = 2


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add them to the command line."""
    _add_games(verbs)
    _add_record(verbs)


def _add_games(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "games",
        "List the games, what each needs, its controls and licence.",
        _games,
        examples=["", "doom_gather", "my_games:MountainCar"],
    )
    verb.add_argument(
        "games",
        metavar="GAME",
        nargs="*",
        help="show these alone: names, or your own as module:Class (default: all of ours)",
    )


def _add_record(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "record",
        "Record a game, played by its scripted expert or by you.",
        _record,
        examples=[
            "doom_gather --out rec --episodes 24",
            "my_games:MountainCar --out rec --episodes 10",
            "carracing --out rec --episodes 3 --player human",
        ],
    )
    verb.add_argument(
        "game",
        metavar="GAME",
        help=f"{', '.join(_GAMES)}, or your own as module:Class; nitrogen-data games tells more",
    )
    verb.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the recordings"
    )
    verb.add_argument(
        "--episodes",
        type=int,
        required=True,
        metavar="N",
        help="one recording each; those that are there already are kept",
    )
    verb.add_argument(
        "--first-seed",
        type=int,
        metavar="SEED",
        help="of the game's recording seeds (default: the first of them)",
    )
    verb.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="squash frames to this square (default: the game's own size)",
    )
    verb.add_argument(
        "--player",
        choices=("expert", "human"),
        default="expert",
        help="human: you, with a gamepad, in a window, in real time",
    )
    expert = verb.add_argument_group("with --player expert")
    expert.add_argument(
        "--disturbance",
        type=float,
        metavar="SHARE",
        help="share of the rows in bursts of random controls, from which the expert recovers "
        f"(default: {_DISTURBANCE:g})",
    )
    expert.add_argument("--workers", type=int, metavar="N", help=f"processes (default: {_WORKERS})")
    add_gamepad(verb.add_argument_group("with --player human"))


def _games(options: argparse.Namespace) -> int:
    from data_tools.recordings.record_games import describe_games

    text, is_playable = describe_games(options.games)
    print(text)
    return 1 if options.games and not is_playable else 0


def _record(options: argparse.Namespace) -> int:
    foreign = {
        "expert": ("device", "pad_map"),
        "human": ("disturbance", "workers"),
    }[options.player]
    for name in foreign:
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} does not go with --player {options.player}; leave it out")

    before = _list_facts(options.out)
    facts = _record_human(options) if options.player == "human" else _record_expert(options)
    num_new = sum(options.out / f"{fact.session_id}.json" not in before for fact in facts)
    if not facts:
        print("nothing was recorded")
        return 0
    scores = [fact.score for fact in facts if fact.score is not None]
    mean = f", mean score {sum(scores) / len(scores):.2f}" if scores else ""
    print(f"{_count(options.out, len(facts), facts[0].game)}{mean}")
    if not num_new:
        print(f"all {len(facts)} were there already and are kept: nothing was recorded")
    elif num_new < len(facts):
        print(f"{num_new} recorded now, {len(facts) - num_new} were there already and are kept")
    print(f"next: {propose_shard(options.out)}")
    return 0


def _list_facts(folder: Path) -> set[Path]:
    return set(folder.glob("*.json"))


def _count(folder: Path, num_recorded: int, game: str) -> str:
    """Say how many recordings there are, also where the folder holds others."""
    from data_tools.recordings.recording import search_recordings
    from nitrogen_train.runtime.progress import pluralize

    num_there = len(search_recordings([folder])[0])
    if num_there == num_recorded:
        return f"{pluralize(num_recorded, 'recording')} in {folder}"
    return f"{pluralize(num_recorded, 'recording')} of {game}, {num_there} in {folder}"


def _record_expert(options: argparse.Namespace) -> "list[RecordingFacts]":
    from data_tools.recordings.record_games import record_game

    return record_game(
        options.game,
        out_dir=options.out,
        num_episodes=options.episodes,
        first_seed=options.first_seed,
        disturbance=_DISTURBANCE if options.disturbance is None else options.disturbance,
        size=options.size,
        workers=_WORKERS if options.workers is None else options.workers,
    )


def _record_human(options: argparse.Namespace) -> "list[RecordingFacts]":
    import contextlib

    from data_tools.capture.gamepad import Gamepad, find_gamepad
    from data_tools.capture.human_play import GameWindow, record_human

    with (
        contextlib.closing(find_gamepad(options.device, pad_map=options.pad_map)) as device,
        contextlib.closing(GameWindow(options.game)) as window,
    ):
        gamepad = Gamepad(device, pad_map=options.pad_map)
        print(gamepad.name, flush=True)
        if gamepad.layout.advice:
            print(gamepad.layout.advice, flush=True)
        facts, num_late = record_human(
            options.game,
            gamepad,
            window,
            out_dir=options.out,
            num_episodes=options.episodes,
            first_seed=options.first_seed,
            size=options.size,
        )
    if num_late:
        print(f"{num_late} rows were late: the machine is too slow for the game's frame rate")
    return facts
