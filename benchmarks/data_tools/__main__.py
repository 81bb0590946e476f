"""`python -m benchmarks.data_tools`: labels and videos to a data set, against FFmpeg.

Both decode the same frames, average them to 256x256 and encode them with the same settings, in
turns, on one core. Frames are counted per second of processor time, which others on the machine
take less from than from time on the clock.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.data_tools.measure import Cost, find_ffmpeg, run_ffmpeg, run_ingest
from benchmarks.data_tools.textured_video import VideoShape, write_labels, write_video
from nitrogen_train.runtime.progress import format_table

_SHAPES = ((1280, 720, 30), (1920, 1080, 60))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One video, both ways."""

    video: str
    num_frames: int
    source_bytes: int
    stored_bytes: int
    ingest: list[Cost]
    ffmpeg: list[Cost]

    @property
    def ratio(self) -> float:
        """How much of FFmpeg's throughput per core is reached; the median of the rounds."""
        return median(
            theirs.cpu_s / ours.cpu_s for ours, theirs in zip(self.ingest, self.ffmpeg, strict=True)
        )


def compare(shape: VideoShape, folder: Path, *, rounds: int) -> Comparison:
    """Measure one video both ways, in turns.

    Args:
        shape: Of the video.
        folder: For all that is written.
        rounds: How often.
    """
    ffmpeg = find_ffmpeg()
    videos_dir = folder / f"videos-{shape.video_id}"
    videos_dir.mkdir(parents=True, exist_ok=True)
    video, labels = write_video(shape, videos_dir), folder / f"{shape.video_id}.tar.gz"
    write_labels(shape, labels)
    out_dir = folder / f"set-{shape.video_id}"
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for _ in range(rounds):
        theirs.append(run_ffmpeg(ffmpeg, video, folder / "transcoded.mp4", fps=float(shape.fps)))
        ours.append(run_ingest(video, labels, out_dir))
    return Comparison(
        video=shape.video_id,
        num_frames=shape.num_frames,
        source_bytes=video.stat().st_size,
        stored_bytes=sum(path.stat().st_size for path in out_dir.glob("*.tar")),
        ingest=ours,
        ffmpeg=theirs,
    )


def main() -> int:
    """Print a line per video."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_tools", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of each video")
    parser.add_argument("--rounds", type=int, default=3, help="of each way")
    parser.add_argument("--work", type=Path, help="folder for the videos; they are kept there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        find_ffmpeg()
        with TemporaryDirectory() as temporary:
            comparisons = [
                compare(
                    VideoShape(width=width, height=height, fps=fps, seconds=options.seconds),
                    options.work or Path(temporary),
                    rounds=options.rounds,
                )
                for width, height, fps in _SHAPES
            ]
    except (OSError, RuntimeError) as error:
        print(f"benchmarks.data_tools: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([asdict(each) | {"ratio": each.ratio} for each in comparisons]))
        return 0
    print(format_comparisons(comparisons))
    return 0


def format_comparisons(comparisons: list[Comparison]) -> str:
    """Lay out throughput per core, and what an hour of video comes to."""

    def rate(costs: list[Cost], frames: int) -> str:
        return f"{frames / median(cost.cpu_s for cost in costs):.0f}"

    rows = [
        (
            each.video,
            str(each.num_frames),
            rate(each.ffmpeg, each.num_frames),
            rate(each.ingest, each.num_frames),
            f"{each.ratio:.2f}",
            f"{max(cost.peak_bytes for cost in each.ingest) / 2**20:.0f}",
            f"{each.source_bytes / each.num_frames / 1024:.1f}",
            f"{each.stored_bytes / each.num_frames / 1024:.2f}",
        )
        for each in comparisons
    ]
    header = (
        "video", "frames", "ffmpeg, frames/s", "ingest, frames/s", "ratio", "peak MiB",
        "source KiB/frame", "stored KiB/frame",
    )  # fmt: skip
    return format_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
