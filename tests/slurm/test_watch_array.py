"""Each element of an array watches its share of the videos."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from watched_play import write_play

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_elements_of_an_array_share_the_videos_of_a_folder(tmp_path: Path) -> None:
    videos, watched = tmp_path / "videos", tmp_path / "watched"
    for name in "abc":
        # Without a pad, which is found out soonest.
        write_play(videos, [{}] * 20, name=name)

    # An array may begin at any number: `--array=4-5`.
    for element in (4, 5):
        ended = subprocess.run(
            [
                "bash", ROOT / "slurm" / "watch.sbatch", videos, "--out", watched,
                "--game", "play", "--skin", "xbox",
            ],
            env=os.environ | {
                "NITROGEN_PYTHON": sys.executable, "SLURM_ARRAY_TASK_ID": str(element),
                "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "2",
            },
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 1, ended.stderr

    dropped = {
        part.name: part.read_text().count('"no controller was found"')
        for part in watched.glob(".watch/*")
    }
    assert dropped["part-00000-of-00002.jsonl"] == 2
    assert dropped["part-00001-of-00002.jsonl"] == 1
