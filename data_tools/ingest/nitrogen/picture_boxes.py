"""Boxes of the labels to pixels of the video that is at hand."""

import math
from dataclasses import dataclass

from data_tools.ingest.nitrogen.piece_metadata import LabelBox, PieceMetadata
from nitrogen_train.data.schema import Box, ShardError

_ASPECT_TOLERANCE = 0.01
_SMALLEST_AREA_PX = 16


@dataclass(frozen=True, kw_only=True)
class PictureBoxes:
    """What of a video's picture is masked and what is kept."""

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
