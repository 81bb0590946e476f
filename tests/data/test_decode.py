import numpy as np
import pytest
from jaxtyping import UInt8

from nitrogen_train.data.decode import (
    DecodeError,
    DecordDecoder,
    PyAVDecoder,
    VideoDecoder,
    choose_decoder,
)
from nitrogen_train.data.encode import encode_video

NUM_FRAMES, SIDE, CELL = 90, 64, 8


def barcode(index: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture whose top cells are the bits of its index, over noise that moves."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)), np.ones((8, 8, 1)))
    picture = np.roll(picture, 3 * index, axis=1).astype(np.uint8)
    for bit in range(SIDE // CELL):
        picture[:CELL, bit * CELL : (bit + 1) * CELL] = 255 * (index >> bit & 1)
    return picture


def read_barcodes(frames: UInt8[np.ndarray, "f h w 3"]) -> list[int]:
    cells = frames[:, CELL // 2, CELL // 2 :: CELL].mean(axis=-1) > 128
    return (cells << np.arange(cells.shape[1])).sum(axis=1).tolist()


@pytest.fixture(scope="module")
def video() -> bytes:
    frames = (barcode(index) for index in range(NUM_FRAMES))
    return encode_video(frames, fps=17.5, width=SIDE, height=SIDE)


@pytest.fixture(params=[DecordDecoder, PyAVDecoder], ids=["decord", "pyav"])
def decoder(request: pytest.FixtureRequest) -> VideoDecoder:
    return request.param()


def test_all_frames_come_in_order(decoder: VideoDecoder, video: bytes) -> None:
    frames = decoder.decode(video)

    assert read_barcodes(frames) == list(range(NUM_FRAMES))
    # Mean error of what was put in, in levels of 255; the noise has hard, coloured edges.
    originals = np.stack([barcode(index) for index in range(NUM_FRAMES)])
    assert np.abs(frames.astype(int) - originals).mean() < 12


@pytest.mark.parametrize(
    "indices",
    [[0], [NUM_FRAMES - 1], [40, 41, 42], [70, 3, 3, 88, 0, 54, 9], list(range(0, NUM_FRAMES, 13))],
    ids=str,
)
def test_asked_frames_come_exactly(decoder: VideoDecoder, video: bytes, indices: list[int]) -> None:
    assert read_barcodes(decoder.decode(video, indices=indices)) == indices


def test_both_decoders_give_the_same_pictures(video: bytes) -> None:
    left, right = DecordDecoder().decode(video), PyAVDecoder().decode(video)

    assert np.abs(left.astype(int) - right.astype(int)).max() <= 2


@pytest.mark.parametrize("indices", [[NUM_FRAMES], [-1], []], ids=str)
def test_a_frame_that_does_not_exist_is_refused(
    decoder: VideoDecoder, video: bytes, indices: list[int]
) -> None:
    with pytest.raises(DecodeError, match=r"video has 90 frames|0 frames"):
        decoder.decode(video, indices=indices)


def damage(video: bytes, how: str) -> bytes:
    middle = len(video) // 2
    return {
        "empty": b"",
        "garbage": b"garbage" * 100,
        "cut in half": video[:middle],
        "without its last bytes": video[:-200],
        "with a hole": video[:middle] + bytes(2000) + video[middle + 2000 :],
        "with a hole in its table": video[:600] + bytes(400) + video[1000:],
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "garbage",
        "cut in half",
        "without its last bytes",
        "with a hole",
        "with a hole in its table",
    ],
)
def test_a_damaged_video_is_an_error(decoder: VideoDecoder, video: bytes, how: str) -> None:
    with pytest.raises(DecodeError, match="video"):
        decoder.decode(damage(video, how))


def test_a_video_that_would_fill_memory_is_refused(
    decoder: VideoDecoder, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nitrogen_train.data.decode.MAX_DECODED_BYTES", 100_000)

    with pytest.raises(DecodeError, match="90 frames of 64x64 are 1105920 bytes"):
        decoder.decode(video)


def test_decord_is_chosen_where_it_is_installed() -> None:
    assert isinstance(choose_decoder(), DecordDecoder)
    assert isinstance(choose_decoder("pyav"), PyAVDecoder)


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown decoder 'ffmpeg'; use auto, decord or pyav"):
        choose_decoder("ffmpeg")
