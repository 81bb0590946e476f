"""Questions to an index of labels: hours per game and source, and which videos to get."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from data_tools.ingest.nitrogen.label_index import INDEX_SCHEMA, read_index
from nitrogen_train.data.files import write_atomically
from nitrogen_train.data.selection import Selection
from nitrogen_train.table import format_table

_EXAMPLE = "game in [hollow_knight, celeste] and source == youtube and idle_share < 0.5"
_COLUMNS = [field.name for field in INDEX_SCHEMA if not pa.types.is_list(field.type)]


@dataclass(frozen=True, kw_only=True)
class WantedVideo:
    """A video to get."""

    video_id: str
    url: str
    source: str
    """The site."""
    game: str
    """Of most of its labelled time."""
    fps: float
    """Highest rate of its labels: a copy at a lower one is of no use."""
    hours: float
    """With labels."""


@dataclass(frozen=True, kw_only=True)
class LabelHours:
    """Labelled time of a game from a site."""

    game: str
    source: str
    num_videos: int
    num_pieces: int
    hours: float
    idle_share: float
    processed_share: float
    """Share of the pieces that have processed actions."""


def select_pieces(table: pa.Table, where: str | None) -> Bool[np.ndarray, " pieces"]:
    """Mark the rows of an index that an expression keeps, perhaps none; all of them without one.

    Raises:
        ValueError: If it is no `Selection` of an index.
    """
    if where is None:
        return np.ones(len(table), bool)
    return Selection(where, schema=INDEX_SCHEMA, example=_EXAMPLE).mark_rows(table)


def query_index(index_dir: Path, *, where: str | None = None, min_hours: float = 0.0) -> pa.Table:
    """Read the pieces that an expression keeps, of games that have enough of them.

    Args:
        index_dir: From `labels index`.
        where: A `Selection` of the index's columns; all pieces without it.
        min_hours: Labelled time that a game must have left.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the expression makes no sense, or nothing is left.
    """
    table = read_index(index_dir, _COLUMNS)
    num_pieces = len(table)
    if not num_pieces:
        raise ValueError(
            f"{index_dir} is an index of no piece: its tarballs held none that can be used, "
            "for which `labels index` gives the reasons"
        )
    if where is not None:
        selection = Selection(where, schema=INDEX_SCHEMA, example=_EXAMPLE)
        table = table.filter(pa.array(selection.select_rows(table, what="piece")))
    seconds = pc.call_function("divide", [table["rows"].cast(pa.float64()), table["fps"]])
    table = table.append_column("hours", pc.call_function("divide", [seconds, 3600.0]))
    hours = table.group_by("game").aggregate([("hours", "sum")])
    games = hours.filter(pc.field("hours_sum") >= min_hours)["game"]
    table = table.filter(pc.field("game").isin(games.combine_chunks()))
    if not len(table):
        raise ValueError(f"no game of {num_pieces} pieces has {min_hours:g} hours")
    return table


def measure_hours(table: pa.Table) -> list[LabelHours]:
    """Add up labelled time per game and site, the longest first.

    Args:
        table: From `query_index`.
    """
    is_processed = pc.call_function("equal", [table["labels"], "processed"]).cast(pa.float64())
    idle = pc.call_function("multiply", [table["idle_share"].cast(pa.float64()), table["rows"]])
    table = table.append_column("processed", is_processed).append_column("idle_rows", idle)
    totals = table.group_by(["game", "source"], use_threads=False).aggregate(
        [
            ("video_id", "count_distinct"),
            ("chunk", "count"),
            ("hours", "sum"),
            ("idle_rows", "sum"),
            ("rows", "sum"),
            ("processed", "mean"),
        ]
    )
    lines = [
        LabelHours(
            game=row["game"],
            source=row["source"],
            num_videos=row["video_id_count_distinct"],
            num_pieces=row["chunk_count"],
            hours=row["hours_sum"],
            idle_share=row["idle_rows_sum"] / row["rows_sum"],
            processed_share=row["processed_mean"],
        )
        for row in totals.to_pylist()
    ]
    return sorted(lines, key=lambda line: (-line.hours, line.game, line.source))


def list_videos(table: pa.Table) -> list[WantedVideo]:
    """List the videos of some pieces, those with the most labelled time first.

    Args:
        table: From `query_index`.
    """
    totals = table.group_by(["video_id", "game"], use_threads=False).aggregate(
        [("hours", "sum"), ("url", "min"), ("source", "min"), ("fps", "max")]
    )
    by_video: dict[str, list[dict[str, Any]]] = {}
    for row in totals.to_pylist():
        by_video.setdefault(row["video_id"], []).append(row)
    videos = [
        WantedVideo(
            video_id=video_id,
            url=min(row["url_min"] for row in rows),
            source=min(row["source_min"] for row in rows),
            game=max(rows, key=lambda row: (row["hours_sum"], row["game"]))["game"],
            fps=max(row["fps_max"] for row in rows),
            hours=round(sum(row["hours_sum"] for row in rows), 4),
        )
        for video_id, rows in by_video.items()
    ]
    return sorted(videos, key=lambda video: (-video.hours, video.video_id))


def write_videos(videos: list[WantedVideo], path: Path) -> None:
    """Write a list of videos, one JSON object per line."""
    with write_atomically(path) as temporary:
        temporary.write_text("".join(json.dumps(asdict(video)) + "\n" for video in videos))


def format_hours(lines: list[LabelHours], *, limit: int) -> str:
    """Lay hours out as a table, with a last line for all.

    Args:
        lines: From `measure_hours`.
        limit: Lines to show at most; the rest is summed up.
    """
    rows = [
        (
            f"{line.game[:40]} ({line.source})",
            str(line.num_videos),
            str(line.num_pieces),
            f"{line.hours:.2f}",
            f"{line.idle_share:.3f}",
            f"{line.processed_share:.3f}",
        )
        for line in lines[:limit]
    ]
    if rest := lines[limit:]:
        rows.append(
            (
                f"{len(rest)} more",
                str(sum(line.num_videos for line in rest)),
                str(sum(line.num_pieces for line in rest)),
                f"{sum(line.hours for line in rest):.2f}",
                "",
                "",
            )
        )
    total = f"{sum(line.hours for line in lines):.2f}"
    num_pieces = str(sum(line.num_pieces for line in lines))
    rows.append(("all", "", num_pieces, total, "", ""))
    header = ("game (source)", "videos", "pieces", "hours", "idle share", "processed")
    return format_table(header, rows)
