"""Lightning trains on the stream as it was planned: nothing skipped, nothing repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ready import run_ready
from window_recorder import read_windows

from data_tools.__main__ import main as nitrogen_data
from nitrogen_train.data.schema import WindowId

# They share the run that they are compared with.
pytestmark = pytest.mark.xdist_group("stream in lightning")

NUM_STEPS = 24
TINY = (
    "experiment=demo", "loggers=csv", "trainer.accelerator=cpu", "num_threads=1",
    "data.num_workers=2", "data.num_val_windows=16", "data.windows_per_visit=64",
    "data.global_batch_size=8", "data.image_size=64", "data.prefetch_factor=2",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
    "model.dit.num_layers=2", "val_every_n_steps=1000", "checkpoint_every_n_steps=5",
    "schedule.warmup_steps=1", "schedule.decay_steps=0", f"max_steps={NUM_STEPS}",
)  # fmt: skip


HERE = str(Path(__file__).parent)


def words(run_dir: Path, datasets: list[str], *overrides: str) -> list[str]:
    """The module and the settings of a start, whose windows are its own."""
    number = len(list(run_dir.glob("windows-*"))) + 1
    recorder = [
        "+callbacks.windows._target_=window_recorder.WindowRecorder",
        f"+callbacks.windows.folder={run_dir}/windows-{number}",
    ]
    run_dir.mkdir(exist_ok=True)
    return [
        "nitrogen_train.train", *TINY, *datasets, *recorder, *overrides, f"output_dir={run_dir}",
    ]  # fmt: skip


def start(run_dir: Path, datasets: list[str], *overrides: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", *words(run_dir, datasets, *overrides)]
    with (run_dir / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": HERE},
        )


def train(run_dir: Path, datasets: list[str], *overrides: str) -> None:
    ended = run_ready(*words(run_dir, datasets, *overrides), env=os.environ | {"PYTHONPATH": HERE})
    with (run_dir / "log.txt").open("a") as log:
        log.write(ended.stdout + ended.stderr)
    assert ended.returncode == 0, log_of(run_dir)


def log_of(run_dir: Path) -> str:
    return (run_dir / "log.txt").read_text()[-3000:]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, datasets: list[str]) -> Path:
    """The folder of a run of one process that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("runs") / "straight"
    train(run_dir, datasets, "data.micro_batch_size=4")
    return run_dir


@pytest.mark.slow
def test_a_run_takes_the_windows_that_were_planned(
    straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nitrogen_data(["order", "--run", str(straight), "--steps", str(NUM_STEPS)]) == 0

    planned = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = read_windows(straight / "windows-1")
    taken = [sample.rpartition(" ")[0] for step in range(NUM_STEPS) for sample in steps[step]]
    ids = [WindowId(row["source"], row["clip_id"], row["frame"]) for row in planned]
    assert taken == [str(window) for window in ids]
    assert len(taken) == 8 * NUM_STEPS


@pytest.mark.slow
def test_validation_in_the_middle_of_a_run_changes_nothing(
    tmp_path: Path, datasets: list[str], straight: Path
) -> None:
    train(tmp_path / "run", datasets, "data.micro_batch_size=8", "val_every_n_steps=3")

    assert "val/loss" in (tmp_path / "run" / "metrics.csv").read_text()
    assert read_windows(tmp_path / "run" / "windows-1") == read_windows(straight / "windows-1")


@pytest.mark.full
def test_a_run_of_two_ranks_that_was_killed_goes_on_as_one(
    tmp_path: Path, datasets: list[str], straight: Path
) -> None:
    run_dir = tmp_path / "run"
    two = ["strategy=ddp", "trainer.devices=2", "data.micro_batch_size=2", "data.num_workers=1"]
    killed = start(run_dir, datasets, *two)
    deadline = time.monotonic() + 600
    while not (run_dir / "checkpoints" / "step-10.ckpt").exists():
        assert time.monotonic() < deadline, log_of(run_dir)
        assert killed.poll() is None, log_of(run_dir)
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (run_dir / "policy").exists()

    train(run_dir, datasets, "data.micro_batch_size=8", "data.num_workers=0")

    assert "continuing from" in log_of(run_dir)
    expected = read_windows(straight / "windows-1")
    # Of the step at which it was killed, one rank alone may have told.
    before = {
        step: ids for step, ids in read_windows(run_dir / "windows-1").items() if len(ids) == 8
    }
    after = read_windows(run_dir / "windows-2")
    assert before == {step: expected[step] for step in range(len(before))}
    assert after == {step: expected[step] for step in range(min(after), NUM_STEPS)}
    assert 10 <= min(after) <= len(before)
