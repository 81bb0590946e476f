"""`nitrogen-train` as a user starts it, in processes of its own."""

import csv
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ready import run_ready

# Smaller only by overrides: the recipe, the classes and the path through the code are the same.
PRETRAIN_SMALL = (
    "experiment=pretrain", "data.image_size=64", "data.global_batch_size=16",
    "data.micro_batch_size=8", "data.num_val_windows=8", "data.num_workers=2",
    "data.windows_per_visit=64", "schedule.warmup_steps=2", "schedule.decay_steps=2",
    "val_every_n_steps=5", "checkpoint_every_n_steps=5", "trainer.precision=32-true",
    "trainer.log_every_n_steps=1", "num_threads=1", "num_sampling_steps=2",
    "trainer.accelerator=auto",
    "model.encoder.name=vit_base_patch16_siglip_256.v2_webli", "model.encoder.pretrained=false",
    "+model.encoder.options.embed_dim=64", "+model.encoder.options.depth=2",
    "+model.encoder.options.num_heads=4",
    "model.encoder.width=64", "model.mixer.num_heads=4", "model.dit.num_heads=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path], clip_plan: Any
) -> Path:
    plans = [clip_plan(clip_id=f"c{i}", session_id=f"s{i}", num_frames=60) for i in range(4)]
    plans.append(clip_plan(clip_id="v", session_id="v", split="val", num_frames=60))
    return write_dataset(tmp_path_factory.mktemp("data"), plans)


def nitrogen_train(*overrides: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    return run_ready(
        "nitrogen_train.train", *overrides,
        env=os.environ | {"WANDB_MODE": "offline"}, ranks=ranks,
    )  # fmt: skip


def losses(output_dir: Path) -> dict[int, float]:
    with (output_dir / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "train/loss"]
    return {int(row["step"]): float(row["value"]) for row in rows}


@pytest.mark.slow
def test_pretraining_runs_ten_steps_and_resumes(tmp_path: Path, dataset: Path) -> None:
    command = [*PRETRAIN_SMALL, f"+data.sources.all.path={dataset}", f"output_dir={tmp_path}/run"]

    first = nitrogen_train(*command, "max_steps=10")
    assert first.returncode == 0, first.stderr[-3000:]
    second = nitrogen_train(*command, "max_steps=15")
    assert second.returncode == 0, second.stderr[-3000:]

    assert "continuing from" in second.stdout + second.stderr
    assert sorted(losses(tmp_path / "run")) == list(range(15))
    assert (tmp_path / "run" / "policy" / "model.safetensors").is_file()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


@pytest.mark.full
def test_two_processes_train_as_one(tmp_path: Path, dataset: Path) -> None:
    # With the mixer of the pretraining; tests/training/test_strategies.py has the rest.
    exact = [
        *PRETRAIN_SMALL, f"+data.sources.all.path={dataset}", "max_steps=4", "loggers=csv",
        "model.mixer.dropout=0.0", "model.dit.dropout=0.0", "trainer.accelerator=cpu",
        "optimizer._target_=torch.optim.SGD", "~optimizer.betas", "optimizer.lr=0.1",
    ]  # fmt: skip
    more = ["strategy=ddp", "trainer.devices=2"]

    one = nitrogen_train(*exact, f"output_dir={tmp_path}/one")
    assert one.returncode == 0, one.stderr[-3000:]
    two = nitrogen_train(*exact, f"output_dir={tmp_path}/two", *more, ranks=2)
    assert two.returncode == 0, two.stderr[-3000:]

    one_state, two_state = (
        torch.load(tmp_path / name / "checkpoints" / "step-4.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    for name, value in one_state.items():
        torch.testing.assert_close(two_state[name], value, rtol=1e-4, atol=1e-6)
