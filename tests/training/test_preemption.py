"""Runs that are told to stop, killed, and started twice."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from run_processes import metric, start, until
from window_recorder import read_windows

from nitrogen_train.training.preemption import Preempted, preemptible

NUM_STEPS = 30
SETTINGS = (
    f"max_steps={NUM_STEPS}", "val_every_n_steps=10", "checkpoint_every_n_steps=7",
)  # fmt: skip
TWO_RANKS = ("strategy=ddp", "trainer.devices=2")


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, datasets: list[str]
) -> Callable[[int], Path]:
    """Train to the end, once for each number of ranks that is asked for."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def train(ranks: int) -> Path:
        path = folder / str(ranks)
        process = start(path, datasets, *SETTINGS, *(TWO_RANKS if ranks == 2 else ()))
        assert process.wait(timeout=6000) == 0, path.with_suffix(".log").read_text()[-3000:]
        return path

    return train


def assert_the_same(run: Path, undisturbed: Path) -> None:
    assert len(metric(undisturbed)) == NUM_STEPS
    assert metric(run) == metric(undisturbed)
    assert metric(run, "val/loss") == metric(undisturbed, "val/loss") != {}
    assert read_windows(run / "windows") == read_windows(undisturbed / "windows") != {}


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "ranks"),
    [(signal.SIGTERM, 1), (signal.SIGUSR1, 2)],
    ids=["term-1", "usr1-2"],
)
def test_a_run_that_is_told_to_stop_saves_and_continues_as_if_it_had_not(
    tmp_path: Path,
    datasets: list[str],
    undisturbed: Callable[[int], Path],
    number: signal.Signals,
    ranks: int,
) -> None:
    overrides = [*SETTINGS, *(TWO_RANKS if ranks == 2 else ())]
    run = tmp_path / "run"

    process = start(run, datasets, *overrides)
    until(lambda: len(metric(run)) > 5, run)
    if ranks == 1:
        # As SLURM does it: the loader's workers are told, too.
        os.killpg(process.pid, number)
    else:
        # One rank alone, not the one that saves.
        os.kill(find_rank(process.pid, 1), number)
    assert process.wait(timeout=6000) == 75, (tmp_path / "run.log").read_text()[-3000:]
    stopped_at = len(metric(run))
    checkpoint = run / "checkpoints" / f"step-{stopped_at}.ckpt"
    process = start(run, datasets, *overrides)

    assert process.wait(timeout=6000) == 0, (tmp_path / "run.log").read_text()[-3000:]
    log = (tmp_path / "run.log").read_text()
    assert stopped_at < NUM_STEPS
    assert f"{number.name}: saved {checkpoint}" in log
    assert f"continuing from {checkpoint}" in log
    assert_the_same(run, undisturbed(ranks))


@pytest.mark.full
def test_a_run_killed_in_the_middle_of_a_save_continues_and_a_second_start_is_refused(
    tmp_path: Path, datasets: list[str], undisturbed: Callable[[int], Path]
) -> None:
    run = tmp_path / "run"
    folder = run / "checkpoints"

    first = start(run, datasets, *SETTINGS)
    until(lambda: len(metric(run)) > 2, run)
    second = start(run, datasets, *SETTINGS)
    # The first is stopped at a save, so that it lives until the second has given up.
    until(lambda: stopped_in_a_save(first, folder), run, every_s=0)
    assert second.wait(timeout=6000) == 1
    first.kill()
    first.wait(timeout=600)
    left_behind = [path.name for path in folder.iterdir()]
    last = start(run, datasets, *SETTINGS)

    assert last.wait(timeout=6000) == 0, (tmp_path / "run.log").read_text()[-3000:]
    refusal = [line for line in (tmp_path / "run.log").read_text().splitlines() if "error:" in line]
    assert len(refusal) == 1
    assert f"another process trains in {run} (process {first.pid} on" in refusal[0]
    assert any(name.startswith(".") for name in left_behind), left_behind
    assert_the_same(run, undisturbed(1))


@pytest.mark.parametrize(
    ("environment", "requeued"),
    [
        ({"SLURM_JOB_ID": "36"}, "36"),
        # Of an array the last element that starts has the array's number.
        ({"SLURM_JOB_ID": "36", "SLURM_ARRAY_JOB_ID": "36", "SLURM_ARRAY_TASK_ID": "3"}, "36_3"),
        ({"SLURM_JOB_ID": "37", "SLURM_ARRAY_JOB_ID": "36", "SLURM_ARRAY_TASK_ID": "2"}, "37"),
    ],
    ids=["a job", "an array's own number", "another element, or a job made inside of one"],
)
@pytest.mark.parametrize("how", ["time limit", "killed"])
def test_a_job_requeues_itself_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    requeued: str,
    how: str,
) -> None:
    calls = tmp_path / "calls"
    for name, body in {"scontrol": f'echo "$@" >> {calls}', "srun": "exit 137"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    if how == "killed":
        script = Path(__file__).parents[2] / "slurm" / "train.sbatch"
        node = {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1"}
        subprocess.run(["bash", script], env=os.environ | node | environment, check=False)
    else:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Preempted), preemptible():
            raise Preempted(signal.SIGUSR1, is_global_zero=True)

    lines = calls.read_text().splitlines()
    assert [line for line in lines if "requeue" in line] == [f"requeue {requeued}"]


@pytest.mark.parametrize(
    ("is_training", "num_signals"), [(False, 1), (True, 2)], ids=["before", "amid a collective"]
)
def test_a_rank_that_waits_for_others_in_vain_ends_when_it_is_told(
    is_training: bool, num_signals: int
) -> None:
    # A lock that is taken twice: no handler of Python's runs there, as in a collective.
    script = f"""
import ctypes, sys
from nitrogen_train.training.preemption import StopRequest
sys.argv[0] = "nitrogen-train"
request = StopRequest()
request.listen()
request.is_training = {is_training}
print("listening", flush=True)
libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
libc.pthread_mutex_lock(lock)
libc.pthread_mutex_lock(lock)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        for sent in range(num_signals):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5 if sent else 0.01)
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def stopped_in_a_save(process: subprocess.Popen[str], folder: Path) -> bool:
    """Stop a process that is saving; one that has finished meanwhile goes on."""
    if not any(folder.glob(".*")):
        return False
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    if any(folder.glob(".*")):
        return True
    process.send_signal(signal.SIGCONT)
    return False


def find_rank(parent: int, rank: int) -> int:
    for line in subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    ).stdout.split():
        # A worker that has just ended is no process any more.
        path = Path(f"/proc/{line}/environ")
        if path.exists() and f"LOCAL_RANK={rank}".encode() in path.read_bytes().split(b"\0"):
            return int(line)
    raise AssertionError(f"process {parent} has no child of rank {rank}")
