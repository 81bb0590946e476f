import importlib.util
import io
import random
import struct
import sys

import av
import numpy as np
import pytest
from barcode_videos import ENCODINGS, NUM_FRAMES, draw_barcode, make_video, read_barcodes

from nitrogen_train.data.video import (
    DecodeError,
    DecordDecoder,
    PyAVDecoder,
    TorchcodecDecoder,
    UnsupportedVideoError,
    VideoDecoder,
    _list_packets,
    choose_decoder,
)

NEEDS_TORCHCODEC = pytest.mark.skipif(
    importlib.util.find_spec("torchcodec") is None, reason="torchcodec is not installed"
)
BACKENDS = [
    pytest.param(PyAVDecoder, id="pyav"),
    pytest.param(DecordDecoder, id="decord"),
    pytest.param(TorchcodecDecoder, id="torchcodec", marks=NEEDS_TORCHCODEC),
]
REFUSED: dict[type, set[str]] = {
    PyAVDecoder: set(),
    TorchcodecDecoder: {"intra refresh", "transport stream"},
    DecordDecoder: {
        "open groups", "intra refresh", "odd sides, VP9", "AV1", "HEVC", "transport stream", "mkv",
        "mkv, variable rate, B-frames", "mkv, AV1", "first 7 frames cut by an edit list",
    },
}  # fmt: skip


@pytest.fixture(params=BACKENDS)
def decoder(request: pytest.FixtureRequest) -> VideoDecoder:
    return request.param()


def tag_colours(video: bytes, colours: int, color_range: int) -> bytes:
    """Copy a video with colours that its container names and its frames do not."""
    file = io.BytesIO()
    with av.open(io.BytesIO(video)) as given, av.open(file, "w", format="mp4") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, name, colours)
        stream.codec_context.color_range = color_range
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


