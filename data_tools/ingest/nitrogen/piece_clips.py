"""Pieces of a tarball, and videos that are at hand, to clips."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.ingest.nitrogen.label_tar import Fault, RawPiece, iter_pieces
from data_tools.ingest.nitrogen.labelled_piece import LabelledPiece, printable_detail, read_piece
from data_tools.ingest.nitrogen.picture_boxes import place_boxes
from data_tools.shards.constant_rate import ConstantRateVideo, to_constant_rate
from data_tools.shards.cutting import Stretch, cut_stretch, safe_key
from data_tools.shards.plan import ShardSettings
from data_tools.shards.planned import Dropped, PlannedClip, PlannedUnit
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError

SOURCE = "nitrogen"
LICENCE = "labels CC-BY-NC-4.0, pictures of their owners"
_REASONS = {
    "short": "the video is too short",
    "rate": "the video has another frame rate",
    "size": "the video has another shape of picture",
    "overlay": "the pad cannot be masked",
    "area": "the game's area is not in the picture",
}
_TABLES_KEPT = 4
# 29.97 is labelled as 30; a video of varying rate may lack some frames of its nominal one.
_RATE_TOLERANCE = 0.03
_VARYING_RATE_TOLERANCE = 0.25


@dataclass(frozen=True, kw_only=True)
class TarballUnit:
    """What to take of one tarball."""

    path: Path
    fingerprint: str
    """Of the tarball."""
    wanted: dict[str, list[int]]
    """Pieces by the id of their video."""
    videos: dict[str, Path]
    """Files of these videos."""
    dropped: list[Dropped]
    """What is not taken."""


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
    tables = _Tables(unit.videos)
    for piece in _iter_wanted(unit):
        try:
            video, file_digest = tables.read(piece.metadata.video_id)
            stretch = _lay_out(piece, video, crops_to_game=crops_to_game)
        except ShardError as error:
            dropped.append(_drop(piece, error))
            continue
        digest.update(f"{piece.digest} {file_digest}\n".encode())
        clips += cut_stretch(stretch, settings)
    return PlannedUnit(digest=digest.hexdigest(), clips=clips, dropped=dropped)


def _iter_wanted(unit: TarballUnit) -> Iterator[LabelledPiece]:
    wanted = {name: set(chunks) for name, chunks in unit.wanted.items()}
    left = sum(map(len, wanted.values()))
    if not left:
        return
    for raw in iter_pieces(unit.path):
        # Faults are in the index already, from where they have come into the unit.
        if isinstance(raw, RawPiece) and raw.chunk in wanted.get(raw.video_id, ()):
            piece = read_piece(raw)
            if not isinstance(piece, Fault):
                yield piece
            left -= 1
        if not left:
            return


def _lay_out(piece: LabelledPiece, video: SourceVideo, *, crops_to_game: bool) -> Stretch:
    metadata, num_rows = piece.metadata, len(piece.actions)
    start, stop = metadata.start_frame, metadata.start_frame + num_rows
    if stop > len(video):
        raise ShardError(
            f"the labels are of frames {start} to {stop - 1}, {video.path.name} has {len(video)}"
            + (f"; {video.loss.words}" if video.loss else ""),
            cause="short",
        )
    boxes = place_boxes(
        metadata, width=video.width, height=video.height, crops_to_game=crops_to_game
    )
    steady = _steady(video.cut(start, stop), metadata.fps)
    return Stretch(
        name=_clip_name(piece),
        original_id=metadata.video_id,
        source=SOURCE,
        game=metadata.game,
        session_id=metadata.video_id,
        video=steady.video,
        frames=start + steady.frames,
        actions=steady.follow(piece.actions),
        labels=piece.labels,
        licence=LICENCE,
        url=metadata.url,
        masked_boxes=boxes.masked,
        area=boxes.area,
    )


def _steady(video: SourceVideo, fps: float) -> ConstantRateVideo:
    """Find the piece's constant rate, or bring it to the labels' one.

    Raises:
        ShardError: If the video has another rate than the labels.
    """
    for rate in (video.fps, fps, fps / 1.001):
        candidate = replace(video, fps=rate)
        if abs(rate / fps - 1) <= _RATE_TOLERANCE and candidate.find_unsteady() is None:
            return ConstantRateVideo(video=candidate, frames=np.arange(len(video)))
    span_s = float((video.ticks[-1] - video.ticks[0]) * video.time_base)
    mean_fps = (len(video) - 1) / span_s if span_s > 0 else 0.0
    if abs(mean_fps / fps - 1) > _VARYING_RATE_TOLERANCE:
        raise ShardError(
            f"the labels have {fps:g} rows per second, {video.path.name} shows {mean_fps:.2f} "
            "frames per second there; get it at the labels' rate",
            cause="rate",
        )
    return to_constant_rate(video, fps)


def _clip_name(piece: LabelledPiece) -> str:
    # Ids that differ only in signs that a key cannot have must not collide.
    video_id, key = piece.metadata.video_id, safe_key(f"v-{piece.metadata.video_id}")
    if key != f"v-{video_id}":
        key = f"{key[:48]}-{hashlib.sha256(video_id.encode()).hexdigest()[:8]}"
    return f"{key}-{piece.metadata.chunk:04d}"


def _drop(piece: LabelledPiece, error: ShardError) -> Dropped:
    return Dropped(
        name=piece.name,
        game=piece.metadata.game,
        seconds=len(piece.actions) / piece.metadata.fps,
        reason=_REASONS.get(error.cause, "the video is not readable"),
        detail=printable_detail(error),
    )


class _Tables:
    """Tables of frames of the videos that are in use."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self._paths = paths
        self._tables: OrderedDict[str, tuple[SourceVideo, str] | ShardError] = OrderedDict()

    def read(self, video_id: str) -> tuple[SourceVideo, str]:
        """Find a video's table, and what tells it from another file.

        Raises:
            ShardError: If the file is no video.
        """
        if video_id not in self._tables:
            self._tables[video_id] = _read_table(self._paths[video_id])
            if len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(video_id)
        table = self._tables[video_id]
        if isinstance(table, ShardError):
            raise table
        return table


def _read_table(path: Path) -> tuple[SourceVideo, str] | ShardError:
    try:
        video = read_video_table(path)
    except ShardError as error:
        return error
    # Not of all its bytes: a terabyte of videos would be read once more.
    facts = [path.name, path.stat().st_size, video.width, video.height, str(video.time_base)]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(video.ticks.tobytes())
    return video, digest.hexdigest()
