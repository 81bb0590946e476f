"""Tiny videos whose frames show their number, of every codec and in every container."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"x264-params": "keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}),
    "h264-open": (
        "libx264",
        {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"},
    ),
    "h264-refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "hevc": ("libx265", {"x265-params": "log-level=none:keyint=12:min-keyint=12:open-gop=0"}),
    "hevc-open": ("libx265", {"x265-params": "log-level=none:keyint=12:min-keyint=12"}),
    "vp9": (
        "libvpx-vp9",
        {"g": "12", "crf": "20", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "10"},
    ),
    "av1": ("libsvtav1", {"preset": "8", "crf": "20", "svtav1-params": "keyint=12"}),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "2", "q": "2"}),
}
CONTAINERS = ("mp4", "mkv", "webm", "ts", "flv")
_WITHOUT = {
    "webm": {"h264", "h264-open", "h264-refresh", "hevc", "hevc-open", "mpeg4"},
    # FFmpeg writes the last two to transport streams and cannot read them there.
    "ts": {"vp9", "av1"},
    "flv": {"mpeg4"},
}
COMBINATIONS = [
    (codec, container)
    for codec in CODECS
    for container in CONTAINERS
    if codec not in _WITHOUT.get(container, ())
]
_BITS, _SIDE = 6, 16
_TEXTURE = np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE * 8, 3), dtype=np.uint8)


def write_numbered(
    path: Path,
    codec: str,
    *,
    count: int = 40,
    start: int = 0,
    ticks: Sequence[int] | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write frames 0, 1, ... at 30 per second from frame time `start` on, or at these times."""
    times = range(start, start + count) if ticks is None else ticks
    name, options = CODECS[codec]
    with av.open(str(path), "w", options=muxing or {}) as container:
        stream = container.add_stream(name, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = _SIDE * 8, _SIDE * 4, "yuv420p"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(_draw(number), format="rgb24")
            frame.pts, frame.time_base = times[number], Fraction(1, 30)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def read_number(frame: av.VideoFrame) -> int:
    """Read the number that a frame shows."""
    row = frame.to_ndarray(format="gray")[2 * _SIDE - 8 : 2 * _SIDE + 8]
    squares = [row[:, _SIDE * bit + 5 : _SIDE * bit + 11] for bit in range(1, _BITS + 1)]
    return sum(int(square.mean() > 125) << bit for bit, square in enumerate(squares))


def _draw(number: int) -> np.ndarray:
    picture = np.full((_SIDE * 4, _SIDE * 8, 3), 110, np.uint8)
    # So that frames outweigh what else a file holds.
    picture[3 * _SIDE :] = np.roll(_TEXTURE, 7 * number, axis=1)
    for bit in range(_BITS):
        x = _SIDE * (bit + 1)
        picture[_SIDE : 3 * _SIDE, x : x + _SIDE] = 235 if number >> bit & 1 else 16
    return picture
