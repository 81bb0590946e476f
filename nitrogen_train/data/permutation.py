"""Shuffle without a table: the place of each element is a function of its index and a key.

A pass over 7.2 million clips has more windows than a worker should hold in a permutation; here any
element of it costs the same few operations, at any place of the run.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Int64, UInt64

Ints: TypeAlias = int | Int64[np.ndarray, " _"] | UInt64[np.ndarray, " _"]

_ROUNDS = 8
"""Rounds of the Feistel network: four look random in large domains, small ones need more."""


def derive_key(*parts: Ints) -> UInt64[np.ndarray, " n"]:
    """Hash whole numbers to 64 bits, elementwise where parts are arrays.

    Args:
        parts: What the key depends on, in order; not negative.

    Source:
        The mixing function of SplitMix64 (Steele, Lea and Flood 2014).
    """
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mix(key ^ _mix(np.atleast_1d(np.asarray(part)).astype(np.uint64)))
    return key


def permute(
    index: Int64[np.ndarray, " n"],
    *,
    size: int | Int64[np.ndarray, " n"],
    key: UInt64[np.ndarray, " k"],
) -> Int64[np.ndarray, " n"]:
    r"""Shuffle: for one size and key, a bijection of 0 … size-1.

    A Feistel network permutes the least power of 4 that is not below `size`; who lands outside of
    the range walks on until it is back inside, which keeps the map a bijection.

    Args:
        index: Places before the shuffle, in [0, size).
        size: Elements of each shuffle, at least 1.
        key: Which shuffle; one for all, or one for each.

    Returns:
        Places after it, in [0, size).

    Source:
        Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains": cycle walking.
    """
    sizes = np.broadcast_to(np.asarray(size, np.uint64), index.shape)
    keys = np.broadcast_to(key, index.shape)
    # Bits of half a place; frexp gives the bits of size-1 exactly below 2**53.
    half = ((np.frexp((sizes - np.uint64(1)).astype(np.float64))[1] + 1) // 2).astype(np.uint64)
    places = index.astype(np.uint64)
    walking = np.arange(len(index))
    while len(walking):
        places[walking] = _feistel(places[walking], half=half[walking], keys=keys[walking])
        walking = walking[places[walking] >= sizes[walking]]
    return places.astype(np.int64)


def _feistel(
    places: UInt64[np.ndarray, " n"],
    *,
    half: UInt64[np.ndarray, " n"],
    keys: UInt64[np.ndarray, " n"],
) -> UInt64[np.ndarray, " n"]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = places >> half, places & mask
    # All at once: for a few places, a call costs more than what it computes.
    for key in _mix(keys + np.arange(_ROUNDS, dtype=np.uint64)[:, None]):
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(value: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
