import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.data_tools.__main__ import Comparison, compare, format_comparisons, main
from benchmarks.data_tools.labels import measure_labels, simulate_index
from benchmarks.data_tools.measure import Cost, find_ffmpeg, run_data_tools
from benchmarks.data_tools.textured_video import VideoShape, write_labels, write_video
from data_tools.ingest.nitrogen.label_index import index_tarball, measure_hours, query_index
from data_tools.shards.source_video import read_video_table

SHAPE = VideoShape(width=160, height=96, fps=10, seconds=25)


def test_a_video_repeats_its_first_seconds_and_has_labels_for_all(tmp_path: Path) -> None:
    video = read_video_table(write_video(SHAPE, tmp_path))
    write_labels(SHAPE, tmp_path / "SHARD_0000.tar.gz")

    index = index_tarball(tmp_path / "SHARD_0000.tar.gz", index_dir=tmp_path / "index")

    assert len(video) == 250
    assert len(list(video.cut(240, 250).read())) == 10
    rows = index.read_table().to_pylist()
    assert [(row["start_frame"], row["end_frame"]) for row in rows] == [(0, 200), (200, 250)]
    assert index.faults == []


def test_a_made_up_index_can_be_asked(tmp_path: Path) -> None:
    simulate_index(tmp_path / "index", num_rows=3_000)

    hours = measure_hours(query_index(tmp_path / "index", where="fps == 60"))

    assert sum(line.num_pieces for line in hours) == pytest.approx(1500, abs=100)


def test_without_ffmpeg_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["benchmark"])

    assert main() == 2

    assert "apt-get install ffmpeg" in capsys.readouterr().err


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no index of labels"):
        run_data_tools("labels", "query", "nowhere")


def test_throughput_is_compared_round_by_round() -> None:
    def costs(*cpu_s: float) -> list[Cost]:
        return [Cost(wall_s=9.0, cpu_s=each, peak_bytes=2**20) for each in cpu_s]

    comparison = Comparison(
        video="720p30-60s", num_frames=1800, source_bytes=1_843_200, stored_bytes=921_600,
        ingest=costs(12.0, 10.0, 20.0), ffmpeg=costs(9.0, 9.0, 16.0),
    )  # fmt: skip

    assert comparison.ratio == 0.8
    line = format_comparisons([comparison]).splitlines()[1].split()
    assert line == ["720p30-60s", "1800", "200", "150", "0.80", "1", "1.0", "0.50"]


@pytest.mark.full
def test_labels_are_measured(tmp_path: Path) -> None:
    cost = measure_labels(tmp_path, num_pieces=2, num_simulated=1_000)

    assert cost.index_bytes > 0
    assert set(cost.query_wall_s) == {"all hours", "some games"}


@pytest.mark.full
def test_a_video_is_measured_both_ways(tmp_path: Path) -> None:
    try:
        find_ffmpeg()
    except FileNotFoundError:
        pytest.skip("there is no ffmpeg command")

    comparison = compare(SHAPE, tmp_path, rounds=1)

    assert comparison.ratio > 0
    assert comparison.stored_bytes > 0


@pytest.mark.full
def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path) -> None:
    peaks = []
    for seconds in (40, 400):
        shape = VideoShape(width=320, height=176, fps=30, seconds=seconds)
        video = write_video(shape, tmp_path)
        write_labels(shape, tmp_path / "SHARD_0000.tar.gz")
        command = [
            sys.executable, "-c", MEASURED, "ingest", "nitrogen",
            str(tmp_path / "SHARD_0000.tar.gz"), "--videos", str(video.parent),
            "--out", str(tmp_path / f"set-{seconds}"), "--workers", "1", "--size", "64",
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(result.stdout.split()[-1]))

    # In KiB: a decoded frame of the longer one takes 80, and it has 10,800 more of them.
    assert peaks[1] - peaks[0] < 40_000


MEASURED = (
    "import resource, sys\n"
    "from data_tools.__main__ import main\n"
    "status = main(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    "sys.exit(status)\n"
)
