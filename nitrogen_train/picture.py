"""Turn a game's picture into a policy's square, in the one way that training and play share."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def read_picture(frame: Any) -> UInt8[np.ndarray, "h w 3"]:  # noqa: ANN401 - judged here
    """Take a picture as it comes: numpy's or torch's, of any size, contiguous or not.

    Raises:
        TypeError: If it is no array, or not of uint8.
        ValueError: If it is not (height, width, 3) with something in it.
    """
    expected = "expected a picture of uint8 from 0 to 255, (height, width, 3), RGB"
    if not hasattr(frame, "shape") or not hasattr(frame, "dtype"):
        raise TypeError(f"{expected}, numpy or torch, got a {type(frame).__name__}")
    dtype = str(frame.dtype).removeprefix("torch.")
    if dtype != "uint8":
        raise TypeError(f"{expected}, got {dtype}: what is normalized, and how, is not known here")
    # A tensor may lie on a GPU.
    picture = np.asarray(frame.cpu() if hasattr(frame, "cpu") else frame)
    shape = tuple(picture.shape)
    if len(shape) == 3 and shape[2] == 3 and min(shape) > 0:
        return picture
    hint = ""
    if len(shape) == 3 and shape[0] == 3:
        hint = ": colours come last, give frame.transpose(1, 2, 0) (torch: permute)"
    elif len(shape) == 3 and shape[2] == 4:
        hint = ": leave out alpha, frame[..., :3]; of BGRA frame[..., 2::-1]"
    elif len(shape) == 4:
        hint = ": one picture at a time, the policy remembers the ones before"
    raise ValueError(f"{expected}, got {shape}{hint}")


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
