"""How long after an input the picture changes, from a data set alone.

Where a player's input changes, many games' pictures change more than elsewhere: turning, walking,
jumping. The correlation of both over many rows, at each lag, has its peak where the picture answers
the input. Row t covers the time from frame t on, so an answer at once is lag 0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from nitrogen_train.actions import ActionRows

MAX_LAG = 20
"""In rows, to either side."""
_STEP_PX = 4
"""Of the pixels, every n-th counts: enough to see motion."""
_NEAR = 3
"""Lags this near belong to the same peak."""
_FEWEST_CHANGES = 30
# Chance gives a correlation of 1 / sqrt(rows), at some lag about three times that.
_CHANCE_FACTOR = 6.0
# A player also reacts to what has changed, two rows after it: in recordings of doom_gather that is
# a peak of 0.18 at -2, in those of doom_defend the answer to the input is one of 0.54 at 1.
_LOWEST_PEAK = 0.3
_RIVAL_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class OffsetSums:
    """What a clip says about the offset; sums of clips say it better."""

    products: Float64[np.ndarray, " lags"]
    """Of normalized input change and picture change, from `-MAX_LAG` to `MAX_LAG`."""
    num_rows: int
    num_changes: int
    """Rows with another input than the row before."""

    def __add__(self, other: "OffsetSums") -> "OffsetSums":
        return OffsetSums(
            products=self.products + other.products,
            num_rows=self.num_rows + other.num_rows,
            num_changes=self.num_changes + other.num_changes,
        )


NO_OFFSET = OffsetSums(products=np.zeros(2 * MAX_LAG + 1), num_rows=0, num_changes=0)


@dataclass(frozen=True, kw_only=True)
class OffsetEstimate:
    """Where the picture answers the input."""

    lag: int
    """Rows from an input to the change of the picture; negative: the picture is first."""
    correlation: float


def measure_offset(
    frames: UInt8[np.ndarray, "f h w 3"], rows: ActionRows, valid: Bool[np.ndarray, " f"]
) -> OffsetSums:
    """Correlate a clip's changes of input and picture at each lag; nothing if one never changes."""
    small = frames[:, ::_STEP_PX, ::_STEP_PX].astype(np.int16)
    # From row to row: the picture's change from t to t+1 answers row t.
    picture = np.abs(np.diff(small, axis=0)).mean(axis=(1, 2, 3))[1:]
    buttons = np.logical_xor(rows.buttons[1:], rows.buttons[:-1]).sum(axis=1)
    inputs = (buttons + np.abs(np.diff(rows.sticks, axis=0)).sum(axis=1))[:-1].astype(np.float64)
    inputs[~valid[1:-1]] = 0.0
    if len(inputs) <= 2 * MAX_LAG:
        return NO_OFFSET
    # A cut of the picture must not outweigh all else.
    picture = np.minimum(picture, np.quantile(picture, 0.95))
    if inputs.std() == 0 or picture.std() < 1e-3:
        return NO_OFFSET
    x, y = ((v - v.mean()) / v.std() for v in (inputs, picture))
    middle = len(x) - 1
    products = np.correlate(y, x, "full")[middle - MAX_LAG : middle + MAX_LAG + 1]
    return OffsetSums(products=products, num_rows=len(x), num_changes=int(np.count_nonzero(inputs)))


def estimate_offset(sums: OffsetSums) -> OffsetEstimate | None:
    """Find the peak, None where there is no clear one.

    A clear one stands out of what chance makes, and no other lag comes to half of it.
    """
    if sums.num_changes < _FEWEST_CHANGES:
        return None
    correlation = sums.products / sums.num_rows
    correlation = correlation - np.median(correlation)
    peak = int(correlation.argmax())
    far = np.abs(np.arange(len(correlation)) - peak) > _NEAR
    height = float(correlation[peak])
    lowest = max(_LOWEST_PEAK, _CHANCE_FACTOR / np.sqrt(sums.num_rows))
    if height < lowest or correlation[far].max() > _RIVAL_SHARE * height:
        return None
    return OffsetEstimate(lag=peak - MAX_LAG, correlation=height)
