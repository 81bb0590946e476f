"""Tarballs in the layout of NitroGen's dataset card, and videos whose frames carry their number.

A frame shows its number as a row of 11 black or white squares. Its row of labels has the same
number in the left stick, and in 11 buttons.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import ClipActions

WIDTH, HEIGHT = 320, 180
BITS = 11
_BIT_PX = 20
_TOP = 20
_BUTTONS = [name.lower() for name in GAMEPAD.buttons if name not in GAMEPAD.unlabelled]


def draw(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw a grey frame with its number at the top."""
    frame = np.full((height, width, 3), 160, np.uint8)
    across, down = width / WIDTH, height / HEIGHT
    for bit in range(BITS):
        left, right = (round((20 + (bit + i) * _BIT_PX) * across) for i in (0, 1))
        shade = 255 if number >> bit & 1 else 0
        frame[round(_TOP * down) : round((_TOP + _BIT_PX) * down), left:right] = shade
    return frame


def read_number(frame: np.ndarray) -> int:
    """Read a frame's number, at any size."""
    across, down = frame.shape[1] / WIDTH, frame.shape[0] / HEIGHT
    line = frame[round((_TOP + _BIT_PX / 2) * down)].mean(axis=-1)
    centres = [round((20 + (bit + 0.5) * _BIT_PX) * across) for bit in range(BITS)]
    return sum(int(line[centre] > 128) << bit for bit, centre in enumerate(centres))


def read_rows(actions: ClipActions) -> list[int]:
    """Read the rows' numbers from the stick."""
    low, high = (np.rint(actions.rows.sticks[:, axis] * 100).astype(int) for axis in (0, 1))
    return (low + 100 * high).tolist()


def pressed_bits(actions: ClipActions) -> list[int]:
    """Read the rows' numbers from the buttons; the bits of joined rows are joined."""
    indices = [GAMEPAD.index(name.upper()) for name in _BUTTONS[:BITS]]
    return (actions.rows.buttons[:, indices] @ (1 << np.arange(BITS))).tolist()


def write_video(
    path: Path,
    num_frames: int,
    *,
    fps: float,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    ticks_ms: Sequence[int] | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write a video whose frame t shows t; with times in ms its rate may vary."""
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options=muxing or {}) as container:
        options = {"preset": "ultrafast", "bf": "2", "g": "25"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if ticks_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for t in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw(t, *size), format="rgb24")
            frame.time_base = 1 / rate if ticks_ms is None else Fraction(1, 1000)
            frame.pts = t if ticks_ms is None else ticks_ms[t]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_rows(numbers: Iterable[int], **changes: pa.Array) -> bytes:
    """Write a parquet of labels, whose rows have these numbers."""
    numbers = list(numbers)
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(_BUTTONS):
        bits = [index < BITS and bool(number >> index & 1) for number in numbers]
        columns[name] = pa.array(bits, pa.bool_())
    left = [[number % 100 / 100, number // 100 / 100] for number in numbers]
    columns["j_left"] = pa.array(left, pa.list_(pa.float64()))
    columns["j_right"] = pa.array([[0.0, 0.0]] * len(numbers), pa.list_(pa.float64()))
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns | changes), buffer)
    return buffer.getvalue()


def describe(
    video_id: str, chunk: int, start: int, stop: int, *, fps: float = 30.0, **changes: Any
) -> dict[str, Any]:
    """Describe a piece as the card does."""
    values = {
        "uuid": f"{video_id}_chunk_{chunk:04d}_actions",
        "chunk_id": f"{chunk:04d}",
        "chunk_size": stop - start,
        "original_video": {
            "resolution": [HEIGHT, WIDTH],
            "video_id": video_id,
            "source": "youtube",
            "url": f"https://www.youtube.com/watch?v={video_id}",
            "start_time": start / fps,
            "end_time": stop / fps,
            "duration": (stop - start) / fps,
            "start_frame": start,
            "end_frame": stop,
        },
        "game": "celeste",
        "controller_type": "xboxone",
        # At the bottom right, and over the edge of the picture.
        "bbox_controller_overlay": [240, 120, 100, 80],
    }
    video = values["original_video"] | changes.pop("original_video", {})
    return values | changes | {"original_video": video}


class TarballMaker:
    """Collects members, good and bad ones, and writes them."""

    def __init__(self) -> None:
        self.members: list[tuple[tarfile.TarInfo, bytes]] = []

    def add(self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
        """Add any member."""
        entry = tarfile.TarInfo(name)
        entry.size, entry.type = len(data), kind
        if kind == tarfile.SYMTYPE:
            entry.linkname = "/etc/passwd"
        self.members.append((entry, data))

    def piece(
        self,
        video_id: str,
        chunk: int,
        start: int,
        stop: int,
        *,
        files: Sequence[str] = ("raw", "processed"),
        rows: bytes | None = None,
        metadata: bytes | None = None,
        **changes: Any,
    ) -> None:
        """Add a piece whose row of frame t has the number t, in both of its files."""
        folder = f"SHARD_0000/{video_id}/{video_id}_chunk_{chunk:04d}"
        for name in files:
            data = write_rows(range(start, stop)) if rows is None else rows
            self.add(f"{folder}/actions_{name}.parquet", data)
        if metadata is None:
            metadata = json.dumps(describe(video_id, chunk, start, stop, **changes)).encode()
        self.add(f"{folder}/metadata.json", metadata)

    def write(self, path: Path) -> Path:
        """Write the tarball."""
        with tarfile.open(path, "w:gz") as archive:
            for entry, data in self.members:
                archive.addfile(entry, io.BytesIO(data))
        return path
