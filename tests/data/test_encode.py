import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import UInt8

from nitrogen_train.data.encode import VideoWriter, encode_video, frame_rate


def moving_frames(count: int) -> UInt8[np.ndarray, "f h w 3"]:
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return np.stack([np.roll(picture, index, axis=1) for index in range(count)])


def test_a_video_is_constant_rate_h264_with_short_groups_and_its_index_in_front() -> None:
    video = encode_video(moving_frames(40), fps=17.5, width=64, height=48)

    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(35, 2)
        assert not stream.codec_context.has_b_frames
    # pts of an mp4 are in ticks; equal steps in decoding order mean constant rate, no B-frames.
    assert len(set(np.diff([packet.pts for packet in packets]))) == 1
    assert np.diff([i for i, p in enumerate(packets) if p.is_keyframe]).tolist() == [9] * 4
    assert video.find(b"moov") < video.find(b"mdat")


def test_the_same_frames_give_the_same_bytes() -> None:
    first, second = (encode_video(moving_frames(20), fps=30.0, width=64, height=48) for _ in "12")

    assert first == second


def write_and_crash(path: Path) -> None:
    with VideoWriter(path, fps=30.0, width=64, height=48) as video:
        video.write(moving_frames(1)[0])
        raise RuntimeError("game crashed")


def test_a_failed_video_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"former")

    with pytest.raises(RuntimeError, match="game crashed"):
        write_and_crash(path)

    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "video.mp4", fps=30.0, width=64, height=48) as video:
        video.write(moving_frames(1)[0])
        with pytest.raises(ValueError, match=r"frame 1 has shape \(32, 64, 3\), the video expects"):
            video.write(moving_frames(1)[0][:32])


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="without frames"):
        encode_video([], fps=30.0, width=64, height=48)


def test_odd_sides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sides must be even, got 63x48"):
        VideoWriter(tmp_path / "video.mp4", fps=30.0, width=63, height=48)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (30.0, Fraction(30)),
        (35 / 3, Fraction(35, 3)),
        (30000 / 1001, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.9, Fraction(599, 10)),
        (59.95, Fraction(1199, 20)),
    ],
)
def test_a_rate_is_exact(fps: float, rate: Fraction) -> None:
    assert frame_rate(fps) == rate
