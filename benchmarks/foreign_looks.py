"""Cut the artwork of other programs into the looks of a skin."""

from pathlib import Path

import numpy as np
from PIL import Image

from nitrogen_train.skins.skin import Look, Place


def read_look(path: Path) -> Look:
    """Read a picture as RGBA.

    Raises:
        OSError: If it is missing, or no picture.
    """
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


def lay_look(below: Look, look: Look, at: tuple[int, int] = (0, 0)) -> Look:
    """Lay a look over a copy of another one; what lies outside is cut off."""
    image = Image.fromarray(below)
    shifted = Image.new("RGBA", image.size)
    shifted.paste(Image.fromarray(look), at)
    return np.asarray(Image.alpha_composite(image, shifted))


def crop_looks(*looks: Look) -> tuple[Place, tuple[Look, ...]]:
    """Cut looks of one canvas down to the pixels that any of them shows.

    Returns:
        The left and the top edge of what is left, and the looks.

    Raises:
        ValueError: If all of them are transparent.
    """
    shown = np.any([look[..., 3] > 0 for look in looks], axis=0)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(rows):
        raise ValueError("a control is transparent")
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    place = int(columns[0]), int(rows[0])
    return place, tuple(np.ascontiguousarray(look[box]) for look in looks)
