import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from numbered_videos import read_number, write_numbered
from remuxed_videos import cut, remux
from tiers import divide

from data_tools.__main__ import main
from data_tools.shards.report import read_report
from data_tools.shards.source_video import SourceVideo, read_video_table
from nitrogen_train.data.manifest import read_manifest
from nitrogen_train.data.schema import ShardError

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def check_good_part(video: SourceVideo) -> None:
    assert video.loss is not None
    assert f"its first {len(video)} frames" in video.loss.words
    numbers = [read_number(frame) for frame in video.read()]
    assert numbers == list(range(len(video)))


@pytest.mark.parametrize("codec", ["h264", "hevc-open"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.flv"])
def test_the_good_part_of_a_file_that_is_cut_off_is_kept(
    tmp_path: Path, name: str, codec: str
) -> None:
    muxing = FRAGMENTS if name == "v.mp4" else {}
    path = write_numbered(tmp_path / name, codec, muxing=muxing)
    assert read_video_table(path).loss is None

    video = read_video_table(cut(path, 0.72))

    check_good_part(video)
    assert 20 <= len(video) < 40


@pytest.mark.parametrize(
    "codec", divide(["h264", "h264-open", "hevc", "hevc-open", "mpeg4"], slow=["h264-open"])
)
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_no_frame_of_a_cut_file_is_another_one(tmp_path: Path, name: str, codec: str) -> None:
    muxing = FRAGMENTS if name == "v.mp4" else {}
    data = write_numbered(tmp_path / name, codec, muxing=muxing).read_bytes()
    for percent in range(50, 98, 3):
        (tmp_path / name).write_bytes(data[: len(data) * percent // 100])
        video = read_video_table(tmp_path / name)
        # Cut between two packets a file looks whole; frames may be missing then, as times say.
        shown = (video.ticks - video.ticks[0]) * float(video.time_base) * 30
        assert [read_number(frame) for frame in video.read()] == shown.round().tolist()


class Pipe(BytesIO):
    """What cannot be sought in, as a muxer's target."""

    def seekable(self) -> bool:
        return False


def pipe(source: Path, target: Path, *, live: bool = False) -> Path:
    written = Pipe()
    # Live, clusters do not say either how long they are.
    remux(source, written, options={"live": "1"} if live else {})
    target.write_bytes(written.getvalue())
    return target


def test_a_trimmed_mp4_has_lost_nothing(tmp_path: Path) -> None:
    # As ffmpeg -ss -c copy: an edit list hides what comes before the first frame that is wanted.
    remux(write_numbered(tmp_path / "whole.mp4", "h264"), tmp_path / "v.mp4", shift_s=5 / 30)

    video = read_video_table(tmp_path / "v.mp4")

    assert video.loss is None
    assert [read_number(frame) for frame in video.read()] == list(range(5, 40))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_a_whole_mkv_from_a_pipe_has_lost_nothing(tmp_path: Path, codec: str, live: bool) -> None:
    path = pipe(write_numbered(tmp_path / "v.mp4", codec), tmp_path / "v.mkv", live=live)
    assert b"\x18\x53\x80\x67\x01" + b"\xff" * 7 in path.read_bytes()[:100]

    video = read_video_table(path)

    assert video.loss is None
    assert [read_number(frame) for frame in video.read()] == list(range(40))


@pytest.mark.parametrize("live", [False, True])
def test_the_good_part_of_an_mkv_from_a_pipe_is_kept(tmp_path: Path, live: bool) -> None:
    path = pipe(write_numbered(tmp_path / "v.mp4", "h264"), tmp_path / "v.mkv", live=live)

    video = read_video_table(cut(path, 0.72))

    check_good_part(video)
    assert video.is_cut_off
    assert 20 <= len(video) < 40


def test_a_gap_near_the_end_of_an_mkv_from_a_pipe_is_no_loss(tmp_path: Path) -> None:
    ticks = [number + 3 * (number >= 25) for number in range(40)]
    path = pipe(write_numbered(tmp_path / "v.mp4", "h264", ticks=ticks), tmp_path / "v.mkv")

    video = read_video_table(path)

    assert video.loss is None
    assert len(video) == 40


def test_an_uneven_step_before_the_end_of_a_cut_video_is_no_hole(tmp_path: Path) -> None:
    # Without frames that are stored ahead, none can be lost between two that are there.
    ticks = [number + 3 * (number >= 20) for number in range(40)]
    path = write_numbered(tmp_path / "v.mkv", "h264-refresh", ticks=ticks)

    video = read_video_table(cut(path, 0.8))

    assert video.is_cut_off
    assert 25 <= len(video) < 40
    assert [read_number(frame) for frame in video.read()] == list(range(len(video)))


def test_an_mp4_cut_within_the_index_of_a_fragment_is_read_up_to_there(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", "h264", muxing=FRAGMENTS)
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"moof") + 20])

    video = read_video_table(path)

    check_good_part(video)
    assert len(video) == 36


def test_an_mp4_without_its_index_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = cut(write_numbered(tmp_path / "v.mp4", "h264"), 0.7)

    with pytest.raises(ShardError, match=r"v\.mp4 is an mp4 without its index \(moov\).*untrunc"):
        read_video_table(path)


def write_inputs(folder: Path, name: str, *, seconds: float) -> None:
    rows = [{"t_ns": 0, "controls": {"SOUTH": True}}]
    rows.append({"t_ns": round(seconds * 1e9), "controls": {}})
    (folder / f"{name}.inputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"schema_version": 1, "video_start_ns": 0, "game": "toy", "session_id": name}
    (folder / f"{name}.json").write_text(json.dumps({**facts, "stick_y_axis": "down"}))


def shard(folder: Path, out: Path) -> int:
    words = ["shard", str(folder), "--out", str(out), "--heldout-share", "0"]
    return main([*words, "--clip-seconds", "0.4", "--size", "64", "--workers", "1"])


def test_shard_keeps_the_good_part_and_reports_the_loss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_inputs(folder, "crash", seconds=40 / 30)
    cut(write_numbered(folder / "crash.mp4", "h264", muxing=FRAGMENTS), 0.72)
    number = len(read_video_table(folder / "crash.mp4"))

    assert shard(folder, tmp_path / "set") == 0

    assert sum(read_manifest(tmp_path / "set").table["num_frames"].to_pylist()) == number
    (lost,) = read_report(tmp_path / "set" / "report.json").dropped
    assert (lost.name, lost.reason) == ("crash", "the video is cut off")
    assert f"its first {number} frames ({number / 30:.2f} s) are whole" in lost.detail
    assert f"crash: kept in part: {lost.detail}" in capsys.readouterr().out


def test_shard_keeps_the_clips_around_damage_and_names_those_in_it(
    tmp_path: Path, write_recording: Callable
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_inputs(folder, "hit", seconds=40 / 30)
    path = write_numbered(folder / "hit.mp4", "h264")
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + (data.find(b"moov") - data.find(b"mdat")) * 3 // 8
    data[middle : middle + 60] = b"\xff" * 60
    path.write_bytes(data)

    assert shard(folder, tmp_path / "set") == 1

    kept = read_manifest(tmp_path / "set").table["clip_id"].to_pylist()
    dropped = read_report(tmp_path / "set" / "report.json").dropped
    assert kept
    assert {item.reason for item in dropped} == {"the video is damaged"}
    names = [*kept, *(item.name for item in dropped)]
    assert sorted(names) == [f"hit-{index:04d}" for index in range(4)]


def test_a_few_bytes_behind_an_mp4_are_no_loss(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", "h264")
    path.write_bytes(path.read_bytes() + b"\r\n\0")

    assert read_video_table(path).loss is None
