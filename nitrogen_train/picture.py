"""The one way a game's picture becomes a policy's square."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def squash(frame: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Resize the whole picture to a square, without letterbox, as NitroGen's player does.

    An axis that shrinks is averaged over areas, so that small things fade rather than flicker; one
    that grows is interpolated. Sharding does the same inside FFmpeg, see `clip_video`.

    Args:
        frame: RGB of any size.
        size: Side of the square, in pixels.
    """
    height, width, _ = frame.shape
    image = Image.fromarray(frame)
    if width != size:
        image = image.resize((size, height), _filter(width, size))
    if height != size:
        image = image.resize((size, size), _filter(height, size))
    return np.array(image)


def _filter(length: int, size: int) -> Image.Resampling:
    return Image.Resampling.BOX if size < length else Image.Resampling.BILINEAR
