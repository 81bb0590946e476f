"""Rules on what is seen. Each says what it found, or None."""

import numpy as np
from jaxtyping import Bool, UInt8

from data_tools.filtering.pictures import GRID, PictureSamples
from data_tools.filtering.settings import FilterSettings

# Grey levels of 255: below it is what encoders make of a picture that does not change.
_STILL_LEVEL = 2.0
_CHANGED_LEVEL = 8.0
_FEWEST_INTERVALS = 2
_FEWEST_PICTURES = 4
_SIGNATURE_PICTURES = 4


def find_black(samples: PictureSamples, settings: FilterSettings) -> str | None:
    """Find pictures without a part that is not black."""
    share = float((samples.levels.max(axis=(1, 2)) <= settings.black_level).mean())
    return f"{share:.1%} of the pictures are black" if share >= settings.black_share else None


def find_frozen(
    samples: PictureSamples, settings: FilterSettings, *, is_active: Bool[np.ndarray, " rows"]
) -> str | None:
    """Find a picture that does not change while the player does something."""
    is_still = np.abs(np.diff(samples.levels, axis=0)).max(axis=(1, 2)) <= _STILL_LEVEL
    has_input = np.array(
        [is_active[a:b].any() for a, b in zip(samples.rows, samples.rows[1:], strict=False)],
        dtype=bool,
    )
    if has_input.sum() < _FEWEST_INTERVALS:
        return None
    share = float(is_still[has_input].mean())
    if share < settings.frozen_share:
        return None
    return f"the picture stands still in {share:.1%} of the time with input"


def find_menu(samples: PictureSamples, settings: FilterSettings) -> str | None:
    """Find a picture most of which never changes while another part does.

    Black bars beside the picture belong to neither.
    """
    if len(samples.rows) < _FEWEST_PICTURES:
        return None
    is_bar = samples.levels.max(axis=0) <= settings.black_level
    spread = np.ptp(samples.levels, axis=0)[~is_bar]
    if not len(spread) or spread.max() <= _CHANGED_LEVEL:
        return None
    share = float((spread <= _STILL_LEVEL).mean())
    if share < settings.constant_share:
        return None
    return f"{share:.1%} of the picture stays the same for the whole clip"


def make_signature(samples: PictureSamples) -> UInt8[np.ndarray, " k"]:
    """Keep a few pictures, coarser still, to compare clips by."""
    chosen = np.linspace(0, len(samples.rows) - 1, _SIGNATURE_PICTURES).round().astype(int)
    half = GRID // 2
    parts = samples.levels[chosen].reshape(_SIGNATURE_PICTURES, half, 2, half, 2)
    return parts.mean(axis=(2, 4)).round().astype(np.uint8).ravel()


def are_same(
    one: UInt8[np.ndarray, " k"], other: UInt8[np.ndarray, " k"], settings: FilterSettings
) -> bool:
    """Tell whether two clips look the same, however they were compressed."""
    return bool(np.abs(one.astype(int) - other).max() <= settings.same_level)
