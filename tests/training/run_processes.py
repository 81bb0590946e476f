"""Runs of a tiny policy as processes of their own, and what they leave behind."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TINY = (
    "experiment=demo", "loggers=csv", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
    "data.num_workers=2", "data.num_val_windows=8", "data.windows_per_visit=64",
    "data.global_batch_size=8", "data.micro_batch_size=4", "data.image_size=64",
    "data.action_horizon=4", "data.prefetch_factor=2", "num_threads=1",
    "model.encoder.options.channels=[8,8,16,16]", "model.encoder.width=32",
    "model.dit.num_layers=2", "model.dit.dropout=0.1",
    "schedule.warmup_steps=1", "schedule.decay_steps=0",
    "+callbacks.windows._target_=window_recorder.WindowRecorder",
)  # fmt: skip
HERE = str(Path(__file__).parent)


def settings(output_dir: Path, datasets: list[str], *, step_s: float = 0.1) -> list[str]:
    output_dir.mkdir(parents=True, exist_ok=True)
    return [
        *TINY, *datasets, f"output_dir={output_dir}",
        f"+callbacks.windows.folder={output_dir}/windows",
        f"+callbacks.windows.step_s={step_s}",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": HERE}


def start(output_dir: Path, datasets: list[str], *overrides: str) -> subprocess.Popen[str]:
    log = (output_dir.parent / f"{output_dir.name}.log").open("a")
    with log:
        return subprocess.Popen(
            [
                sys.executable, "-m", "nitrogen_train.train",
                *settings(output_dir, datasets), *overrides,
            ],
            stdout=log, stderr=subprocess.STDOUT, text=True, env=environment(),
            start_new_session=True,
        )  # fmt: skip


def until(
    holds: Callable[[], bool], output_dir: Path, *, timeout_s: float = 600, every_s: float = 0.02
) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            log = output_dir.parent / f"{output_dir.name}.log"
            raise AssertionError(log.read_text()[-3000:] if log.exists() else "no log")
        time.sleep(every_s)


def metric(output_dir: Path, name: str = "train/loss") -> dict[int, str]:
    path = output_dir / "metrics.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name and row["value"]]
    return {int(row["step"]): row["value"] for row in rows}
