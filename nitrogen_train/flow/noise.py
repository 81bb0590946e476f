"""Draw random numbers that belong to a sample, not to a place in a batch.

Each number is a hash of (seed, stream, index): the same wherever and with whatever else the
sample is batched, on any device. Streams keep the uses of one seed apart.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15


def sample_uniform(
    seed: Int64[Tensor, " b"],
    shape: Sequence[int],
    *,
    stream: str,
    generator: torch.Generator | None = None,
) -> Float32[Tensor, "b ..."]:
    """Draw uniform numbers in the open interval (0, 1).

    Args:
        seed: One per sample, any 64-bit integer.
        shape: Of the numbers of one sample; () gives one number each.
        stream: What the numbers are for; different names give independent numbers.
        generator: If given, the numbers come from it, and neither seed nor stream matters.
    """
    if generator is not None:
        bits = torch.randint(
            2**23, (len(seed), *shape), generator=generator, device=generator.device
        )
        return _to_uniform(bits.to(seed.device))
    start = _mix(_mix(seed) + _stream_key(stream))
    index = torch.arange(1, math.prod(shape) + 1, device=seed.device)
    bits = _mix(start[:, None] + index * _signed(_GOLDEN))
    return _to_uniform(_shift_right(bits, 41)).reshape(len(seed), *shape)


def sample_normal(
    seed: Int64[Tensor, " b"],
    shape: Sequence[int],
    *,
    stream: str,
    generator: torch.Generator | None = None,
) -> Float32[Tensor, "b ..."]:
    """Draw standard normal numbers, within 5.4 of zero; arguments as in `sample_uniform`."""
    uniform = sample_uniform(seed, shape, stream=stream, generator=generator)
    return torch.erfinv(2 * uniform - 1) * math.sqrt(2)


def _to_uniform(bits: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    # 23 bits and a half are exact in float32, and reach neither 0 nor 1.
    return (bits.float() + 0.5) * 2.0**-23


def _mix(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Finalize a 64-bit hash as SplitMix64 does (Steele et al. 2014); products wrap."""
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """Shift zeros in from the left; `>>` on signed integers copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """Reinterpret an unsigned 64-bit integer as a signed one, the only kind torch computes with."""
    return value - 2**64 if value >= 2**63 else value


def _stream_key(stream: str) -> int:
    digest = hashlib.blake2b(stream.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
