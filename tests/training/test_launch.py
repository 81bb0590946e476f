"""Worlds that are not the config's are refused before anything is built."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from nitrogen_train.train import build_datamodule, build_trainer
from nitrogen_train.training.launch import (
    check_gpus,
    check_world,
    is_slurm_task,
    refuse_another_world,
)
from nitrogen_train.training.preemption import find_cluster_environment

# As a real SLURM sets them.
BATCH = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "wrap", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
STEP = BATCH | {
    "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2",
}  # fmt: skip
ONE_TASK = STEP | {
    "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1",
    "SLURM_NTASKS_PER_NODE": "2",
}  # fmt: skip
SALLOC = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2",
}  # fmt: skip


def trainer_of(devices: int, num_nodes: int = 1) -> dict[str, Any]:
    return {"devices": devices, "num_nodes": num_nodes, "accelerator": "auto"}


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes"),
    [
        ({}, 2, 1),
        (SALLOC, 2, 1),
        (STEP, 2, 1),
        (STEP | {"SLURM_JOB_NAME": "interactive"}, 2, 1),
        (STEP | {"SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, 1, 2),
        (BATCH, 1, 1),
        (ONE_TASK, 1, 1),
        (ONE_TASK | {"SLURM_JOB_NAME": "bash"}, 2, 1),
        (TORCHRUN, 2, 1),
        (BATCH | TORCHRUN, 2, 1),
        (STEP | TORCHRUN | {"WORLD_SIZE": "4"}, 2, 2),
        ({"NODE_RANK": "1", "MASTER_ADDR": "n1"}, 2, 2),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "n1"}, 1, 2),
        (STEP | {"PMI_SIZE": "2"}, 2, 1),
    ],
    ids=[
        "alone", "salloc", "srun", "srun in salloc", "srun on two nodes", "sbatch, one process",
        "srun of one task in a larger job", "srun --pty bash", "torchrun", "torchrun in sbatch",
        "torchrun by srun", "by hand on each node", "Kubeflow", "srun with PMI",
    ],
)  # fmt: skip
def test_the_world_that_was_asked_for_is_taken(
    environment: dict[str, str], devices: int, num_nodes: int
) -> None:
    check_world(trainer_of(devices, num_nodes), environment)


@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "message"),
    [
        (BATCH, 2, 1, "without srun has started 1 process, .* 2 .*srun .*--ntasks-per-node=2 "),
        (BATCH | {"SLURM_NTASKS": "1"}, 2, 1, "or give trainer.devices=1"),
        (STEP, 1, 1, "srun has started 2 processes, .* is 1 . 1: .*trainer.devices=2"),
        (ONE_TASK, 2, 1, "srun has started 1 process,"),
        (STEP | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}, 2, 1, r"has started 1\(x2\) processes on"),
        (
            STEP | {
                "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "1,3"
            },
            2, 2, "srun has started 1,3 processes on",
        ),
        (TORCHRUN, 4, 1, "torchrun has started 2 processes.* --nproc-per-node=4"),
        (BATCH | TORCHRUN, 1, 1, "torchrun has started 2 processes"),
        ({"JSM_NAMESPACE_SIZE": "2"}, 1, 1, "jsrun has started 2"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2, 1, "pip install mpi4py, or start it with srun"),
        (BATCH | {"PMI_SIZE": "2"}, 2, 1, "pip install mpi4py, or start it with srun"),
        ({"RANK": "1", "WORLD_SIZE": "4"}, 2, 1, "WORLD_SIZE has started 4"),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 1, 1, "WORLD_SIZE has started 2"),
        ({}, 2, 2, "has been started alone: .*trainer.num_nodes=1"),
        (ONE_TASK | {"SUBMITIT_EXECUTOR": "slurm"}, 2, 1, "hydra.launcher.tasks_per_node=2"),
    ],
)  # fmt: skip
def test_another_world_is_refused_with_what_to_do(
    environment: dict[str, str], devices: int, num_nodes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_world(trainer_of(devices, num_nodes), environment)


@pytest.mark.parametrize(
    ("environment", "is_task"),
    [
        (STEP, True),
        (STEP | {"SLURM_JOB_NAME": "bash"}, True),
        (BATCH, False),
        (SALLOC, False),
        # A job that sbatch has made inside of a step of one task.
        (STEP | {"SLURM_STEP_NUM_TASKS": "1"}, False),
    ],
)
def test_srun_alone_makes_tasks(environment: dict[str, str], is_task: bool) -> None:
    assert is_slurm_task(environment) == is_task


def test_lightning_is_told_who_starts_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Lightning itself reads of the process.
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")

    def kinds(environment: dict[str, str]) -> list[type]:
        return [type(found) for found in find_cluster_environment(dict(environment))]

    assert kinds(STEP) == [SLURMEnvironment]
    assert kinds(BATCH) == kinds(ONE_TASK) == [LightningEnvironment]
    assert kinds({}) == kinds(SALLOC) == kinds(STEP | TORCHRUN) == []
    assert kinds(BATCH | TORCHRUN) == kinds({"RANK": "1", "WORLD_SIZE": "2"}) == []
    assert kinds(STEP | {"PMI_SIZE": "2"}) == [SLURMEnvironment]


def test_a_step_counts_its_own_tasks_per_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    environment = STEP | {"SLURM_NTASKS_PER_NODE": "4"}

    find_cluster_environment(environment)

    assert environment["SLURM_NTASKS_PER_NODE"] == "2"


def test_more_processes_than_visible_gpus_are_refused() -> None:
    check_gpus(trainer_of(2), num_visible=0)
    check_gpus(trainer_of(2), num_visible=2)
    check_gpus(trainer_of(2) | {"accelerator": "cpu"}, num_visible=1)

    with pytest.raises(ValueError, match=r"trainer.devices=2, and 1 GPU is visible here"):
        check_gpus(trainer_of(2), num_visible=1)


def test_what_lightning_makes_of_the_config_is_compared_with_it() -> None:
    refuse_another_world(2, trainer_of(1, 2))

    with pytest.raises(ValueError, match=r"1 processes came up, .* is 2 \* 1"):
        refuse_another_world(1, trainer_of(2))


def test_a_trainer_that_ends_steps_elsewhere_than_the_stream_is_refused(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any,
    compose_run: Callable[..., Any],
) -> None:  # fmt: skip
    folder = write_dataset(
        tmp_path / "data",
        [
            clip_plan(clip_id=name, session_id=name, num_frames=60, split=split)
            for name, split in (("a", "train"), ("v", "val"))
        ],
    )
    config = compose_run(
        f"+data.sources.all.path={folder}", f"output_dir={tmp_path}", "max_steps=1",
        "data.global_batch_size=8", "data.micro_batch_size=2", "data.windows_per_visit=64",
        f"data.index_dir={tmp_path}", "trainer.accelerator=cpu", "loggers=csv",
    )  # fmt: skip
    datamodule = build_datamodule(config)
    datamodule.trainer = L.Trainer(accelerator="cpu", accumulate_grad_batches=2, logger=False)

    with pytest.raises(ValueError, match="is 4 micro-batches, the trainer ends it after 2"):
        datamodule.train_dataloader()
    datamodule.trainer = build_trainer(config)
    datamodule.train_dataloader()


@pytest.mark.slow
def test_a_batch_script_without_srun_is_refused_in_one_line(
    tmp_path: Path, datasets: list[str]
) -> None:
    result = subprocess.run(
        [
            sys.executable, "-m", "nitrogen_train.train", "experiment=demo", *datasets,
            "strategy=ddp", "trainer.devices=2", "trainer.accelerator=cpu",
            "data.micro_batch_size=8", f"output_dir={tmp_path}/run",
        ],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | BATCH | {"SLURM_NTASKS": "1"},
    )  # fmt: skip

    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "srun --nodes=1 --ntasks-per-node=2 nitrogen-train" in line
    assert not (tmp_path / "run" / "config.yaml").exists()
