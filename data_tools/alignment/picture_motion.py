"""How a picture moves from one frame to the next, in few numbers.

Each is cheap and crude; what counts is that they change when a control does: the shift of the whole
picture (phase correlation, which sees large turns), its slide, zoom and rotation (least squares on
its gradients, which see small ones), and how much each of twelve areas changes (a flash, a weapon).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from jaxtyping import Complex, Float32, Float64

from data_tools.shards.source_video import SourceVideo

_WIDTH_PX, _HEIGHT_PX = 64, 48
_CELLS = (3, 4)
_FADE = np.outer(np.hanning(_HEIGHT_PX), np.hanning(_WIDTH_PX))
"""Edges of a picture do not move with it."""
_BLUR = np.exp(
    -(np.fft.fftfreq(_HEIGHT_PX)[:, None] ** 2 + np.fft.rfftfreq(_WIDTH_PX)[None] ** 2)
    / (2 * 0.15**2)
)
"""Fine detail is mostly noise of the encoder."""
_LEAST_GRADIENT = 10.0
"""Keeps the fit to gradients stable in a picture of one colour."""

Picture = Float32[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True)
class PictureMotion:
    """The steps between consecutive frames of a stretch of video."""

    starts_s: Float64[np.ndarray, " steps"]
    """When the earlier frame is shown, from the video's first frame on."""
    stops_s: Float64[np.ndarray, " steps"]
    """When the later one is."""
    values: Float64[np.ndarray, "steps features"]

    def __len__(self) -> int:
        return len(self.starts_s)


def read_picture_motion(video: SourceVideo, start: int, stop: int) -> PictureMotion:
    """Decode the frames from `start` up to `stop` (excluded), at least two, and follow the picture.

    Raises:
        ShardError: If the video is damaged there.
    """
    seconds = (video.ticks[start:stop] - video.ticks[0]) * float(video.time_base)
    values = np.stack(list(_iter_steps(video.cut(start, stop))))
    return PictureMotion(starts_s=seconds[:-1], stops_s=seconds[1:], values=values)


def _iter_steps(video: SourceVideo) -> Iterator[Float64[np.ndarray, " features"]]:
    earlier: Picture | None = None
    earlier_spectrum = np.zeros(0, dtype=complex)
    for frame in video.read():
        picture = _shrink(frame)
        spectrum = np.fft.rfft2((picture - picture.mean()) * _FADE)
        if earlier is not None:
            yield np.concatenate(
                [
                    _find_shift(earlier_spectrum, spectrum),
                    _fit_motion(earlier, picture),
                    _measure_change(earlier, picture),
                ]
            )
        earlier, earlier_spectrum = picture, spectrum


def _shrink(frame: av.VideoFrame) -> Picture:
    small = frame.reformat(width=_WIDTH_PX, height=_HEIGHT_PX, format="gray", interpolation="AREA")
    return small.to_ndarray().astype(np.float32)


def _find_shift(
    earlier: Complex[np.ndarray, "..."], later: Complex[np.ndarray, "..."]
) -> Float64[np.ndarray, "2"]:
    """Find the shift in pixels, down and to the right, by phase correlation."""
    product = later * np.conj(earlier)
    size = np.abs(product)
    surface = np.fft.irfft2(
        product / (size + 1e-3 * size.mean() + 1e-9) * _BLUR, s=(_HEIGHT_PX, _WIDTH_PX)
    )
    place = np.unravel_index(int(surface.argmax()), surface.shape)
    shift = [
        (_sub_pixel(surface, place, axis) + side / 2) % side - side / 2
        for axis, side in enumerate(surface.shape)
    ]
    return np.array(shift)


def _sub_pixel(surface: Float64[np.ndarray, "h w"], place: tuple[np.intp, ...], axis: int) -> float:
    """Place the peak between pixels: a parabola through it and its two neighbours."""
    around = np.roll(surface, 1 - place[axis], axis=axis).take(range(3), axis=axis)
    before, peak, after = around.take(place[1 - axis], axis=1 - axis)
    bend = before - 2 * peak + after
    return float(place[axis]) + (0.0 if bend == 0 else float((before - after) / (2 * bend)))


def _fit_motion(earlier: Picture, later: Picture) -> Float64[np.ndarray, "4"]:
    """Fit slide, zoom and rotation to how brightness changes along its gradients."""
    down, right = np.gradient((earlier + later) / 2)
    y, x = np.mgrid[0:_HEIGHT_PX, 0:_WIDTH_PX]
    y, x = (y - (_HEIGHT_PX - 1) / 2) / _WIDTH_PX, (x - (_WIDTH_PX - 1) / 2) / _WIDTH_PX
    slopes = np.stack([right, down, x * right + y * down, x * down - y * right], axis=-1)
    slopes = slopes.reshape(-1, 4).astype(np.float64)
    change = (earlier - later).reshape(-1).astype(np.float64)
    return np.linalg.solve(slopes.T @ slopes + _LEAST_GRADIENT * np.eye(4), slopes.T @ change)


def _measure_change(earlier: Picture, later: Picture) -> Float64[np.ndarray, " areas"]:
    change = later - earlier
    rows, columns = _CELLS
    cells = np.abs(change).reshape(rows, _HEIGHT_PX // rows, columns, _WIDTH_PX // columns)
    return np.append(np.log1p(cells.mean(axis=(1, 3))).reshape(-1), change.mean()).astype(float)
