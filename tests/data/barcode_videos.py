"""Videos whose frames carry their own index, in every encoding that a decoder may meet."""

import functools
import random
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

NUM_FRAMES = 90
CELL, NUM_BITS = 16, 7
TICK = Fraction(1, 600)
UNEVEN_TICKS = random.Random(1).choices((1, 20, 33, 55, 900), k=NUM_FRAMES)


def draw_barcode(
    index: int, width: int = 128, height: int = 64
) -> UInt8[np.ndarray, "height width 3"]:
    """A picture whose top cells are the bits of its index, over noise that moves."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1)))[:height, :width]
    picture = np.roll(picture, 3 * index, axis=1).astype(np.uint8)
    for bit in range(NUM_BITS):
        picture[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (index >> bit & 1)
    return picture


def read_barcodes(frames: UInt8[np.ndarray, "f h w 3"]) -> list[int]:
    centres = frames[:, CELL // 2, CELL // 2 : NUM_BITS * CELL : CELL]
    return ((centres.mean(axis=-1) > 128) << np.arange(NUM_BITS)).sum(axis=1).tolist()


def x264(group: int, *, b_frames: int = 0, open_group: int = 0, more: str = "") -> dict[str, str]:
    return {
        "preset": "veryfast",
        "x264-params": f"keyint={group}:min-keyint={group}:scenecut=0:bframes={b_frames}:"
        f"b-adapt=0:open-gop={open_group}:threads=1{more}",
    }


X265 = {"preset": "ultrafast", "x265-params": "keyint=10:min-keyint=10:bframes=3:log-level=none"}
AV1 = {"preset": "10", "g": "10", "svtav1-params": "lp=1"}

ENCODINGS: dict[str, dict[str, Any]] = {
    "all key frames": {"options": x264(1)},
    "group of 10": {"options": x264(10)},
    "group of 250": {"options": x264(250)},
    "B-frames": {"options": x264(10, b_frames=3)},
    "B-frames, group of 250": {"options": x264(250, b_frames=3)},
    "open groups": {"options": x264(10, b_frames=3, open_group=1)},
    "intra refresh": {"options": x264(20, more=":intra-refresh=1")},
    "variable rate": {"options": x264(10), "ticks": UNEVEN_TICKS},
    "variable rate, B-frames": {"options": x264(10, b_frames=2), "ticks": UNEVEN_TICKS},
    "variable rate, group of 250": {"options": x264(250), "ticks": UNEVEN_TICKS},
    "odd sides": {"options": x264(10), "size": (127, 63), "pixels": "yuv444p"},
    "odd sides, VP9": {"codec": "libvpx-vp9", "options": {"g": "10"}, "size": (127, 63)},
    "AV1": {"codec": "libsvtav1", "options": AV1},
    "HEVC": {"codec": "libx265", "options": X265},
    "a late start": {"options": x264(10, b_frames=2), "shift": 3000},
    "a late start, no edit list": {
        "options": x264(10), "shift": 3000, "container": {"use_editlist": "0"},
    },
    "first 7 frames cut by an edit list": {"options": x264(10), "shift": -140, "hidden": 7},
    "mkv": {"options": x264(10), "format": "matroska"},
    "mkv, variable rate, B-frames": {
        "options": x264(10, b_frames=3), "format": "matroska", "ticks": UNEVEN_TICKS,
    },
    "mkv, AV1": {"codec": "libsvtav1", "options": AV1, "format": "matroska"},
    "transport stream": {"options": x264(10, b_frames=3), "format": "mpegts"},
    "fragments": {
        "options": x264(10, b_frames=3), "container": {"movflags": "frag_keyframe+empty_moov"},
    },
    "index at the end": {"options": x264(10), "container": {}},
    "B-frames, index at the end": {"options": x264(10, b_frames=2), "container": {}},
}  # fmt: skip


@functools.cache
def make_video(name: str) -> tuple[bytes, int]:
    """Encode `NUM_FRAMES` frames with barcodes; also tell how many of the first are hidden."""
    encoding = dict(ENCODINGS[name])
    num_hidden = encoding.pop("hidden", 0)
    return write_video(**encoding), num_hidden


def write_video(
    *,
    options: dict[str, str],
    codec: str = "libx264",
    format: str = "mp4",
    size: tuple[int, int] = (128, 64),
    pixels: str = "yuv420p",
    ticks: list[int] | None = None,
    shift: int = 0,
    container: dict[str, str] | None = None,
) -> bytes:
    muxing = {"movflags": "+faststart"} if container is None else container
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(
            str(path), "w", format=format, options=muxing if format == "mp4" else {}
        ) as out:
            stream = cast(VideoStream, out.add_stream(codec, rate=30, options=options))
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = TICK
            pts = np.cumsum([0, *(ticks or [20] * NUM_FRAMES)]).tolist()
            frames = [draw_frame(index, pts[index], size) for index in range(NUM_FRAMES)]
            for frame in [*frames, None]:
                for packet in stream.encode(frame):
                    packet.pts = (packet.pts or 0) + shift
                    packet.dts = (packet.dts or 0) + shift
                    out.mux(packet)
        return path.read_bytes()


def draw_frame(index: int, pts: int, size: tuple[int, int]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(draw_barcode(index, *size), format="rgb24")
    frame.pts, frame.time_base = pts, TICK
    return frame
