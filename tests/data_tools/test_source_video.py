from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_tools.shards.source_video import read_video_table
from nitrogen_train.data.schema import ShardError


def write_video(path: Path, ticks: list[int], *, fps: int = 10, b_frames: int = 0) -> Path:
    """Write grey frames of brightness 2 t at these times, in 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"bf": str(b_frames), "g": "20"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, tick in enumerate(ticks):
            picture = np.full((64, 64, 3), 2 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shades(video: Path, start: int, stop: int) -> list[int]:
    frames = read_video_table(video).cut(start, stop).read()
    return [round(float(frame.to_ndarray(format="rgb24").mean()) / 2) for frame in frames]


def test_a_videos_table_is_read(tmp_path: Path, write_recording: Callable) -> None:
    video = read_video_table(write_recording(tmp_path, fps=35 / 3) / "run-0.mp4")

    assert (len(video), video.width, video.height) == (60, 64, 48)
    assert video.fps == 35 / 3
    edges = video.edges_ns(1000)
    assert edges[0] == 1000
    assert edges[-1] == 1000 + round(60 * 3e9 / 35)


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_stretch_is_exactly_its_frames(tmp_path: Path, suffix: str, b_frames: int) -> None:
    ticks = [100 * index for index in range(60)]
    path = write_video(tmp_path / f"video.{suffix}", ticks, b_frames=b_frames)

    assert len(read_video_table(path)) == 60
    assert shades(path, 0, 60) == pytest.approx(range(60), abs=1)
    assert shades(path, 33, 47) == pytest.approx(range(33, 47), abs=1)
    assert shades(path, 59, 60) == pytest.approx([59], abs=1)


def test_a_gap_in_the_frame_rate_is_refused(tmp_path: Path) -> None:
    ticks = [100 * index + (700 if index >= 30 else 0) for index in range(60)]

    with pytest.raises(ShardError, match=r"no constant frame rate.*re-encode"):
        read_video_table(write_video(tmp_path / "video.mp4", ticks)).check_constant_rate()


def test_times_rounded_to_milliseconds_are_constant_enough(tmp_path: Path) -> None:
    ticks = [round(1000 * index / 60) for index in range(60)]

    video = read_video_table(write_video(tmp_path / "video.mkv", ticks, fps=60))

    video.check_constant_rate()
    assert len(video) == 60


@pytest.mark.parametrize("damage", ["garbage", "no table", "sound only"])
def test_what_is_not_a_video_is_named(
    tmp_path: Path, write_recording: Callable, damage: str
) -> None:
    path = write_recording(tmp_path) / "run-0.mp4"
    if damage == "garbage":
        path.write_bytes(b"garbage" * 100)
    elif damage == "no table":
        path.write_bytes(path.read_bytes()[:100])
    else:
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=44100)
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.rate = 44100
            container.mux(sound.encode(silence))
            container.mux(sound.encode(None))

    with pytest.raises(ShardError, match=r"run-0\.mp4 "):
        read_video_table(path)


def test_a_damaged_stretch_is_named(tmp_path: Path, write_recording: Callable) -> None:
    path = write_recording(tmp_path, num_frames=100) / "run-0.mp4"
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + 1500
    data[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(data)

    with pytest.raises(ShardError, match=r"run-0\.mp4"):
        list(read_video_table(path).read())
