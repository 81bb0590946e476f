"""Index tarballs of labels: a table of pieces and a list of faults for each tarball.

    TARBALL.tar.gz ─► INDEX/TARBALL.faults.json, INDEX/TARBALL.parquet ─► hours, lists of videos

A tarball is read once, from its start to its end. It is done when its table has its name; the
table's own metadata says of which bytes it was made, so that another tarball of that name is read:
a ledger would say the same again.
Questions to an index select pieces, and count hours per game and source.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from data_tools.ingest.nitrogen.label_tar import LabelBox, iter_pieces
from data_tools.ingest.nitrogen.labelled_piece import LabelledPiece, read_piece
from data_tools.names import has_suffix, is_hidden, safe_key
from data_tools.shards.drop_report import Dropped, iter_reasons
from nitrogen_train.data.schema import ShardError
from nitrogen_train.data.selection import Selection
from nitrogen_train.runtime.atomic_files import check_folder, describe_error, write_atomically
from nitrogen_train.runtime.processes import map_in_order
from nitrogen_train.runtime.progress import format_table, track

_VERSION = "2"
"""Rises when the same tarball gives other rows: an index of before is made again."""
_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_ENDS_BYTES = 2**20
_BATCH_ROWS = 5_000
_MAX_FAULTS = 100_000
_FAULT = ("name", "reason", "detail")
_CORNERS = pa.list_(pa.float32(), 4)

INDEX_SCHEMA = pa.schema(
    [
        ("tarball", pa.string()),
        ("video_id", pa.string()),
        ("chunk", pa.int32()),
        ("game", pa.string()),
        ("controller", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        ("fps", pa.float32()),
        ("rows", pa.int32()),
        ("labels", pa.string()),
        ("idle_share", pa.float32()),
        ("start_frame", pa.int32()),
        ("end_frame", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        # (left, top, right, bottom), in pixels; of the game's area in shares of the picture.
        ("overlay", _CORNERS),
        ("game_area", _CORNERS),
        ("others", pa.list_(_CORNERS)),
    ]
)
"""A row per piece, in the tarball's order; height and width as the card has them."""

_EXAMPLE = "game in [hollow_knight, celeste] and source == youtube and idle_share < 0.5"
_COLUMNS = [field.name for field in INDEX_SCHEMA if not pa.types.is_list(field.type)]


@dataclass(frozen=True, kw_only=True)
class TarballIndex:
    """The index of one tarball."""

    path: Path
    index_path: Path
    fingerprint: str
    """Empty if the tarball cannot be read at all."""
    num_pieces: int
    faults: list[Dropped]

    def read_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the pieces, or some of their columns."""
        if not self.fingerprint:
            return (
                INDEX_SCHEMA.empty_table()
                if columns is None
                else (INDEX_SCHEMA.empty_table().select(list(columns)))
            )
        names = None if columns is None else list(columns)
        return pq.read_table(self.index_path, columns=names, use_threads=False)


def find_tarballs(paths: Sequence[Path]) -> list[Path]:
    """List tarballs, those of folders too, ordered by name.

    Raises:
        FileNotFoundError: If there is none; one that is missing beside others is a fault of its
            own when it is read.
        ValueError: If two have one name.
    """
    found: dict[str, Path] = {}
    missing: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            named = [each for each in sorted(path.iterdir()) if has_suffix(each, _SUFFIXES)]
            inside = [each for each in named if not is_hidden(each)]
        if not inside or not inside[0].exists():
            missing.append(path)
            continue
        for tarball in inside:
            name = index_name(tarball)
            if name in found and found[name].resolve() != tarball.resolve():
                raise ValueError(f"{found[name]} and {tarball} have one name; rename one of them")
            found[name] = tarball
    if missing and not found:
        raise FileNotFoundError(f"{missing[0]} is no tarball of labels, nor a folder with some")
    return [*(found[name] for name in sorted(found)), *missing]


def index_name(tarball: Path) -> str:
    """Name a tarball's part of an index."""
    return safe_key(re.sub(r"(\.tar\.gz|\.tgz|\.tar)$", "", tarball.name, flags=re.IGNORECASE))


def build_index(tarballs: Sequence[Path], *, index_dir: Path, workers: int) -> list[TarballIndex]:
    """Index tarballs, or what is missing of them.

    Args:
        tarballs: From `find_tarballs`.
        index_dir: The index's folder; what it holds of other tarballs stays.
        workers: Processes.
    """
    check_folder(index_dir)
    index = partial(index_tarball, index_dir=index_dir)
    results = map_in_order(index, tarballs, workers=workers)
    return list(track(results, label="index", unit="tarball", total=len(tarballs)))


