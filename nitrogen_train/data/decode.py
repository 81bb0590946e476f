"""Videos in memory to frames, behind one protocol.

A frame's index is its place in the order in which frames are shown. A backend returns exactly the
frames that are asked for, or raises. Each call opens the video, decodes on one thread (a loader has
a process per core) and closes it: a decoder holds nothing, and one object serves every worker.
"""

import importlib.util
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from nitrogen_train.data.decoders.decord_decoder import DecordDecoder
from nitrogen_train.data.decoders.pyav_decoder import PyAVDecoder
from nitrogen_train.data.decoders.torchcodec_decoder import TorchcodecDecoder
from nitrogen_train.data.decoders.video import UnsupportedVideoError


@runtime_checkable
class VideoDecoder(Protocol):
    """Decodes videos exactly to the frame."""

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB.

        The cheapest calls ask for many neighbouring frames: what a call costs before its first
        frame is up to a millisecond, and the frames from the key frame before.

        Args:
            video: A whole file, of constant frame rate or not.
            indices: Which frames, in any order, repeated or not; all of them if None.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If this backend cannot decode the video exactly.
        """
        ...


_BACKENDS: dict[str, tuple[str, type[VideoDecoder]]] = {
    "pyav": ("av", PyAVDecoder),
    "torchcodec": ("torchcodec", TorchcodecDecoder),
    "decord": ("decord", DecordDecoder),
}
"""By name: what must be installed, and the class; the fastest first, see `docs/video.md`."""


def choose_decoder(name: str = "auto") -> VideoDecoder:
    """Build a decoder by name; `auto` tries all that are installed, the fastest first.

    Raises:
        ValueError: If the name is unknown, or the library is not installed.
    """
    installed = build_decoders()
    if name == "auto":
        return FallbackDecoder(list(installed.values()))
    if name not in _BACKENDS:
        raise ValueError(f"unknown decoder {name!r}; use auto, {', '.join(_BACKENDS)}")
    if name not in installed:
        raise ValueError(f"{name} is not installed here; pip install {name}, or use decoder=auto")
    return installed[name]


def build_decoders() -> dict[str, VideoDecoder]:
    """Build a decoder of each library that is installed, by name, the fastest first."""
    return {
        name: build()
        for name, (package, build) in _BACKENDS.items()
        if importlib.util.find_spec(package) is not None
    }


class FallbackDecoder:
    """Several backends in turn: where one cannot decode a video exactly, the next takes over."""

    def __init__(self, backends: Sequence[VideoDecoder]) -> None:
        """Take the backends in the order in which they are tried."""
        self._backends = backends

    def decode(
        self, video: bytes, *, indices: Sequence[int] | None = None
    ) -> UInt8[np.ndarray, "f h w 3"]:
        """Decode frames to RGB, as `VideoDecoder` says.

        Raises:
            DecodeError: If the video is damaged, too large, or has no such frame.
            UnsupportedVideoError: If no backend can decode the video exactly; it says why.
        """
        reasons: list[str] = []
        for backend in self._backends:
            try:
                return backend.decode(video, indices=indices)
            except UnsupportedVideoError as error:
                reasons.append(f"{type(backend).__name__}: {error}")
        raise UnsupportedVideoError(f"no decoder can read the video; {'; '.join(reasons)}")
