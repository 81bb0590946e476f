"""What reading an overlay takes from a video: frames of the part that is asked for, and levels."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from overlay_videos import draw_video

from data_tools.shards.source_video import read_video_table
from data_tools.watching.video_moments import iter_moments, read_moments

PQ = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}


def write_dark(path: Path, tags: dict[str, int]) -> Path:
    """Write a few frames of black and white with tags."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        for row in range(4):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p10le", dst_color_range=tags["color_range"]
            )
            for name, value in tags.items():
                setattr(frame, name, value)
                setattr(stream.codec_context, name, value)
            frame.pts, frame.time_base = row, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize("colours", [{}, PQ], ids=["sdr", "hdr"])
def test_the_range_that_is_told_is_that_of_the_levels(
    tmp_path: Path, colours: dict[str, int], color_range: int
) -> None:
    path = write_dark(tmp_path / "a.mkv", {"color_range": color_range, **colours})

    moment = read_moments(read_video_table(path))[0]

    black, white = (0, 255) if moment.is_full_range else (16, 235)
    assert moment.luma[8, 8] == pytest.approx(black, abs=2)
    assert moment.luma[8, 56] == pytest.approx(white, abs=2)


def test_moments_of_a_part_lie_in_it_wherever_its_key_frame_is(tmp_path: Path) -> None:
    video = read_video_table(draw_video(tmp_path / "a.mp4", None, [{}] * 60))
    frames = [frame.to_ndarray(format="gray") for frame in video.read()]

    moments = read_moments(video.cut(40, 60))

    near = [
        int(np.argmin([np.abs(frame.astype(int) - moment.luma).mean() for frame in frames]))
        for moment in moments
    ]
    assert near
    assert min(near) >= 40


@pytest.mark.parametrize("num_rows", [40, 600])
def test_moments_come_with_their_rows_from_all_over(num_rows: int, tmp_path: Path) -> None:
    video = read_video_table(draw_video(tmp_path / "a.mp4", None, [{}] * num_rows))
    frames = [frame.to_ndarray(format="gray") for frame in video.read()]

    moments = [(row, frame.to_ndarray(format="gray")) for row, frame in iter_moments(video, 24)]

    rows = [row for row, _ in moments]
    assert len(set(rows)) == len(rows) >= 12
    assert min(rows) < num_rows / 8
    assert max(rows) > num_rows / 2
    assert all(np.array_equal(frames[row], picture) for row, picture in moments)


def test_pictures_of_another_size_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=30)
        stream.width, stream.height = 64, 48
        for part, side in enumerate((64, 32)):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height, encoder.pix_fmt = side, 48, "yuv420p"
            encoder.time_base = Fraction(1, 30)
            picture = np.zeros((48, side, 3), np.uint8)
            frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for _ in range(3)]
            for row, frame in enumerate(frames):
                frame.pts = 3 * part + row
            for frame in [*frames, None]:
                for packet in encoder.encode(frame):
                    packet.stream, packet.time_base = stream, Fraction(1, 30)
                    container.mux(packet)

    moments = read_moments(read_video_table(path))

    assert {moment.luma.shape for moment in moments} == {(48, 64)}
