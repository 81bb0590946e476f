"""Files that hold a section of a video are not read as the whole."""

from pathlib import Path
from typing import Any

import pytest
from label_maker import TarballMaker, write_video
from remuxed_videos import cut

from data_tools.__main__ import main
from data_tools.shards.drop_report import Dropped, read_report

WHOLE, CUT = "whole000000", "cut00000000"
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def ingest(
    folder: Path,
    *,
    num_frames: int,
    name: str = f"{CUT}.mp4",
    share: float = 1.0,
    **writing: Any,
) -> tuple[int, list[Dropped]]:
    """Ingest a whole video, and one of 200 labelled frames of which a file has fewer.

    Args:
        folder: Where all lies.
        num_frames: Of the file.
        name: Of the file.
        share: How much of the file's bytes are left.
        writing: How `write_video` writes it.

    Returns:
        The exit status, and what was dropped.
    """
    maker = TarballMaker()
    for video_id in (WHOLE, CUT):
        maker.piece(video_id, 0, 0, 60)
        maker.piece(video_id, 1, 140, 200)
    maker.write(folder / "labels.tar.gz")
    videos = folder / "videos"
    videos.mkdir()
    write_video(videos / f"{WHOLE}.mp4", 200, fps=30)
    path = write_video(videos / name, num_frames, fps=30, muxing=FRAGMENTS, **writing)
    cut(path, share)

    status = main(
        [
            "ingest", "nitrogen", str(folder / "labels.tar.gz"), "--videos", str(videos),
            "--out", str(folder / "set"), "--size", "128", "--workers", "1",
        ]
    )  # fmt: skip

    return status, read_report(folder / "set" / "report.json").dropped


def test_a_file_much_shorter_than_its_labels_is_a_fault_by_name(tmp_path: Path) -> None:
    # The first piece would fit into it, with pictures from elsewhere.
    status, (dropped,) = ingest(tmp_path, num_frames=70)

    assert status == 1
    assert (dropped.name, dropped.reason) == (CUT, "a section of the video")
    assert dropped.seconds == pytest.approx(4.0)
    assert "2 pieces: cut00000000.mp4 is 2.3 s long, its labels reach to 6.7 s" in dropped.detail


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_pieces_in_the_good_part_of_a_file_that_was_cut_off_are_kept(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, dropped = ingest(tmp_path, num_frames=200, name=f"{CUT}.{suffix}", share=0.6)

    assert status == 0
    names = {item.name: item.reason for item in dropped}
    assert names == {
        CUT: "the video is cut off",
        f"{CUT}_chunk_0001": "the video is too short",
    }
    assert f"{CUT}: kept in part: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("writing", "reason"),
    [
        ({"size": (180, 180)}, "the video has another shape of picture"),
        (
            {"ticks_ms": [5000 + frame * 100 // 3 for frame in range(200)]},
            "the video does not begin at its beginning",
        ),
    ],
)
def test_a_video_that_is_of_no_use_as_a_whole_is_a_fault(
    tmp_path: Path, writing: dict[str, Any], reason: str
) -> None:
    status, dropped = ingest(tmp_path, num_frames=200, name=f"{CUT}.mkv", **writing)

    assert status == 1
    assert [(item.reason, item.is_fault) for item in dropped] == [(reason, True)] * 2


def test_a_file_named_as_a_section_is_not_the_video(tmp_path: Path) -> None:
    status, (dropped,) = ingest(tmp_path, num_frames=200, name=f"{CUT} [s30-60].mp4")

    assert status == 0
    assert (dropped.name, dropped.reason) == (CUT, "no video")


def test_a_file_that_lacks_a_moment_at_its_end_is_the_video(tmp_path: Path) -> None:
    status, (dropped,) = ingest(tmp_path, num_frames=190)

    assert status == 0
    assert (dropped.name, dropped.reason) == (f"{CUT}_chunk_0001", "the video is too short")
