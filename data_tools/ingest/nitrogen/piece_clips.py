"""Turn pieces of a tarball, and videos that are at hand, into clips."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from data_tools.ingest.nitrogen.label_tar import RawPiece, iter_pieces
from data_tools.ingest.nitrogen.labelled_piece import (
    MAX_STAY_S,
    Clock,
    LabelledPiece,
    LabelledVideo,
    choose_clock,
    find_rate,
    place_boxes,
    printable_detail,
    read_piece,
    show_rows,
    time_rows,
)
from data_tools.names import safe_key
from data_tools.shards.drop_report import Dropped
from data_tools.shards.shard_plan import PlannedClip, PlannedUnit, ShardSettings, list_loss
from data_tools.shards.shard_recordings import Stretch, cut_stretch
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError
from nitrogen_train.runtime.atomic_files import describe_error

SOURCE = "nitrogen"
LICENCE = "labels CC-BY-NC-4.0, pictures of their owners"
_REASONS = {
    "short": "the video is too short",
    "rate": "the video has another frame rate",
    "start": "the video does not begin at its beginning",
    "clock": "frames and times of the labels disagree",
    "size": "the video has another shape of picture",
    "overlay": "the pad cannot be masked",
    "area": "the game's area is not in the picture",
}
_OF_PIECES = frozenset({"short", "rate", "clock", "overlay", "area"})
"""Reasons for which some pieces of a video are left out: no news among thousands of videos."""
_TABLES_KEPT = 4


@dataclass(frozen=True, kw_only=True)
class TarballUnit:
    """The pieces to take of one tarball."""

    path: Path
    fingerprint: str
    """Fingerprint of the tarball."""
    wanted: dict[str, list[int]]
    """Pieces by the id of their video."""
    videos: dict[str, Path]
    """Files of these videos."""
    first_seen: frozenset[str]
    """Those of which no earlier tarball has pieces: what the file lost is told once."""
    dropped: list[Dropped]
    """Pieces that are not taken."""


def plan_tarball(unit: TarballUnit, *, settings: ShardSettings, crops_to_game: bool) -> PlannedUnit:
    """Read a tarball's wanted pieces, and cut their clips.

    Args:
        unit: What to take.
        settings: How to cut.
        crops_to_game: Whether to keep just the game's area, where the labels name one.

    Raises:
        OSError: If the tarball cannot be read.
    """
    digest = hashlib.sha256(
        json.dumps(
            [unit.fingerprint, unit.wanted, crops_to_game, [asdict(item) for item in unit.dropped]],
            sort_keys=True,
        ).encode()
    )
    clips: list[PlannedClip] = []
    dropped = list(unit.dropped)
    notes: Counter[str] = Counter()
    read_table = lru_cache(_TABLES_KEPT)(_read_table)
    untold = set(unit.first_seen)
    for (video_id, fps), group in groupby(_iter_wanted(unit), _name_video):
        pieces = list(group)
        try:
            video, file_digest = read_table(unit.videos[video_id])
            if video_id in untold:
                untold.remove(video_id)
                dropped += _list_loss(video, pieces[0])
            labelled = find_rate(video, fps)
            clock = choose_clock(pieces, labelled)
        except ShardError as error:
            dropped += [replace(_drop(piece, error), is_fault=True) for piece in pieces]
            continue
        for piece in pieces:
            try:
                stretch = _lay_out(piece, labelled, clock, notes, crops_to_game=crops_to_game)
            except ShardError as error:
                dropped.append(_drop(piece, error))
                continue
            digest.update(f"{piece.digest} {file_digest} {clock}\n".encode())
            clips += cut_stretch(stretch, settings)
    return PlannedUnit(digest=digest.hexdigest(), clips=clips, dropped=dropped, notes=notes)


def _name_video(piece: LabelledPiece) -> tuple[str, float]:
    return piece.metadata.video_id, piece.metadata.fps


def _iter_wanted(unit: TarballUnit) -> Iterator[LabelledPiece]:
    wanted = {name: set(chunks) for name, chunks in unit.wanted.items()}
    left = sum(map(len, wanted.values()))
    if not left:
        return
    for raw in iter_pieces(unit.path):
        # Faults are in the index already, from where they have come into the unit.
        if isinstance(raw, RawPiece) and raw.chunk in wanted.get(raw.video_id, ()):
            piece = read_piece(raw)
            if not isinstance(piece, Dropped):
                yield piece
            left -= 1
        if not left:
            return


def _lay_out(
    piece: LabelledPiece,
    labelled: LabelledVideo,
    clock: Clock | None,
    notes: Counter[str],
    *,
    crops_to_game: bool,
) -> Stretch:
    metadata, actions, video = piece.metadata, piece.actions, labelled.video
    times = time_rows(piece, labelled, clock)
    frames, is_in_time = show_rows(times, labelled, len(actions))
    boxes = place_boxes(
        metadata, width=video.width, height=video.height, crops_to_game=crops_to_game
    )
    counted = metadata.start_frame + np.arange(len(actions))
    if (np.abs(frames - counted) > 1).any():
        notes["rows paired by time, of videos whose frames are more or fewer"] += len(actions)
    num_stale = int((~is_in_time).sum())
    notes[f"rows whose frame stays for over {MAX_STAY_S:g} s, not valid"] += num_stale
    return Stretch(
        name=_clip_name(piece),
        original_id=metadata.video_id,
        source=SOURCE,
        game=metadata.game,
        session_id=metadata.video_id,
        video=replace(video, fps=times.fps, ticks=video.ticks[frames]),
        frames=frames,
        actions=replace(actions, valid=actions.valid & is_in_time),
        labels=piece.labels,
        licence=LICENCE,
        url=metadata.url,
        masked_boxes=boxes.masked,
        area=boxes.area,
    )


def _clip_name(piece: LabelledPiece) -> str:
    return f"{safe_key(f'v-{piece.metadata.video_id}')}-{piece.metadata.chunk:04d}"


def _drop(piece: LabelledPiece, error: ShardError) -> Dropped:
    return Dropped(
        name=piece.name,
        game=piece.metadata.game,
        seconds=len(piece.actions) / piece.metadata.fps,
        reason=_REASONS.get(error.cause, "the video is not readable"),
        detail=printable_detail(error),
        is_fault=error.cause not in _OF_PIECES,
    )


def _list_loss(video: SourceVideo, piece: LabelledPiece) -> list[Dropped]:
    """List what a video lost at its end; its seconds are those of the pieces that lie there."""
    metadata = piece.metadata
    losses = list_loss(video, name=metadata.video_id, game=metadata.game)
    return [replace(loss, seconds=0.0) for loss in losses]


def _read_table(path: Path) -> tuple[SourceVideo, str]:
    """Read a video's table, and what tells it from another file.

    Raises:
        ShardError: If the file is no video.
    """
    try:
        video, size = read_video_table(path), path.stat().st_size
    except OSError as error:
        raise ShardError(describe_error(error), cause="video") from error
    # Not of all its bytes: a terabyte of videos would be read once more.
    facts = [path.name, size, video.width, video.height, str(video.time_base)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(video.ticks.tobytes())
    return video, digest.hexdigest()