def choose_indices(num_frames: int) -> list[list[int]]:
    """Stretches, strides, repetitions, backwards, and random ones."""
    rng = random.Random(0)
    last = num_frames - 1
    return [
        [0], [last], list(range(20, 50)), list(range(0, num_frames, 7)), list(range(last, -1, -1)),
        [5, 5, 3, 3, 60, 5], *([rng.randrange(num_frames)] for _ in range(3)),
        *(rng.choices(range(num_frames), k=8) for _ in range(3)),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_frames_are_exact_or_the_video_is_refused(decoder: VideoDecoder, encoding: str) -> None:
    video, num_hidden = make_video(encoding)
    was_refused = False

    for indices in choose_indices(NUM_FRAMES - num_hidden):
        try:
            frames = decoder.decode(video, indices=indices)
        except UnsupportedVideoError:
            was_refused = True
        else:
            assert read_barcodes(frames) == [index + num_hidden for index in indices]

    assert was_refused == (encoding in REFUSED[type(decoder)])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_frames_come_in_order_from_every_encoding(encoding: str) -> None:
    video, num_hidden = make_video(encoding)
    width, height = ENCODINGS[encoding].get("size", (128, 64))

    frames = choose_decoder().decode(video)

    assert frames.shape == (NUM_FRAMES - num_hidden, height, width, 3)
    assert read_barcodes(frames) == list(range(num_hidden, NUM_FRAMES))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_video_that_is_kept_open_gives_what_a_demuxer_gives(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, num_hidden = make_video(encoding)
    kept = PyAVDecoder().open(video)
    every = choose_indices(NUM_FRAMES - num_hidden)

    frames = [kept.decode(indices) for indices in every]

    monkeypatch.setattr("nitrogen_train.data.video._list_packets", lambda _: None)
    for indices, got in zip(every, frames, strict=True):
        expected = PyAVDecoder().decode(video, indices=indices)
        if encoding == "intra refresh":
            # The first pictures after a refresh build on what was in memory, for all FFmpeg knows.
            assert read_barcodes(got) == read_barcodes(expected)
        else:
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("colours", [1, 5, 9])
@pytest.mark.parametrize("color_range", [1, 2])
def test_colours_that_the_header_alone_names_are_heeded(
    colours: int, color_range: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tag_colours(make_video("all key frames")[0], colours, color_range)
    untagged = PyAVDecoder().decode(make_video("all key frames")[0], indices=[30])

    frames = PyAVDecoder().decode(video, indices=[30])

    monkeypatch.setattr("nitrogen_train.data.video._list_packets", lambda _: None)
    np.testing.assert_array_equal(frames, PyAVDecoder().decode(video, indices=[30]))
    assert color_range == 1 or (frames != untagged).any()


def test_a_video_of_two_descriptions_is_left_to_the_demuxer() -> None:
    video, _ = make_video("all key frames")
    assert _list_packets(video) is not None

    place = video.index(b"stsd") + 8
    twice = video[: place + 3] + b"\2" + video[place + 4 :]

    assert _list_packets(twice) is None


@pytest.mark.parametrize("size", [(64, 64), (0, 0), (128, 0), (1280, 720)])
def test_a_size_that_the_header_alone_claims_is_not_believed(size: tuple[int, int]) -> None:
    video, _ = make_video("group of 10")
    place = video.index(b"avc1", video.index(b"stsd")) + 28
    claimed = video[:place] + struct.pack(">HH", *size) + video[place + 4 :]

    frames = PyAVDecoder().decode(claimed, indices=[0, 25])

    np.testing.assert_array_equal(frames, PyAVDecoder().decode(video, indices=[0, 25]))


def test_frames_are_decoded_into_memory_that_is_given(decoder: VideoDecoder) -> None:
    video, _ = make_video("all key frames")
    expected = decoder.decode(video, indices=[3, 4, 9])
    memory = np.zeros_like(expected)

    frames = decoder.open(video).decode([3, 4, 9], out=memory)

    np.testing.assert_array_equal(frames, expected)
    assert frames is memory or not memory.any()


@pytest.mark.parametrize("indices", [[4, 3, 9], [3, 3, 4], [3, 4, 9]])
def test_memory_that_does_not_fit_is_left_alone(indices: list[int]) -> None:
    video, _ = make_video("all key frames")
    expected = PyAVDecoder().decode(video, indices=indices)
    memory = np.zeros((4, *expected.shape[1:]), np.uint8)

    np.testing.assert_array_equal(PyAVDecoder().open(video).decode(indices, out=memory), expected)
    assert not memory.any()


def test_a_refusal_says_why_in_one_line() -> None:
    video, _ = make_video("mkv")

    with pytest.raises(UnsupportedVideoError, match="decord is exact for h264 in mp4") as raised:
        choose_decoder("decord").decode(video)

    assert "\n" not in str(raised.value)


def test_a_library_that_does_not_load_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(UnsupportedVideoError, match="torchcodec does not load here"):
        TorchcodecDecoder().decode(make_video("group of 10")[0])


def test_all_backends_give_the_same_pictures(decoder: VideoDecoder) -> None:
    video, _ = make_video("group of 10")

    frames = decoder.decode(video)

    assert np.abs(frames.astype(int) - PyAVDecoder().decode(video)).max() <= 2
    # Mean error of what was put in, in levels of 255; the noise has hard, coloured edges.
    originals = np.stack([draw_barcode(index) for index in range(NUM_FRAMES)])
    assert np.abs(frames.astype(int) - originals).mean() < 12


@pytest.mark.parametrize("indices", [[NUM_FRAMES], [-1], []], ids=str)
def test_a_frame_that_does_not_exist_is_refused(decoder: VideoDecoder, indices: list[int]) -> None:
    with pytest.raises(DecodeError, match=r"video has 90 frames|0 frames"):
        decoder.decode(make_video("group of 10")[0], indices=indices)


def test_a_video_that_would_fill_memory_is_refused(
    decoder: VideoDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nitrogen_train.data.video.MAX_DECODED_BYTES", 100_000)

    with pytest.raises(DecodeError, match="90 frames of 128x64 are 2211840 bytes"):
        decoder.decode(make_video("group of 10")[0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("auto", PyAVDecoder), ("pyav", PyAVDecoder), ("decord", DecordDecoder)],
)
def test_a_backend_is_chosen_by_name(name: str, kind: type) -> None:
    assert type(choose_decoder(name)) is kind


def test_an_unknown_or_missing_decoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown decoder 'ffmpeg'; use auto, pyav, torchcodec, d"):
        choose_decoder("ffmpeg")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="decord is not installed here; pip install decord"):
        choose_decoder("decord")
