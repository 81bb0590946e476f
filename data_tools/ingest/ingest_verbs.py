"""Define the verbs `ingest FORMAT` and `labels` of `nitrogen-data`.

    words ─► options of a format ─► its module (imported then) ─► report ─► exit status

Each format has an `add_` function for its options and an `_ingest_` function that runs it;
`_FORMATS` lists them.
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from data_tools.command_line import (
    CommandParser,
    add_filling,
    add_shard_settings,
    add_verb,
    add_workers,
    game_name,
    out_folder,
    propose_shard,
    read_shard_settings,
    report_dataset,
)
from data_tools.dataset_verbs import add_lerobot

if TYPE_CHECKING:
    from data_tools.ingest.recording.convert import IngestOutcome

_WHERE = "pieces to take, such as 'game in [celeste, hades] and idle_share < 0.5 and fps == 60'"

_TIME_UNITS = ("s", "ms", "us", "ns")
_STICK_RANGES = ("unit", "byte", "short")
_TRIGGER_RANGES = ("unit", "byte", "ten-bit", "short", "centred")


def add_labels(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `labels` and what it can do to the command line."""
    summary = "Look into NitroGen's public labels."
    verb = verbs.add_parser("labels", help=summary, description=summary)
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    index = add_verb(
        actions,
        "index",
        "List the pieces of tarballs; starts where it stopped.",
        _index,
        examples=["actions/ --out index", "SHARD_0000.tar.gz SHARD_0001.tar.gz --out index"],
    )
    index.add_argument("tarballs", metavar="TARBALL", type=Path, nargs="+", help="or a folder")
    index.add_argument(
        "--out", type=out_folder, required=True, metavar="FOLDER", help="folder for the index"
    )
    add_workers(index)
    query = add_verb(
        actions,
        "query",
        "Count labelled hours; list videos to get.",
        _query,
        examples=[
            "index",
            "index --min-hours 10 --limit 100",
            "index --where 'game == celeste' --videos v.jsonl",
        ],
    )
    query.add_argument("index", metavar="INDEX", type=Path, help="folder from `labels index`")
    query.add_argument("--where", metavar="EXPRESSION", help=_WHERE)
    query.add_argument(
        "--min-hours", type=float, default=0.0, metavar="H", help="games with at least this much"
    )
    query.add_argument("--limit", type=int, default=40, metavar="N", help="lines of the table")
    query.add_argument(
        "--videos", type=Path, metavar="FILE", help="write the videos, as JSON lines"
    )


