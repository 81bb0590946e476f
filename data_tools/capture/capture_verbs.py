"""Define the verbs `gamepads` and `record-screen`."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import CommandParser, add_gamepad, add_verb, game_name, out_folder
from nitrogen_train.runtime.atomic_files import describe_error

if TYPE_CHECKING:
    from data_tools.capture.event_device import DeviceDescription
    from data_tools.capture.pad_layout import PadLayout
    from data_tools.capture.record_screen import ScreenReport


def add_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add them to the command line."""
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
    from data_tools.capture.event_device import list_devices
    from data_tools.capture.gamepad import NO_GAMEPAD, find_gamepad

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
    from data_tools.capture.event_device import EventDevice
    from data_tools.capture.gamepad import Gamepad

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
    from data_tools.capture.gamepad import find_gamepad, watch_pad
    from data_tools.capture.pad_layout import build_layout
    from data_tools.capture.record_screen import stop_on_signals

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

    from data_tools.capture.gamepad import Gamepad, find_gamepad
    from data_tools.capture.record_screen import ScreenSession, record_screen, stop_on_signals
    from data_tools.capture.screen import ScreenPart, choose_display, parse_region, parse_window
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
