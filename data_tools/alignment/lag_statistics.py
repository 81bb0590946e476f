"""How well picture and controls agree at a lag.

Both are whitened first: of a picture's step what its last steps foretell is taken away, of a
control what it was before. What is left of a turn is its beginning and its end, and of an
explosion its first frame; without it any two slow signals agree at many lags.

The agreement is that of the regression of all picture features on all controls, as twice the gain
in log-likelihood of Gaussian noise (Wilks): it takes no view on which control moves what.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from data_tools.alignment.held_controls import HeldControls
from data_tools.alignment.picture_motion import PictureMotion

_PICTURE_ORDER, _CONTROL_ORDER = 3, 2
"""Steps that the whitening looks back; the picture's are those of flashes and of inertia."""
_RIDGE = 1e-2
"""Of a feature's variance: stands for what is constant in a window."""
_CLIP = 4.0
"""In robust standard deviations: a cut to another scene is no motion."""


@dataclass(frozen=True, kw_only=True)
class LagStatistics:
    """Covariances of whitened windows, for each lag."""

    lags_s: Float64[np.ndarray, " lags"]
    counts: Float64[np.ndarray, " windows"]
    controls: Float64[np.ndarray, "windows lags p p"]
    cross: Float64[np.ndarray, "windows lags p q"]
    pictures: Float64[np.ndarray, "windows q q"]

    def agreement(
        self,
        weights: Float64[np.ndarray, "draws windows"],
        first_lags: Sequence[int] | None = None,
        num_lags: int | None = None,
    ) -> Float64[np.ndarray, "draws lags"]:
        """Pool windows, and say how well they agree at each lag.

        Args:
            weights: How often each window counts.
            first_lags: The place of each window's first lag, if clocks drift apart; 0.
            num_lags: How many from there on; all.
        """
        num_windows, num_all = int(self.cross.shape[0]), int(self.cross.shape[1])
        first = np.array([0] * num_windows if first_lags is None else first_lags)
        places = first[:, None] + np.arange(num_all if num_lags is None else num_lags)
        windows = np.arange(num_windows)[:, None]
        total = weights @ self.counts
        # (draws, lags, ., .), as means over steps
        scale = total[:, None, None, None]
        controls = np.tensordot(weights, self.controls[windows, places], 1) / scale
        cross = np.tensordot(weights, self.cross[windows, places], 1) / scale
        pictures = np.tensordot(weights, self.pictures, 1)[:, None] / scale
        size = controls.shape[-1]
        controls = controls + _RIDGE * np.eye(size)
        pictures = pictures + _RIDGE * np.eye(pictures.shape[-1])
        explained = cross @ np.linalg.inv(pictures) @ np.swapaxes(cross, -1, -2)
        gain = np.linalg.slogdet(controls)[1] - np.linalg.slogdet(controls - explained)[1]
        return total[:, None] * gain


class WhitenedPicture:
    """The picture's side, which is the same for every lag."""

    def __init__(self, windows: Sequence[PictureMotion]) -> None:
        """Scale and whiten the steps of some windows, alike in all of them."""
        everything = np.concatenate([window.values for window in windows])
        median = np.median(everything, axis=0)
        spread = 1.5 * np.median(np.abs(everything - median), axis=0)
        spread = spread + 1e-3 * everything.std(axis=0) + 1e-9
        values = [((w.values - median) / spread).clip(-_CLIP, _CLIP) for w in windows]
        values = _standardize(values)
        whitener = _fit_whitener(values, _PICTURE_ORDER)
        whitened = _standardize([_whiten(v, whitener, _PICTURE_ORDER) for v in values])
        self.windows = windows
        self._values = whitened

    def compare(
        self, controls: HeldControls, lags_s: Float64[np.ndarray, " lags"], *, shift_s: float = 0.0
    ) -> LagStatistics:
        """Gather the covariances with controls held some time before each step.

        Args:
            controls: On the video's clock, as far as that is known.
            lags_s: Times from what is held to what is seen.
            shift_s: Added to all lags: what is seen cannot come from there.
        """
        middle = np.array([lags_s[len(lags_s) // 2]])
        at_middle = [self._hold(controls, window, middle, shift_s)[0] for window in self.windows]
        mean, spread = _measure_scale(at_middle)
        at_middle = [(values - mean) / spread for values in at_middle]
        whitener = _fit_whitener(at_middle, _CONTROL_ORDER)
        _, left = _measure_scale([_whiten(v, whitener, _CONTROL_ORDER) for v in at_middle])
        gathered: list[tuple[np.ndarray, np.ndarray]] = []
        for window, seen in zip(self.windows, self._values, strict=True):
            # One window at a time: at all lags they do not fit into memory.
            held = (self._hold(controls, window, lags_s, shift_s) - mean) / spread
            held = _whiten(held, whitener, _CONTROL_ORDER) / left
            # As many steps as the picture's, whose whitening looks back further.
            turned = np.swapaxes(held[:, _PICTURE_ORDER - _CONTROL_ORDER :], 1, 2)
            gathered.append((turned @ np.swapaxes(turned, 1, 2), turned @ seen))
        return LagStatistics(
            lags_s=lags_s,
            counts=np.array([float(len(seen)) for seen in self._values]),
            controls=np.stack([controls for controls, _ in gathered]),
            cross=np.stack([cross for _, cross in gathered]),
            pictures=np.stack([seen.T @ seen for seen in self._values]),
        )

    @staticmethod
    def _hold(
        controls: HeldControls,
        window: PictureMotion,
        lags_s: Float64[np.ndarray, " lags"],
        shift_s: float,
    ) -> Float64[np.ndarray, "lags steps p"]:
        shifts = (lags_s + shift_s)[:, None]
        return controls.means(window.starts_s - shifts, window.stops_s - shifts)


def _measure_scale(
    values: list[Float64[np.ndarray, "_ q"]],
) -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    everything = np.concatenate(values)
    return everything.mean(axis=0), everything.std(axis=0) + 1e-9


def _standardize(
    values: list[Float64[np.ndarray, "_ q"]],
) -> list[Float64[np.ndarray, "_ q"]]:
    mean, spread = _measure_scale(values)
    return [(v - mean) / spread for v in values]


def _fit_whitener(
    values: list[Float64[np.ndarray, "_ q"]], order: int
) -> Float64[np.ndarray, "past q"]:
    past = np.concatenate([_look_back(v, order) for v in values])
    now = np.concatenate([v[order:] for v in values])
    ridge = _RIDGE * len(past) * np.eye(past.shape[1])
    return np.linalg.solve(past.T @ past + ridge, past.T @ now)


def _whiten(
    values: Float64[np.ndarray, "*lags steps q"],
    whitener: Float64[np.ndarray, "past q"],
    order: int,
) -> Float64[np.ndarray, "*lags fewer q"]:
    return values[..., order:, :] - _look_back(values, order) @ whitener


def _look_back(
    values: Float64[np.ndarray, "*lags steps q"], order: int
) -> Float64[np.ndarray, "*lags fewer past"]:
    length = values.shape[-2]
    earlier = [values[..., order - back : length - back, :] for back in range(1, order + 1)]
    return np.concatenate(earlier, axis=-1)
