"""`record`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import add_gamepad, add_verb

if TYPE_CHECKING:
    from data_tools.recordings.recording import RecordingFacts

_DISTURBANCE = 0.1


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add them to the command line."""
    _add_record(verbs)


def _add_record(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = add_verb(
        verbs,
        "record",
        "Record a game of ours, played by its scripted expert or by you; starts where it stopped.",
        _record,
    )
    verb.add_argument("game", metavar="GAME", help="name, or your own as module:Class")
    verb.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    verb.add_argument("--episodes", type=int, required=True, help="one recording each")
    verb.add_argument("--first-seed", type=int, help="of the game's recording seeds; its first")
    verb.add_argument("--size", type=int, help="squash frames to this square; the game's own size")
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
        help="share of the rows in bursts of random controls, from which the expert recovers "
        f"({_DISTURBANCE:g})",
    )
    expert.add_argument("--workers", type=int, help="processes (2)")
    add_gamepad(verb.add_argument_group("with --player human"))


def _record(options: argparse.Namespace) -> int:
    foreign = {
        "expert": ("device", "pad_map"),
        "human": ("disturbance", "workers"),
    }[options.player]
    for name in foreign:
        if getattr(options, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} does not go with --player {options.player}; leave it out")
    from data_tools.recordings.recording import search_recordings
    from nitrogen_train.progress import pluralize

    facts = _record_human(options) if options.player == "human" else _record_expert(options)
    scores = [fact.score for fact in facts if fact.score is not None]
    mean = f", mean score {sum(scores) / len(scores):.2f}" if scores else ""
    print(f"{pluralize(len(facts), 'recording')} in {options.out}{mean}")
    num_all = len(search_recordings([options.out])[0])
    if num_all > len(facts):
        print(f"with those of before: {pluralize(num_all, 'recording')} in {options.out}")
    print(f"next: {shlex.join(['nitrogen-data', 'shard', str(options.out), '--out', 'data'])}")
    return 0


def _record_expert(options: argparse.Namespace) -> "list[RecordingFacts]":
    from data_tools.recordings.record import record_game

    return record_game(
        options.game,
        out_dir=options.out,
        num_episodes=options.episodes,
        first_seed=options.first_seed,
        disturbance=_DISTURBANCE if options.disturbance is None else options.disturbance,
        size=options.size,
        workers=2 if options.workers is None else options.workers,
    )


def _record_human(options: argparse.Namespace) -> "list[RecordingFacts]":
    import contextlib

    from data_tools.capture.game_window import GameWindow
    from data_tools.capture.gamepad import Gamepad, find_gamepad
    from data_tools.capture.human_play import record_human

    with (
        contextlib.closing(find_gamepad(options.device)) as device,
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
