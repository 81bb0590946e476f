"""Damage is a `DecodeError` of one line: never a crash, never a hang, never another error."""

import io
import multiprocessing
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from barcode_videos import draw_barcode, make_video, read_barcodes

from nitrogen_train.data.encode import encode_video
from nitrogen_train.data.video import DecodeError, DecordDecoder, PyAVDecoder, VideoDecoder


@pytest.fixture(params=[PyAVDecoder, DecordDecoder], ids=["pyav", "decord"])
def decoder(request: pytest.FixtureRequest) -> VideoDecoder:
    return request.param()


@pytest.fixture
def video() -> bytes:
    return make_video("group of 10")[0]


def damage(video: bytes, how: str) -> bytes:
    middle = len(video) // 2
    return {
        "empty": b"",
        "garbage": b"garbage" * 100,
        "cut in half": video[:middle],
        "without its last bytes": video[:-200],
        "with a hole": video[:middle] + bytes(2000) + video[middle + 2000 :],
        "with a hole in its table": video[:600] + bytes(400) + video[1000:],
        "of an unknown codec": video.replace(b"avc1\0\0\0", b"avcX\0\0\0"),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty", "garbage", "cut in half", "without its last bytes", "with a hole",
        "with a hole in its table", "of an unknown codec",
    ],
)  # fmt: skip
def test_a_damaged_video_is_an_error(decoder: VideoDecoder, video: bytes, how: str) -> None:
    with pytest.raises(DecodeError, match="video"):
        decoder.decode(damage(video, how))


@pytest.mark.parametrize("encoding", ["group of 10", "B-frames", "a late start"])
def test_a_video_cut_short_is_refused_even_for_frames_that_it_holds(
    decoder: VideoDecoder, encoding: str
) -> None:
    with pytest.raises(DecodeError, match=r"video is cut short|video has \d+ bytes|table lists 90"):
        decoder.decode(damage(make_video(encoding)[0], "without its last bytes"), indices=[0])


def test_damage_behind_a_stretch_does_not_reach_it(video: bytes) -> None:
    frames = PyAVDecoder().decode(damage(video, "with a hole"), indices=range(10))

    assert read_barcodes(frames) == list(range(10))


def test_a_table_of_more_frames_than_bytes_is_refused(decoder: VideoDecoder, video: bytes) -> None:
    bomb = bytearray(video)
    for box, values in {b"stsz": (0, 1, 10**6), b"stsc": (0, 1, 1, 10**6, 1)}.items():
        struct.pack_into(f">{len(values)}I", bomb, video.find(box) + 4, *values)
    struct.pack_into(">I", bomb, video.find(b"stts") + 12, 10**6)

    with pytest.raises(DecodeError, match=r"table lists 1000000 frames in \d+ bytes"):
        decoder.decode(bytes(bomb), indices=[0])


def test_a_list_of_files_is_not_followed(
    decoder: VideoDecoder, video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.mp4").write_bytes(video)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DecodeError, match="PyAV cannot decode the video"):
        decoder.decode(b"ffconcat version 1.0\nfile secret.mp4\n")


def test_a_header_without_a_size_reaches_to_the_end() -> None:
    video, _ = make_video("B-frames, index at the end")
    header = video.rfind(b"moov")
    open_ended = video[: header - 4] + bytes(4) + video[header:]

    assert read_barcodes(PyAVDecoder().decode(open_ended, indices=[70, 3])) == [70, 3]


def spoil(video: bytes, *, count: int) -> Iterator[bytes]:
    """Cut a video short, and overwrite parts of its table and of its pictures."""
    rng = random.Random(0)
    table = video.find(b"moov")
    table_size = int.from_bytes(video[table - 4 : table])
    for _ in range(count):
        yield video[: rng.randrange(len(video))]
        yield video[: -rng.randrange(1, 3000)]
        for start, size in ((table, table_size), (0, len(video))):
            spoiled = bytearray(video)
            for position in rng.choices(range(start, start + size - 40), k=3):
                spoiled[position : position + 8] = rng.randbytes(rng.choice((1, 8)))
            yield bytes(spoiled)


DECODE_SPOILED = """
import sys
from pathlib import Path
from nitrogen_train.data.video import choose_decoder
from nitrogen_train.data.video import DecodeError
from nitrogen_train.data.encode import encode_video

decoder = choose_decoder(sys.argv[1])
outcomes = []
for path in sorted(Path(sys.argv[2]).iterdir()):
    for indices in ([3], range(5, 15), None):
        try:
            decoder.decode(path.read_bytes(), indices=indices)
            outcomes.append("decoded")
        except DecodeError as error:
            outcomes.append("refused")
            assert str(error) and "\\n" not in str(error), repr(error)
print(outcomes.count("refused"), "of", len(outcomes))
"""


@pytest.mark.parametrize("name", ["pyav", "decord"])
def test_no_damage_ends_the_process(name: str, tmp_path: Path) -> None:
    # Noise, for decord crashes on large frames that a cut took away.
    frames = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), np.uint8)
    video = encode_video(frames, fps=30.0, width=256, height=256)
    for index, spoiled in enumerate(spoil(video, count=8)):
        (tmp_path / f"{index:03}.mp4").write_bytes(spoiled)

    # A process of its own, to crash in.
    script = [sys.executable, "-c", DECODE_SPOILED, name, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr[-500:]
    num_refused, _, num_all = done.stdout.split()
    assert int(num_all) == 96
    # All that are cut short, at the least.
    assert int(num_refused) >= 48


def decode_in_child(decoder: VideoDecoder, video: bytes) -> None:
    sys.exit(read_barcodes(decoder.decode(video, indices=[70, 3])) != [70, 3])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_workers_decode_after_their_parent_did(decoder: VideoDecoder, video: bytes) -> None:
    decoder.decode(video, indices=[5])
    with pytest.raises(DecodeError):
        decoder.decode(damage(video, "with a hole"))
    workers = [
        multiprocessing.get_context("fork").Process(target=decode_in_child, args=(decoder, video))
        for _ in range(2)
    ]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=600)
        worker.kill()

    # decord would hang in the first, had it kept a reader from before.
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_damaged_video_leaves_nothing_behind_for_the_next() -> None:
    # As we encode, without CABAC: of a picture cut in the middle, a decoder keeps what no flush
    # removes.
    good = encode_video(map(draw_barcode, range(90)), fps=30.0, width=128, height=64)
    with av.open(io.BytesIO(good)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, stop = packets[44].pos or 0, (packets[44].pos or 0) + packets[44].size
    middle = (start + stop) // 2
    damaged = good[:middle] + bytes(stop - middle) + good[stop:]
    expected = PyAVDecoder().decode(good, indices=range(10))

    with pytest.raises(DecodeError):
        PyAVDecoder().decode(damaged, indices=[44])

    np.testing.assert_array_equal(PyAVDecoder().decode(good, indices=range(10)), expected)