def index_tarball(path: Path, *, index_dir: Path) -> TarballIndex:
    """Index one tarball, unless that has been done.

    Raises:
        OSError: If the index cannot be written.
    """
    table_path = index_dir / f"{index_name(path)}.parquet"
    try:
        fingerprint = _fingerprint(path)
    except OSError as error:
        fault = Dropped(
            name=path.name, reason="the tarball cannot be read", detail=describe_error(error)
        )
        return TarballIndex(
            path=path, index_path=table_path, fingerprint="", num_pieces=0, faults=[fault]
        )
    faults_path = table_path.with_suffix(".faults.json")
    if not _is_indexed(table_path, faults_path, fingerprint):
        faults: list[Dropped] = []
        facts = {"version": _VERSION, "fingerprint": fingerprint}
        with (
            write_atomically(table_path) as temporary,
            pq.ParquetWriter(
                temporary, INDEX_SCHEMA.with_metadata(facts), compression="zstd"
            ) as writer,
        ):
            _write_pieces(path, writer, faults)
            # Before the table has its name: from then on the tarball is not read again.
            with write_atomically(faults_path) as temporary_faults:
                values = [{name: getattr(fault, name) for name in _FAULT} for fault in faults]
                temporary_faults.write_text(json.dumps(values, indent=0) + "\n")
    return TarballIndex(
        path=path,
        index_path=table_path,
        fingerprint=fingerprint,
        num_pieces=pq.ParquetFile(table_path).metadata.num_rows,
        faults=[
            Dropped(**values, is_fault=values["name"] == path.name)
            for values in json.loads(faults_path.read_bytes())
        ],
    )


def read_index(index_dir: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the pieces of all tarballs of an index, or some of their columns.

    Raises:
        FileNotFoundError: If it is no index.
        ShardError: If a table of it is damaged.
    """
    paths = sorted(index_dir.glob("*.parquet"))
    if not paths:
        raise FileNotFoundError(
            f"{index_dir} is no index of labels; nitrogen-data labels index TARBALL... --out "
            f"{index_dir} makes one"
        )
    names = INDEX_SCHEMA.names if columns is None else list(columns)
    try:
        return pa.concat_tables(
            [pq.read_table(path, columns=names, use_threads=False) for path in paths]
        ).replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{index_dir} holds a damaged table, index again: {error}") from error


def _write_pieces(path: Path, writer: pq.ParquetWriter, faults: list[Dropped]) -> None:
    rows: list[dict[str, object]] = []
    for raw in iter_pieces(path):
        piece = raw if isinstance(raw, Dropped) else read_piece(raw)
        if isinstance(piece, LabelledPiece):
            rows.append(_describe(piece, path))
        elif len(faults) < _MAX_FAULTS:
            faults.append(piece)
        else:
            faults[-1] = Dropped(
                name=path.name, reason="more faults", detail="the rest is not listed"
            )
        if len(rows) == _BATCH_ROWS:
            writer.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
            rows.clear()
    writer.write_table(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))


def _describe(piece: LabelledPiece, path: Path) -> dict[str, object]:
    metadata = piece.metadata

    def corners(box: LabelBox | None) -> list[float] | None:
        return None if box is None else list(box.corners)

    return {
        "tarball": path.name,
        "video_id": metadata.video_id,
        "chunk": metadata.chunk,
        "game": metadata.game,
        "controller": metadata.controller,
        "source": metadata.source,
        "url": metadata.url,
        "fps": metadata.fps,
        "rows": len(piece.actions),
        "labels": piece.labels,
        "idle_share": piece.idle_share,
        "start_frame": metadata.start_frame,
        "end_frame": metadata.end_frame,
        "start_s": metadata.start_s,
        "end_s": metadata.end_s,
        "height": metadata.resolution[0],
        "width": metadata.resolution[1],
        "overlay": corners(metadata.overlay),
        "game_area": corners(metadata.game_area),
        "others": [corners(box) for box in metadata.others],
    }


def _fingerprint(path: Path) -> str:
    """Tell a tarball from another one: by its length, its first bytes and its last."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_ENDS_BYTES))
        file.seek(max(0, size - _ENDS_BYTES))
        digest.update(file.read(_ENDS_BYTES))
    return digest.hexdigest()


def _is_indexed(table_path: Path, faults_path: Path, fingerprint: str) -> bool:
    try:
        facts = pq.read_schema(table_path).metadata or {}
    except (FileNotFoundError, pa.ArrowException):
        return False
    expected = {b"version": _VERSION.encode(), b"fingerprint": fingerprint.encode()}
    return faults_path.exists() and expected.items() <= facts.items()


def describe_index(indexes: Sequence[TarballIndex]) -> str:
    """Lay out pieces and faults per tarball, and each kind of fault with an example."""
    rows = [(index.path.name, str(index.num_pieces), str(len(index.faults))) for index in indexes]
    table = format_table(("tarball", "pieces", "faults"), rows)
    reasons = "\n".join(iter_reasons(fault for index in indexes for fault in index.faults))
    return "\n\n".join(filter(None, (table, reasons)))


@dataclass(frozen=True, kw_only=True)
class WantedVideo:
    """A video to get."""

    video_id: str
    url: str
    source: str
    """The site."""
    game: str
    """Game of most of the video's labelled time."""
    fps: float
    """Highest rate of its labels: a copy at a lower one is of no use."""
    hours: float
    """Hours with labels."""


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
            f"{index_dir} lists no piece: its tarballs held none that could be read; "
            "nitrogen-data labels index names what was wrong with them"
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
