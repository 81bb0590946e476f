"""Define the verbs `games`, `record`, `gamepads` and `record-screen`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import CommandParser, add_gamepad, add_verb, out_folder, propose_shard

if TYPE_CHECKING:
    from data_tools.recordings.recording import RecordingFacts
import contextlib
import sys
from typing import TYPE_CHECKING

from data_tools.command_line import game_name
from nitrogen_train.runtime.atomic_files import describe_error

if TYPE_CHECKING:
    from data_tools.recordings.event_device import DeviceDescription
    from data_tools.recordings.pad_layout import PadLayout
    from data_tools.recordings.record_screen import ScreenReport

# Not defaults of argparse: beside --player human they must not be given.
_DISTURBANCE = 0.1
_WORKERS = 2


def add_record_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `games` and `record` to the command line."""
    _add_games(verbs)
    _add_record(verbs)


def _add_games(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "games",
        "List the games, what each needs, its controls and licence.",
        _games,
        examples=["", "doom_gather", "my_games:MountainCar", "my_game.yaml"],
    )
    verb.add_argument(
        "games",
        metavar="GAME",
        nargs="*",
        help="show these alone: names, your own as module:Class or my_game.yaml (default: all of "
        "ours)",
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
        help="one that nitrogen-data games lists, or your own as module:Class or my_game.yaml",
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
    if options.player == "expert" and (warning := _warn_of_chance(options.game)):
        print(warning)
    print(f"next: {propose_shard(options.out)}")
    return 0


def _warn_of_chance(game: str) -> str:
    from data_tools.recordings.record_games import warn_of_chance
    from nitrogen_train.games import load_game

    return warn_of_chance(load_game(game))


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

    from data_tools.recordings.gamepad import Gamepad, find_gamepad
    from data_tools.recordings.human_play import GameWindow, record_human

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


def add_capture_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `gamepads` and `record-screen` to the command line."""
    _add_gamepads(verbs)
    _add_record_screen(verbs)


def _add_gamepads(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "gamepads",
        "List the gamepads here and what their buttons are taken for.",
        _gamepads,
        examples=["", "--watch", "--watch --pad-map SOUTH=BTN_EAST,EAST=BTN_SOUTH"],
    )
    add_gamepad(verb)
    verb.add_argument(
        "--watch", action="store_true", help="show what is pressed, by name and code, until Ctrl-C"
    )


def _add_record_screen(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    verb = add_verb(
        verbs,
        "record-screen",
        "Record a gamepad and an X11 screen or window, until Ctrl-C.",
        _record_screen,
        examples=[
            "--out rec --game celeste",
            "--out rec --game celeste --window 0x3400007",
            "--out rec --game celeste --seconds 600",
        ],
    )
    verb.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the recording"
    )
    verb.add_argument("--game", required=True, type=game_name, help="what is played, lower case")
    add_gamepad(verb)
    verb.add_argument("--display", help="X server, for example :0 (default: $DISPLAY)")
    part = verb.add_mutually_exclusive_group()
    part.add_argument("--region", metavar="WxH+X+Y", help="in pixels (default: the whole screen)")
    part.add_argument("--window", metavar="ID", help="a window as xwininfo names it")
    verb.add_argument("--no-cursor", action="store_true", help="leave the mouse pointer out")
    verb.add_argument("--fps", type=float, default=30.0, metavar="HZ", help="constant frame rate")
    verb.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="squash pictures to this square (default: as they are)",
    )
    verb.add_argument(
        "--seconds", type=float, metavar="S", help="stop by itself (default: at Ctrl-C)"
    )
    verb.add_argument("--name", help="of the files (default: the game and the time)")
    verb.add_argument(
        "--session", help="recordings of one stay on one side of a split (default: the name)"
    )
    verb.add_argument("--source", default="recordings", help="collection it belongs to")
    verb.add_argument("--licence", default="unknown", help="terms of the pictures")


def _gamepads(options: argparse.Namespace) -> int:
    from data_tools.recordings.event_device import list_devices
    from data_tools.recordings.gamepad import NO_GAMEPAD, find_gamepad

    if options.watch:
        return _watch(options)
    if options.device or options.pad_map:
        with contextlib.closing(find_gamepad(options.device, pad_map=options.pad_map)) as device:
            _show(device.description, options.pad_map)
        return 0
    devices = list_devices()
    for device in devices:
        _show(device, None)
    if not devices:
        print(NO_GAMEPAD)
    return 0


def _show(description: "DeviceDescription", pad_map: str | None) -> None:
    from data_tools.recordings.event_device import EventDevice
    from data_tools.recordings.gamepad import Gamepad

    print(
        f"{description.path}  {description.name}  "
        f"{description.vendor:04x}:{description.product:04x}  {description.driver or '-'}"
    )
    try:
        with contextlib.closing(EventDevice(description)) as device:
            layout = Gamepad(device, pad_map=pad_map).layout
    except OSError as error:
        # One that may not be read must not hide the others.
        print(f"  {describe_error(error)}")
    else:
        _print_layout(layout)


def _print_layout(layout: "PadLayout") -> None:
    print(f"  layout {layout.decided_by}")
    if layout.advice:
        print(f"  {layout.advice}")


def _watch(options: argparse.Namespace) -> int:
    from data_tools.recordings.gamepad import find_gamepad, watch_pad
    from data_tools.recordings.pad_layout import build_layout
    from data_tools.recordings.record_screen import stop_on_signals

    with (
        contextlib.closing(find_gamepad(options.device, pad_map=options.pad_map)) as device,
        stop_on_signals() as stop,
    ):
        layout = build_layout(device.description, device.read_state(), pad_map=options.pad_map)
        print(f"{device.description.name}; Ctrl-C ends")
        _print_layout(layout)
        sys.stdout.flush()
        print(watch_pad(device, layout, sys.stdout, stop=stop))
    return 0


def _record_screen(options: argparse.Namespace) -> int:
    import time

    from data_tools.recordings.gamepad import Gamepad, find_gamepad
    from data_tools.recordings.record_screen import (
        ScreenPart,
        ScreenSession,
        choose_display,
        parse_region,
        parse_window,
        record_screen,
        stop_on_signals,
    )
    from nitrogen_train.data.encode import frame_rate

    name = options.name or f"{options.game}-{time.strftime('%Y%m%d-%H%M%S')}"
    session = ScreenSession(
        part=ScreenPart(
            display=choose_display(options.display),
            region=parse_region(options.region) if options.region else None,
            window_id=parse_window(options.window) if options.window else None,
            shows_cursor=not options.no_cursor,
        ),
        fps=float(frame_rate(options.fps)),
        out_dir=options.out,
        name=name,
        game=options.game,
        session_id=options.session or name,
        source=options.source,
        licence=options.licence,
        size=options.size,
        seconds=options.seconds,
    )
    with (
        contextlib.closing(find_gamepad(options.device, pad_map=options.pad_map)) as device,
        stop_on_signals() as stop,
    ):
        gamepad = Gamepad(device, pad_map=options.pad_map)
        print(f"{gamepad.name}; Ctrl-C ends the recording", flush=True)
        if gamepad.layout.advice:
            print(gamepad.layout.advice, flush=True)
        report = record_screen(session, gamepad, stop=stop)
    print(_describe(session.out_dir / name, report))
    return 0


def _describe(path: Path, report: "ScreenReport") -> str:
    slots = report.slots
    text = (
        f"{path}.mp4 ({report.ended_by}): {slots.num_frames} frames, {slots.num_repeated} repeated "
        f"because none came in time, {slots.num_surplus} left out, none further than "
        f"{slots.largest_error_ns / 1e6:.1f} ms from its time; {report.num_changes} input changes"
    )
    if report.facts.disturbed_ns:
        text += f", {len(report.facts.disturbed_ns)} gaps, which are not learned from"
    return text
