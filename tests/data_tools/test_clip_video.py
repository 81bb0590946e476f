from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_tools.shards.shard_writer import encode_stretch
from data_tools.shards.source_video import read_video_table
from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.schema import Box, ShardError
from nitrogen_train.data.video import PyAVDecoder
from nitrogen_train.picture import squash

NO_BOXES: tuple[Box, ...] = ()


def draw_scene(width: int, height: int, *, offset: int = 0) -> np.ndarray:
    """Draw what a game may show: shades, edges and strong colours."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 150, height))
    image = Image.fromarray(np.stack([x, y, 200 - x], axis=-1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for number in range(12):
        left, top = (number * width // 12 + offset) % width, number * height // 15
        colour = [(220, 40, 30), (30, 200, 60), (250, 240, 90), (20, 20, 20)][number % 4]
        draw.ellipse([left, top, left + width // 9, top + height // 7], fill=colour)
    return np.array(image)


def write_video(
    path: Path, frames: list[np.ndarray], *, matrix: int = 2, pix_fmt: str = "yuv444p"
) -> Path:
    """Write frames at the highest quality; `matrix` is FFmpeg's number: 1 BT.709, 2 unknown."""
    height, width, _ = frames[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.colorspace = matrix
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=1 if matrix == 1 else 5
            )
            picture.colorspace = matrix
            picture.pts, picture.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def encode(
    path: Path, *, size: int, boxes: tuple[Box, ...] = NO_BOXES, area: Box | None = None
) -> np.ndarray:
    video = read_video_table(path)
    data = encode_stretch(video, fps=video.fps, size=size, masked_boxes=boxes, area=area)
    return PyAVDecoder().decode(data).astype(int)


@pytest.mark.parametrize("matrix", [1, 2], ids=["bt709", "no matrix"])
@pytest.mark.parametrize(
    ("width", "height", "size"), [(640, 360, 128), (1280, 720, 256), (64, 48, 96), (96, 96, 96)]
)
def test_a_stored_picture_is_what_squash_shows_at_play(
    tmp_path: Path, width: int, height: int, size: int, matrix: int
) -> None:
    scene = draw_scene(width, height)

    (stored,) = encode(write_video(tmp_path / "scene.mp4", [scene], matrix=matrix), size=size)

    shown = squash(scene, size)
    error = np.abs(stored - shown)
    # What the codec costs whatever came before it; most of it is colour shared by four pixels.
    data = encode_video([shown], fps=30.0, width=size, height=size)
    floor = np.abs(PyAVDecoder().decode(data)[0].astype(int) - shown)
    assert error.mean() < floor.mean() + 1
    # A wrong matrix or range shifts whole surfaces, by 10 and more.
    assert np.median(error) <= 2


def test_boxes_are_black_at_the_original_size_and_an_area_is_cut_to_the_pixel(
    tmp_path: Path,
) -> None:
    white = np.full((360, 640, 3), 255, np.uint8)
    path = write_video(tmp_path / "white.mp4", [white], pix_fmt="yuv420p")

    (masked,) = encode(path, size=256, boxes=((321, 41, 101, 77), (600, 300, 40, 60)))
    (cut,) = encode(path, size=256, boxes=((0, 0, 640, 120),), area=(100, 60, 200, 120))

    expected = white.copy()
    expected[41:118, 321:422] = expected[300:, 600:] = 0
    assert np.abs(masked - squash(expected, 256)).mean() < 1
    assert masked[35:80, 132:165].max() < 20
    assert (cut[:120].max(), cut[136:].min()) < (20, 235)
    assert cut[136:].min() > 235


def test_every_frame_is_the_one_that_was_asked_for_and_a_frame_may_come_twice(
    tmp_path: Path,
) -> None:
    greys = [np.full((64, 64, 3), 6 * shade, np.uint8) for shade in range(40)]
    video = read_video_table(write_video(tmp_path / "greys.mp4", greys))
    wanted = [7, 8, 8, 11, 12, 30]
    stretch = replace(video, ticks=video.ticks[wanted])

    data = encode_stretch(stretch, fps=30.0, size=64, masked_boxes=NO_BOXES, area=None)

    shades = PyAVDecoder().decode(data).mean(axis=(1, 2, 3)) / 6
    assert shades.round().astype(int).tolist() == wanted


def test_the_same_stretch_gives_the_same_bytes(tmp_path: Path) -> None:
    scenes = [draw_scene(320, 240, offset=5 * number) for number in range(20)]
    video = read_video_table(write_video(tmp_path / "scenes.mp4", scenes))

    first, second = (
        encode_stretch(video, fps=30.0, size=128, masked_boxes=NO_BOXES, area=None)
        for _ in range(2)
    )

    assert first == second


def test_a_picture_that_changes_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sizes.mkv"
    parts = [write_video(tmp_path / f"{s}.h264", [draw_scene(s, s)] * 5) for s in (64, 128)]
    raw = tmp_path / "both.h264"
    raw.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(raw)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size:
                packet.pts = packet.dts = index
                packet.time_base, packet.stream = Fraction(1, 30), stream
                container.mux(packet)

    with pytest.raises(ShardError, match="changes its picture from"):
        encode(path, size=64)
