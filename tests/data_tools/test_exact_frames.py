from pathlib import Path

import pytest
from numbered_videos import CODECS, COMBINATIONS, read_number, write_numbered
from tiers import divide

from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.schema import ShardError

# Each codec and each container once or more; all of them in `full`.
COVER = [
    ("h264", "ts"),
    ("h264-open", "mp4"),
    ("h264-refresh", "mkv"),
    ("hevc", "flv"),
    ("hevc-open", "mp4"),
    ("hevc-open", "ts"),
    ("vp9", "webm"),
    ("av1", "mp4"),
    ("av1", "mkv"),
    ("mpeg4", "ts"),
]


def numbers(video: SourceVideo, start: int, stop: int) -> list[int]:
    return [read_number(frame) for frame in video.cut(start, stop).read()]


def check_every_start(path: Path) -> None:
    video = read_video_table(path)
    assert len(video) == 40
    assert numbers(video, 0, 40) == list(range(40))
    for start in range(40):
        stop = min(40, start + 3)
        assert numbers(video, start, stop) == list(range(start, stop)), start


@pytest.mark.parametrize(("codec", "container"), [("av1", "mkv"), ("hevc-open", "mp4")])
def test_a_stretch_begins_between_two_key_frames(
    tmp_path: Path, codec: str, container: str
) -> None:
    video = read_video_table(write_numbered(tmp_path / f"v.{container}", codec))

    for start in (0, 7, 11, 12, 13, 30, 39):
        assert numbers(video, start, min(40, start + 9)) == list(range(start, min(40, start + 9)))


@pytest.mark.parametrize(("codec", "container"), divide(COVER, slow=COVER[::4]))
def test_a_stretch_has_its_frames_wherever_it_begins(
    tmp_path: Path, codec: str, container: str
) -> None:
    check_every_start(write_numbered(tmp_path / f"v.{container}", codec))


@pytest.mark.full
@pytest.mark.parametrize(("codec", "container"), COMBINATIONS)
def test_a_stretch_has_its_frames_wherever_it_begins_in_every_combination(
    tmp_path: Path, codec: str, container: str
) -> None:
    check_every_start(write_numbered(tmp_path / f"v.{container}", codec))


def test_every_codec_and_container_is_covered() -> None:
    assert {codec for codec, _ in COVER} == set(CODECS)
    assert {container for _, container in COVER} == {name for _, name in COMBINATIONS}


@pytest.mark.parametrize("codec", ["h264", "hevc-open"])
def test_a_transport_stream_may_begin_late_and_its_clock_may_wrap(
    tmp_path: Path, codec: str
) -> None:
    # Its clock has 33 bits at 90 kHz: it wraps within the 40 frames.
    start = 2**33 // 3000 - 20
    video = read_video_table(write_numbered(tmp_path / "v.ts", codec, start=start))

    assert len(video) == 40
    for first in (0, 15, 25, 38):
        assert numbers(video, first, first + 2) == [first, first + 1]


def test_two_recordings_behind_each_other_in_one_file_are_refused(tmp_path: Path) -> None:
    data = write_numbered(tmp_path / "v.ts", "h264").read_bytes()
    (tmp_path / "twice.ts").write_bytes(data + data)

    with pytest.raises(ShardError, match=r"twice\.ts: its times jump back.*-c copy"):
        read_video_table(tmp_path / "twice.ts")


def test_a_damaged_group_costs_its_own_frames_only(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", "h264")
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + (data.find(b"moov") - data.find(b"mdat")) * 3 // 8
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)
    video = read_video_table(path)

    assert numbers(video, 0, 12) == list(range(12))
    assert numbers(video, 24, 40) == list(range(24, 40))
    with pytest.raises(ShardError, match=r"v\.mp4 cannot be decoded: its frame at 0\.\d+ s"):
        numbers(video, 6, 30)
