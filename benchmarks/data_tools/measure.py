"""Commands, and what they cost."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nitrogen_train.data.encode import DEFAULT_ENCODING

SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a command and all the processes that it waited for."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Of its largest process."""


def find_ffmpeg() -> str:
    """Find the FFmpeg command.

    Raises:
        FileNotFoundError: If it is not installed.
    """
    path = shutil.which("ffmpeg")
    if path is None:
        raise FileNotFoundError(
            "the comparison takes the ffmpeg command; install it, for example with "
            "apt-get install ffmpeg"
        )
    return path


def run_data_tools(*arguments: str) -> Cost:
    """Run a verb of `nitrogen-data` in a process of its own."""
    return _run([sys.executable, "-m", "data_tools", *arguments])


def run_ingest(video: Path, labels: Path, out_dir: Path) -> Cost:
    """Make a data set of one video, in one process."""
    shutil.rmtree(out_dir, ignore_errors=True)
    options = ["--videos", str(video.parent), "--out", str(out_dir), "--size", str(SIZE)]
    return run_data_tools("ingest", "nitrogen", str(labels), *options, "--workers", "1")


def run_ffmpeg(ffmpeg: str, video: Path, out_path: Path, *, fps: float) -> Cost:
    """Transcode the same frames with the same encoder's settings, on one thread of each kind."""
    encoding = [
        part
        for name, value in DEFAULT_ENCODING.options(fps).items()
        for part in (f"-{name}", str(value))
    ]
    return _run(
        [
            ffmpeg, "-y", "-v", "error", "-threads", "1", "-i", str(video),
            "-vf", f"scale={SIZE}:{SIZE}:flags=area", "-filter_threads", "1",
            "-c:v", "libx264", *encoding, "-pix_fmt", "yuv420p", "-an", str(out_path),
        ]
    )  # fmt: skip


def _run(command: Sequence[str]) -> Cost:
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        message = b"" if process.stderr is None else process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(
            f"{command[0]} failed: {message.decode(errors='replace').strip()[-300:]}"
        )
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )
