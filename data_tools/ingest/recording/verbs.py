"""`ingest recording`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import CommandParser, add_verb, game_name, out_folder, propose_shard

if TYPE_CHECKING:
    from data_tools.ingest.recording.settings import Outcome

_TIME_UNITS = ("s", "ms", "us", "ns")
_STICK_RANGES = ("unit", "byte", "short")
_TRIGGER_RANGES = ("unit", "byte", "ten-bit", "short", "centred")


def add_format(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to the command line."""
    verb = add_verb(
        formats,
        "recording",
        "Make recordings of videos and input logs; starts where it stopped.",
        _ingest,
        examples=[
            "*.mkv --out rec --game celeste",
            "*.mkv --out rec --game celeste \\\n      --estimate-offset",
            "a.mp4 --out rec --game celeste \\\n"
            "      --log a.csv --time-unit ms --stick-range unit --stick-y up",
        ],
    )
    verb.add_argument("videos", metavar="VIDEO", type=Path, nargs="+", help="mp4, mkv or webm")
    verb.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the recordings"
    )
    verb.add_argument("--game", required=True, type=game_name, help="what is played, lower case")
    verb.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a video's log, once per video (default: the file of its name beside it: "
        ".inputs.jsonl, .inputs.parquet, .parquet, .csv or .jsonl)",
    )
    verb.add_argument("--copy", action="store_true", help="copy the videos (default: link them)")
    _add_conventions(verb)
    _add_clock(verb)
    _add_description(verb)


def _add_conventions(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("how the log is meant")
    group.add_argument(
        "--format",
        metavar="FORMAT",
        choices=("auto", "own", "input-rec", "table"),
        default="auto",
        help="auto; own: t_ns and controls; input-rec: the OBS plugin's parquet; table: CSV or "
        "parquet with a column per control",
    )
    group.add_argument(
        "--columns",
        metavar="COLUMN=CONTROL,...",
        help="which column is which control, or a YAML file of them (default: by the columns' "
        "names)",
    )
    group.add_argument(
        "--button-labels",
        choices=("xbox", "nintendo", "playstation"),
        metavar="MAKER",
        help="xbox, nintendo or playstation: whose A, B, X and Y; A is below on an Xbox pad, on "
        "the right on Nintendo's "
        "(default: as the other columns tell)",
    )
    group.add_argument(
        "--time-column", metavar="COLUMN", help="(default: the one that is named after time)"
    )
    group.add_argument(
        "--time-unit",
        choices=_TIME_UNITS,
        help="of the time column (default: as its name says, such as time_ms)",
    )
    group.add_argument(
        "--stick-y",
        choices=("up", "down"),
        help="where positive y points: up in XInput, down in SDL, evdev and browsers",
    )
    group.add_argument(
        "--stick-range",
        choices=_STICK_RANGES,
        metavar="RANGE",
        help="unit -1 to 1, byte 0 to 255, short -32768 to 32767",
    )
    group.add_argument(
        "--trigger-range",
        choices=_TRIGGER_RANGES,
        metavar="RANGE",
        help="from 0: unit to 1, byte to 255, ten-bit to 1023, short to 32767; or centred -1 to 1; "
        "not needed where it is a button",
    )
    group.add_argument(
        "--dead-zone",
        type=float,
        default=0.0,
        metavar="R",
        help="radius, of 1, where a stick is at rest",
    )


def _add_clock(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("the log's clock")
    group.add_argument(
        "--video-start",
        type=float,
        metavar="SECONDS",
        help="the log's time of the video's first frame; once said, a log may go on after the "
        "video (default: 0)",
    )
    group.add_argument(
        "--offset-ms",
        type=float,
        metavar="MS",
        default=0.0,
        help="how much later the picture shows what the log says",
    )
    group.add_argument(
        "--drift-ppm",
        type=float,
        default=0.0,
        metavar="PPM",
        help="growth of the offset, in us per second",
    )
    group.add_argument(
        "--estimate-offset",
        action="store_true",
        help="measure offset and drift that are left, from how the picture answers",
    )
    group.add_argument(
        "--latency-ms",
        type=float,
        metavar="MS",
        default=0.0,
        help="what the game takes to answer: that much of what is measured stays",
    )
    group.add_argument(
        "--keep-unknown",
        action="store_true",
        help="take a log as it is where nothing can be measured (default: drop it)",
    )


def _add_description(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("facts")
    group.add_argument("--session", help="one for all the videos (default: each video is one)")
    group.add_argument("--source", default="recordings", help="the collection")
    group.add_argument("--licence", default="unknown", help="terms of the pictures")
    group.add_argument("--url", default="", help="where the video can be had")
    group.add_argument("--device", help="what was played with")


def _ingest(options: argparse.Namespace) -> int:
    from data_tools.ingest.recording.column_choice import parse_columns
    from data_tools.ingest.recording.conventions import Conventions
    from data_tools.ingest.recording.ingest import ingest_recordings
    from data_tools.ingest.recording.settings import ClockSettings, Description, LogSettings
    from data_tools.shards.report import format_length
    from nitrogen_train.progress import pluralize

    outcomes = ingest_recordings(
        options.videos,
        logs=options.log,
        out_dir=options.out,
        log_settings=LogSettings(
            format=options.format,
            conventions=Conventions(
                time_unit=options.time_unit,
                stick_range=options.stick_range,
                stick_y_axis=options.stick_y,
                trigger_range=options.trigger_range,
            ),
            columns=parse_columns(options.columns) if options.columns else {},
            time_column=options.time_column,
            labels=options.button_labels,
            dead_zone=options.dead_zone,
        ),
        clock_settings=ClockSettings(
            video_start_s=options.video_start,
            offset_ms=options.offset_ms,
            drift_ppm=options.drift_ppm,
            is_measured=options.estimate_offset,
            latency_ms=options.latency_ms,
            keeps_unknown=options.keep_unknown,
        ),
        description=Description(
            game=options.game,
            session_id=options.session,
            source=options.source,
            licence=options.licence,
            url=options.url,
            device=options.device,
        ),
        copy=options.copy,
    )
    for outcome in outcomes:
        print(_describe(outcome))
    dropped = [outcome for outcome in outcomes if outcome.dropped]
    length = format_length(60 * sum(outcome.minutes for outcome in outcomes))
    kept = pluralize(len(outcomes) - len(dropped), "recording")
    rest = f"; {len(dropped)} dropped" if dropped else ""
    print(f"{kept}, {length}, in {options.out}{rest}")
    if len(dropped) < len(outcomes):
        print(f"next: {propose_shard(options.out)}")
    return 1 if dropped else 0


def _describe(outcome: "Outcome") -> str:
    name = outcome.video.name if outcome.video.name.isprintable() else ascii(outcome.video.name)
    if outcome.dropped:
        # Most reasons begin with the file, which is named already.
        reason = outcome.dropped.removeprefix(str(outcome.video)).lstrip(": ")
        return f"{name}: dropped: {reason}"
    lines = [
        f"{name}: {outcome.minutes:.1f} min, offset {outcome.offset_ms:+.0f} ms, "
        f"drift {outcome.drift_ppm:+.0f} ppm ({outcome.clock})"
    ]
    if outcome.uncovered_s:
        lines.append(f"  {outcome.uncovered_s:.1f} s without a pad or a log, not learned from")
    lines += [f"  {note}" for note in outcome.notes]
    if outcome.ignored:
        lines.append(
            f"  no control, ignored: {', '.join(outcome.ignored)} (--columns names controls)"
        )
    return "\n".join(lines)