def add_nitrogen(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `nitrogen` to the formats of `ingest`."""
    verb = add_verb(
        formats,
        "nitrogen",
        "Make a data set of NitroGen's public labels and videos at hand.",
        _ingest_nitrogen,
        examples=[
            "a/ --videos v --out data",
            "a/ --index i --videos v --out data",
            "a/ --index i --videos v --out data --part 3/8",
        ],
    )
    verb.add_argument("tarballs", metavar="TARBALL", type=Path, nargs="+", help="or a folder")
    verb.add_argument(
        "--videos",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder with VIDEO_ID.mp4, .mkv or .webm",
    )
    verb.add_argument(
        "--index",
        type=Path,
        metavar="FOLDER",
        help="from `labels index` (default: made inside --out)",
    )
    verb.add_argument("--where", metavar="EXPRESSION", help=_WHERE)
    verb.add_argument(
        "--crop-game-area", action="store_true", help="keep the game's part of the picture only"
    )
    add_shard_settings(verb)
    add_filling(verb)


def _index(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.label_index import build_index, describe_index, find_tarballs
    from data_tools.shards.drop_report import format_faults
    from nitrogen_train.runtime.progress import pluralize

    tarballs = find_tarballs(options.tarballs)
    indexes = build_index(tarballs, index_dir=options.out, workers=options.workers)
    pieces = pluralize(sum(index.num_pieces for index in indexes), "piece")
    print(f"{describe_index(indexes)}\n\n{options.out} lists {pieces}")
    print(f"next: {shlex.join(['nitrogen-data', 'labels', 'query', str(options.out)])}")
    faults = [fault for index in indexes for fault in index.faults if fault.is_fault]
    if faults:
        print(format_faults(faults))
    return 1 if faults else 0


def _query(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.label_index import (
        format_hours,
        list_videos,
        measure_hours,
        query_index,
        write_videos,
    )

    pieces = query_index(options.index, where=options.where, min_hours=options.min_hours)
    print(format_hours(measure_hours(pieces), limit=options.limit))
    if options.videos is not None:
        videos = list_videos(pieces)
        write_videos(videos, options.videos)
        print(f"\n{options.videos} lists {len(videos)} videos")
    return 0


def _ingest_nitrogen(options: argparse.Namespace) -> int:
    from data_tools.ingest.nitrogen.ingest_nitrogen import LabelledVideos, ingest_nitrogen
    from data_tools.shards.shard_plan import Part

    part = Part.parse(options.part)
    if part.count > 1 and options.index is None:
        raise ValueError(
            "parts share one index of the labels: make it first, with nitrogen-data labels index "
            "TARBALL... --out INDEX, and give --index INDEX"
        )
    report = ingest_nitrogen(
        LabelledVideos(
            tarballs=options.tarballs,
            videos_dir=options.videos,
            index_dir=options.index,
            where=options.where,
            crops_to_game=options.crop_game_area,
        ),
        out_dir=options.out,
        settings=read_shard_settings(options),
        part=part,
        workers=options.workers,
    )
    return report_dataset(options.out, part, report)


def add_recording(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to the command line."""
    verb = add_verb(
        formats,
        "recording",
        "Make recordings of videos and input logs; starts where it stopped.",
        _ingest_recording,
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


def _ingest_recording(options: argparse.Namespace) -> int:
    from data_tools.ingest.recording.controls import Conventions
    from data_tools.ingest.recording.convert import ClockSettings, Description, LogSettings
    from data_tools.ingest.recording.ingest_recording import ingest_recordings
    from data_tools.ingest.recording.read_log import parse_columns
    from data_tools.shards.drop_report import format_length
    from nitrogen_train.runtime.progress import pluralize

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


def _describe(outcome: "IngestOutcome") -> str:
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


def add_vpt(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to `ingest`."""
    verb = add_verb(
        formats,
        "vpt",
        "Make a data set of OpenAI's Minecraft contractor data: mp4 and jsonl.",
        _ingest_vpt,
        examples=["vpt --out data", "vpt --out data --keep-menus"],
    )
    verb.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="+", help="with mp4 and jsonl of one name"
    )
    verb.add_argument(
        "--max-difference", type=int, default=1, metavar="N", help="lines more or less than frames"
    )
    verb.add_argument(
        "--keep-menus", action="store_true", help="learn from rows with a menu open as well"
    )
    add_shard_settings(verb)


def _ingest_vpt(options: argparse.Namespace) -> int:
    from data_tools.ingest.vpt import ingest_vpt
    from data_tools.shards.shard_plan import Part

    part = Part.parse(options.part)
    report = ingest_vpt(
        options.folders,
        out_dir=options.out,
        settings=read_shard_settings(options),
        max_difference=options.max_difference,
        keep_menus=options.keep_menus,
        part=part,
        workers=options.workers,
    )
    return report_dataset(options.out, part, report)


def add_open_p2p(formats: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the format to `ingest`."""
    verb = add_verb(
        formats,
        "open-p2p",
        "Make a data set of Open Pixel2Play's unpacked recordings: mp4 and annotation.proto.",
        _ingest_open_p2p,
        examples=["p2p --out data", "p2p --out data --video-name 192x192.mp4"],
    )
    verb.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="+", help="with recordings, at any depth"
    )
    verb.add_argument("--video-name", default="192x192.mp4", help="which video of a recording")
    add_shard_settings(verb)


def _ingest_open_p2p(options: argparse.Namespace) -> int:
    from data_tools.ingest.open_p2p import ingest_open_p2p
    from data_tools.shards.shard_plan import Part

    part = Part.parse(options.part)
    report = ingest_open_p2p(
        options.folders,
        out_dir=options.out,
        settings=read_shard_settings(options),
        video_name=options.video_name,
        part=part,
        workers=options.workers,
    )
    return report_dataset(options.out, part, report)


_FORMATS = (add_recording, add_nitrogen, add_lerobot, add_vpt, add_open_p2p)


def add_ingest_verbs(verbs: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add `ingest` and its formats to the command line."""
    summary = "Turn videos with logs, or data of others, into data of ours."
    verb = verbs.add_parser("ingest", help=summary, description=summary)
    formats = verb.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for add_format in _FORMATS:
        add_format(formats)
    add_labels(verbs)
