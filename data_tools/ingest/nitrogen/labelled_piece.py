"""Turn a piece's files into its rows, or into the reason why it has none.

Boxes of the labels, such as the pad's, become pixels of the video that is at hand.
"""

import hashlib
import math
from dataclasses import dataclass

from data_tools.ingest.nitrogen.label_tar import (
    LabelBox,
    LabelFault,
    PieceMetadata,
    RawPiece,
    parse_piece_metadata,
    printable,
)
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.action_file import ClipActions, decode_actions, idle_rows
from nitrogen_train.data.schema import Box, Labels, ShardError

_ASPECT_TOLERANCE = 0.01
_SMALLEST_AREA_PX = 16


@dataclass(frozen=True, kw_only=True)
class PictureBoxes:
    """The boxes of a video's picture that are masked and kept."""

    masked: tuple[Box, ...]
    area: Box | None


def place_boxes(
    metadata: PieceMetadata, *, width: int, height: int, crops_to_game: bool
) -> PictureBoxes:
    """Find the boxes in a video's picture, clipped to it.

    What is masked is rounded outwards, what is kept inwards.

    Args:
        metadata: With the boxes, and the size of the picture that they were drawn on.
        width: Of the video's picture, in pixels.
        height: As `width`.
        crops_to_game: Whether to keep just the game's area, where the labels name one.

    Raises:
        ShardError: If the picture has another shape than the labels say (cause `size`), or the pad
            cannot be masked (cause `overlay`).
    """
    labelled = _labelled_size(metadata.resolution, width=width, height=height)
    if metadata.overlay is None:
        raise ShardError("the labels do not say where the pad is drawn", cause="overlay")

    def place(box: LabelBox, *, outwards: bool) -> Box | None:
        across, down = (1, 1) if box.is_normalized else labelled
        left, top, right, bottom = box.corners
        first, last = (math.floor, math.ceil) if outwards else (math.ceil, math.floor)
        # A hair of room, for corners that are whole but for a rounding error.
        hair = 1e-6 if outwards else -1e-6
        x = min(max(first(left / across * width + hair), 0), width)
        y = min(max(first(top / down * height + hair), 0), height)
        x_end = min(max(last(right / across * width - hair), 0), width)
        y_end = min(max(last(bottom / down * height - hair), 0), height)
        return (x, y, x_end - x, y_end - y) if x < x_end and y < y_end else None

    overlay = place(metadata.overlay, outwards=True)
    if overlay is None:
        raise ShardError(
            f"the pad's box {metadata.overlay.corners} lies outside of the picture of "
            f"{metadata.resolution[0]} and {metadata.resolution[1]} pixels",
            cause="overlay",
        )
    others = [place(box, outwards=True) for box in metadata.others]
    area = None
    if crops_to_game and metadata.game_area is not None:
        area = place(metadata.game_area, outwards=False)
        if area is None or min(area[2:]) < _SMALLEST_AREA_PX:
            raise ShardError(
                f"the game's area {metadata.game_area.corners} is no part of the picture",
                cause="area",
            )
    return PictureBoxes(masked=(overlay, *(box for box in others if box is not None)), area=area)


def _labelled_size(resolution: tuple[int, int], *, width: int, height: int) -> tuple[int, int]:
    """Find the (width, height) that boxes were drawn on: the card's order is not always kept.

    Raises:
        ShardError: If in neither order the picture has the shape of the video's.
    """
    first, second = resolution
    # In the card's order first: for a picture of the same shape both ways it makes no difference.
    for labelled_height, labelled_width in ((first, second), (second, first)):
        if labelled_height < 1 or labelled_width < 1:
            continue
        ratio = (labelled_width / labelled_height) / (width / height)
        if abs(ratio - 1) <= _ASPECT_TOLERANCE:
            return labelled_width, labelled_height
    raise ShardError(
        f"the labels are of a picture of {first} and {second} pixels, the video has {width}x"
        f"{height}, which is another shape",
        cause="size",
    )


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
    """Kind of the file from which the rows are."""
    digest: str
    """Digest of the piece's files."""

    @property
    def idle_share(self) -> float:
        """Share of rows with no button down and both sticks centred."""
        return float(idle_rows(self.actions.rows).mean())


def read_piece(piece: RawPiece) -> LabelledPiece | LabelFault:
    """Read a piece: the processed actions if there are any, else the raw ones."""
    if "metadata.json" not in piece.files:
        return LabelFault(name=piece.name, reason="no metadata", detail="metadata.json is missing")
    labels: Labels = "processed" if _FILES["processed"] in piece.files else "raw"
    if _FILES[labels] not in piece.files:
        return LabelFault(
            name=piece.name,
            reason="no labels",
            detail="neither actions_processed.parquet nor actions_raw.parquet is there",
        )
    try:
        metadata = parse_piece_metadata(piece.files["metadata.json"])
        actions = decode_actions(piece.files[_FILES[labels]], GAMEPAD)
    except ShardError as error:
        reason = _REASONS.get(error.cause, "the labels are not in the card's columns")
        return LabelFault(name=piece.name, reason=reason, detail=printable_detail(error))
    if (metadata.video_id, metadata.chunk) != (piece.video_id, piece.chunk):
        return LabelFault(
            name=piece.name,
            reason="the metadata is of another piece",
            detail=f"it says {printable(metadata.video_id)}, chunk {metadata.chunk}",
        )
    num_frames = metadata.end_frame - metadata.start_frame
    # One of room: the card does not say whether end_frame is within the piece.
    if len(actions) != metadata.num_rows or not 0 <= len(actions) - num_frames <= 1:
        return LabelFault(
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
