"""A piece's files to its rows, or to the reason why it has none."""

import hashlib
from dataclasses import dataclass

from data_tools.ingest.nitrogen.label_tar import Fault, RawPiece, printable
from data_tools.ingest.nitrogen.piece_metadata import PieceMetadata, parse_piece_metadata
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.action_file import ClipActions, decode_actions, idle_rows
from nitrogen_train.data.schema import Labels, ShardError

_REASONS = {
    "metadata": "the metadata is not readable",
    "fps": "no plausible frame rate",
    "parquet": "the parquet is damaged or cut short",
    "range": "a label is no value of its range",
}
_FILES: dict[Labels, str] = {
    "processed": "actions_processed.parquet",
    "raw": "actions_raw.parquet",
}


@dataclass(frozen=True, kw_only=True)
class LabelledPiece:
    """A piece whose files agree."""

    name: str
    metadata: PieceMetadata
    actions: ClipActions
    labels: Labels
    """Which of its two files the rows are from."""
    digest: str
    """Of its files."""

    @property
    def idle_share(self) -> float:
        """Share of rows with no button down and both sticks centred."""
        return float(idle_rows(self.actions.rows).mean())


def read_piece(piece: RawPiece) -> LabelledPiece | Fault:
    """Read a piece: the processed actions if there are any, else the raw ones."""
    if "metadata.json" not in piece.files:
        return Fault(name=piece.name, reason="no metadata", detail="metadata.json is missing")
    labels: Labels = "processed" if _FILES["processed"] in piece.files else "raw"
    if _FILES[labels] not in piece.files:
        return Fault(
            name=piece.name,
            reason="no labels",
            detail="neither actions_processed.parquet nor actions_raw.parquet is there",
        )
    try:
        metadata = parse_piece_metadata(piece.files["metadata.json"])
        actions = decode_actions(piece.files[_FILES[labels]], GAMEPAD)
    except ShardError as error:
        reason = _REASONS.get(error.cause, "the labels are not in the card's columns")
        return Fault(name=piece.name, reason=reason, detail=printable_detail(error))
    if (metadata.video_id, metadata.chunk) != (piece.video_id, piece.chunk):
        return Fault(
            name=piece.name,
            reason="the metadata is of another piece",
            detail=f"it says {printable(metadata.video_id)}, chunk {metadata.chunk}",
        )
    num_frames = metadata.end_frame - metadata.start_frame
    # One of room: the card does not say whether end_frame is within the piece.
    if len(actions) != metadata.num_rows or not 0 <= len(actions) - num_frames <= 1:
        return Fault(
            name=piece.name,
            reason="rows and frames differ in number",
            detail=f"{len(actions)} rows, chunk_size {metadata.num_rows}, {num_frames} frames",
        )
    digest = hashlib.sha256()
    for name in ("metadata.json", _FILES[labels]):
        digest.update(hashlib.sha256(piece.files[name]).digest())
    return LabelledPiece(
        name=piece.name,
        metadata=metadata,
        actions=actions,
        labels=labels,
        digest=digest.hexdigest(),
    )


def printable_detail(error: Exception) -> str:
    """Write an error about a stranger's file as one bounded line."""
    return "".join(sign if sign.isprintable() else " " for sign in str(error)[:300])
