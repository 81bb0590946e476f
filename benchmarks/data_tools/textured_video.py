"""Videos that cost about as much to decode as play does, with labels for all of their frames."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from jaxtyping import UInt8

from nitrogen_train.actions import GAMEPAD, ActionRows
from nitrogen_train.data.clip_record import ClipActions, encode_actions
from nitrogen_train.runtime.atomic_files import write_atomically

_PIECE_S = 20
_UNIT_S = 10
_NUM_SPRITES = 12


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """A video to make."""

    width: int
    height: int
    fps: int
    seconds: int

    @property
    def video_id(self) -> str:
        """Its name."""
        return f"{self.height}p{self.fps}-{self.seconds}s"

    @property
    def num_frames(self) -> int:
        """Frames in all."""
        return self.fps * self.seconds


def write_video(shape: VideoShape, folder: Path) -> Path:
    """Write a panning, noisy picture with things that move, compressed as videos on the web are.

    Ten seconds are encoded, and repeated as they are.
    """
    path = folder / f"{shape.video_id}.mp4"
    if path.exists():
        return path
    with TemporaryDirectory() as temporary_dir:
        unit = Path(temporary_dir) / "unit.mp4"
        _encode(shape, unit)
        with write_atomically(path) as temporary:
            _repeat(unit, temporary, shape.num_frames)
    return path


def _encode(shape: VideoShape, path: Path) -> None:
    with av.open(str(path), "w") as file:
        # B-frames, and a key frame every five seconds.
        options = {
            "preset": "veryfast",
            "crf": "23",
            "x264-params": f"keyint={5 * shape.fps}:open-gop=0",
        }
        stream = file.add_stream("libx264", rate=shape.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
        for picture in _iter_pictures(shape):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def _repeat(unit: Path, path: Path, num_frames: int) -> None:
    """Append a video to itself, without encoding it anew, until it has enough frames."""
    with av.open(str(path), "w", format="mp4") as file:
        stream, offset, left = None, 0, num_frames
        while left:
            with av.open(str(unit)) as source:
                video = source.streams.video[0]
                stream = stream or file.add_stream_from_template(video)
                packets = [packet for packet in source.demux(video) if packet.size][:left]
                step = packets[0].duration or 1
                for packet in packets:
                    packet.pts, packet.dts = (packet.pts or 0) + offset, (packet.dts or 0) + offset
                    packet.stream = stream
                    file.mux(packet)
                offset += len(packets) * step
                left -= len(packets)


def write_labels(shape: VideoShape, path: Path) -> None:
    """Write a tarball of labels, with pieces of 20 s, in the layout of the dataset's card."""
    rng = np.random.default_rng(0)
    rows = _PIECE_S * shape.fps
    with write_atomically(path) as temporary, tarfile.open(temporary, "w:gz") as archive:
        for chunk, start in enumerate(range(0, shape.num_frames, rows)):
            stop = min(start + rows, shape.num_frames)
            folder = f"SHARD_0000/{shape.video_id}/{shape.video_id}_chunk_{chunk:04d}"
            _add(archive, f"{folder}/actions_raw.parquet", _random_actions(rng, stop - start))
            facts = json.dumps(_describe(shape, chunk, start, stop)).encode()
            _add(archive, f"{folder}/metadata.json", facts)


def _iter_pictures(shape: VideoShape) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    rng = np.random.default_rng(1)
    height, width = shape.height, shape.width
    coarse = rng.integers(40, 216, (height // 16 + 9, width // 8 + 9, 3))
    world = np.kron(coarse, np.ones((16, 16, 1))) + rng.integers(-12, 13, (1, 1, 1))
    world = (world + rng.normal(0, 6, world.shape)).clip(0, 255).astype(np.uint8)
    places = rng.uniform(0, 1, (_NUM_SPRITES, 2))
    speeds = rng.uniform(-0.3, 0.3, (_NUM_SPRITES, 2))
    sprites = rng.integers(0, 256, (_NUM_SPRITES, height // 10, height // 10, 3), np.uint8)
    for t in range(min(shape.num_frames, _UNIT_S * shape.fps)):
        time_s = t / shape.fps
        left = round((world.shape[1] - width) * (0.5 - 0.5 * np.cos(time_s * 0.4)))
        top = round(64 * (0.5 - 0.5 * np.cos(time_s)))
        picture = world[top : top + height, left : left + width].copy()
        for place, speed, sprite in zip(places, speeds, sprites, strict=True):
            y, x = (place + speed * time_s) % 1 * (height - len(sprite), width - len(sprite))
            picture[int(y) : int(y) + len(sprite), int(x) : int(x) + len(sprite)] = sprite
        yield picture


def _random_actions(rng: np.random.Generator, num_rows: int) -> bytes:
    # States last a third of a second, as on a real pad.
    changes = np.cumsum(rng.random(num_rows) < 0.1)
    buttons = (rng.random((num_rows, len(GAMEPAD.buttons))) < 0.05)[changes]
    buttons[:, [GAMEPAD.index(name) for name in GAMEPAD.unlabelled]] = False
    sticks = rng.uniform(-1, 1, (num_rows, len(GAMEPAD.sticks))).astype(np.float32)[changes]
    rows = ActionRows(buttons=buttons, sticks=sticks)
    return encode_actions(ClipActions(rows=rows, valid=np.ones(num_rows, bool)), GAMEPAD)


def _describe(shape: VideoShape, chunk: int, start: int, stop: int) -> dict[str, object]:
    return {
        "chunk_id": f"{chunk:04d}",
        "chunk_size": stop - start,
        "original_video": {
            "resolution": [shape.height, shape.width],
            "video_id": shape.video_id,
            "source": "benchmark",
            "url": "",
            "start_time": start / shape.fps,
            "end_time": stop / shape.fps,
            "duration": (stop - start) / shape.fps,
            "start_frame": start,
            "end_frame": stop,
        },
        "game": "texture",
        "controller_type": "xboxone",
        "bbox_controller_overlay": [10, 10, 160, 100],
    }


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
