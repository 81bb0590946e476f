"""What train.sbatch gives to a training, and when it puts the job back into the queue."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "slurm" / "train.sbatch"
_SRUN = """#!/bin/bash
printf '%s\\n' "$@" > "$PWD/srun.txt"
[[ -z "$SAID" ]] || printf '%s\\n' "$SAID" >> "$NITROGEN_FAILURES"
exit "$STATUS"
"""
_SCONTROL = """#!/bin/bash
[[ $1 == requeue ]] && echo "$2" > "$PWD/requeued.txt"
echo n1
"""


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    env = {
        "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NODELIST": "n[1-2]", "STATUS": "0", "SAID": "",
        **variables,
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def read_words(folder: Path) -> list[str]:
    return (folder / "srun.txt").read_text().splitlines()


@pytest.mark.parametrize("status", [134, 135, 137, 139])
def test_a_rank_that_was_killed_or_crashed_comes_back_from_the_last_checkpoint(
    tmp_path: Path, status: int
) -> None:
    assert run(tmp_path, STATUS=str(status)).returncode == status
    assert (tmp_path / "requeued.txt").read_text() == "7\n"


def test_the_first_failure_decides_and_not_the_ranks_that_were_killed_for_it(
    tmp_path: Path,
) -> None:
    said = "error: rank 3: the loss is nan at step 12\nlost: rank 0: NCCL error"
    done = run(tmp_path, STATUS="137", SAID=said)

    assert done.returncode == 137
    assert "first failure: error: rank 3: the loss is nan at step 12" in done.stderr
    assert not (tmp_path / "requeued.txt").exists()
    assert not list(tmp_path.glob(".failures*"))


def test_a_lost_device_comes_back_three_times(tmp_path: Path) -> None:
    said = "lost: rank 1: RuntimeError: CUDA error: unspecified launch failure"
    run(tmp_path, STATUS="1", SAID=said, SLURM_RESTART_COUNT="3")
    assert not (tmp_path / "requeued.txt").exists()

    run(tmp_path, STATUS="1", SAID=said, SLURM_RESTART_COUNT="2")
    assert (tmp_path / "requeued.txt").exists()


@pytest.mark.parametrize("status", [0, 1, 75])
def test_an_end_that_would_be_the_same_again_stays(tmp_path: Path, status: int) -> None:
    assert run(tmp_path, STATUS=str(status)).returncode == status
    assert not (tmp_path / "requeued.txt").exists()


def test_gpus_of_single_tasks_are_refused_by_name(tmp_path: Path) -> None:
    done = run(tmp_path, SLURM_GPUS_PER_TASK="1", SLURM_GPUS_ON_NODE="8")

    assert done.returncode == 1
    assert done.stderr == (
        "error: with --gpus-per-task=1 each task sees its own GPU alone: --gpus-per-node=8\n"
    )
    assert not (tmp_path / "srun.txt").exists()


def test_a_job_with_gpus_trains_on_them_and_gives_its_cores_to_its_tasks(tmp_path: Path) -> None:
    run(tmp_path, SLURM_GPUS_ON_NODE="8", SLURM_CPUS_PER_TASK="6")
    words = read_words(tmp_path)
    assert {"trainer.accelerator=gpu", "--cpus-per-task=6", "trainer.devices=8"} <= set(words)

    run(tmp_path, "trainer.accelerator=cpu", SLURM_GPUS_ON_NODE="8")
    words = read_words(tmp_path)
    assert [word for word in words if "accelerator" in word] == ["trainer.accelerator=cpu"]

    run(tmp_path)
    assert not [word for word in read_words(tmp_path) if "accelerator" in word]


def test_what_is_read_from_urls_is_kept_on_a_disk_that_the_site_names(tmp_path: Path) -> None:
    run(tmp_path)
    assert not [word for word in read_words(tmp_path) if "cache_dir" in word]

    run(tmp_path, SLURM_TMPDIR=str(tmp_path))
    cached = [word for word in read_words(tmp_path) if "cache_dir" in word]
    name = subprocess.run(
        ["stat", "--file-system", "--format=%T", tmp_path],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert bool(cached) == (name not in ("tmpfs", "ramfs"))

    if Path("/dev/shm").is_dir():
        run(tmp_path, SLURM_TMPDIR="/dev/shm")
        assert not [word for word in read_words(tmp_path) if "cache_dir" in word]
