"""Worlds that are not the config's are refused before anything is built."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import pytest
from lightning.fabric.plugins.environments.kubeflow import KubeflowEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector

from nitrogen_train.train import build_datamodule, build_trainer
from nitrogen_train.training.launch import (
    check_gpus,
    check_world,
    choose_accelerator,
    find_launch,
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
LSF = {
    "LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "", "JSM_NAMESPACE_SIZE": "2",
    "JSM_NAMESPACE_RANK": "0", "JSM_NAMESPACE_LOCAL_RANK": "0",
}  # fmt: skip
KUBEFLOW = {"MASTER_ADDR": "n1", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "2"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2",
}  # fmt: skip


def trainer_of(devices: int, num_nodes: int = 1) -> dict[str, Any]:
    return {"devices": devices, "num_nodes": num_nodes, "accelerator": "auto"}


@pytest.fixture
def _mpi4py(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a world in the place of mpi4py's, which needs a library of MPI."""
    size = int(environment.get("OMPI_COMM_WORLD_SIZE", environment.get("PMI_SIZE", "1")))
    mpi = ModuleType("mpi4py.MPI")
    mpi.__dict__["COMM_WORLD"] = SimpleNamespace(Get_size=lambda: size)
    package = ModuleType("mpi4py")
    package.__dict__["MPI"] = mpi
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    monkeypatch.setattr("lightning.fabric.plugins.environments.mpi._MPI4PY_AVAILABLE", True)


@pytest.mark.usefixtures("_mpi4py")
@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "kind"),
    [
        ({}, 2, 1, LightningEnvironment),
        (SALLOC, 2, 1, LightningEnvironment),
        (SALLOC | {"SLURM_JOB_NAME": "zsh"}, 2, 1, LightningEnvironment),
        (STEP, 2, 1, SLURMEnvironment),
        (STEP | {"SLURM_JOB_NAME": "interactive"}, 2, 1, SLURMEnvironment),
        (
            STEP | {"SLURM_NNODES": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"},
            1, 2, SLURMEnvironment,
        ),
        (STEP | {"PMI_SIZE": "2"}, 2, 1, SLURMEnvironment),
        (BATCH, 1, 1, LightningEnvironment),
        (ONE_TASK, 1, 1, LightningEnvironment),
        (ONE_TASK | {"SLURM_JOB_NAME": "bash", "PMI_SIZE": "1"}, 2, 1, LightningEnvironment),
        (TORCHRUN, 2, 1, TorchElasticEnvironment),
        (BATCH | TORCHRUN, 2, 1, TorchElasticEnvironment),
        (STEP | TORCHRUN | {"WORLD_SIZE": "4"}, 2, 2, TorchElasticEnvironment),
        ({"NODE_RANK": "1", "MASTER_ADDR": "n1"}, 2, 2, LightningEnvironment),
        (
            BATCH | {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
            2, 1, LightningEnvironment,
        ),
        (LSF, 2, 1, LSFEnvironment),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2, 1, MPIEnvironment),
        (BATCH | {"OMPI_COMM_WORLD_SIZE": "2"}, 2, 1, MPIEnvironment),
        (BATCH | {"PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}, 2, 1, MPIEnvironment),
        (STEP | {"PMI_SIZE": "4", "MPI_LOCALNRANKS": "2"}, 2, 2, MPIEnvironment),
        (KUBEFLOW, 1, 2, KubeflowEnvironment),
        (KUBEFLOW | {"WORLD_SIZE": "1"}, 2, 1, LightningEnvironment),
    ],
    ids=[
        "alone", "salloc", "salloc -J zsh", "srun", "srun in salloc", "srun on two nodes",
        "srun with PMI", "sbatch, one process", "srun of one task in a larger job",
        "srun --pty bash", "torchrun", "torchrun in sbatch", "torchrun by srun",
        "by hand on each node", "Lightning in sbatch", "jsrun", "mpirun", "mpirun in sbatch",
        "Intel MPI in sbatch", "Intel MPI's daemons by srun", "Kubeflow", "Kubeflow, one process",
    ],
)  # fmt: skip
def test_the_world_that_was_asked_for_is_taken_and_lightning_told_of_it(
    environment: dict[str, str], devices: int, num_nodes: int, kind: type,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    if "LSB_DJOB_RANKFILE" in environment:
        ranks = tmp_path / "ranks"
        ranks.write_text("n0\nn1\nn1\n")
        environment = environment | {"LSB_DJOB_RANKFILE": str(ranks)}
        monkeypatch.setattr("socket.gethostname", lambda: "n1")
    # Lightning reads them of the process itself; these are written too.
    written = {"MASTER_ADDR": "n1", "MASTER_PORT": "1", "SLURM_NTASKS_PER_NODE": "9"}
    for name, value in (written | environment).items():
        monkeypatch.setenv(name, value)

    check_world(trainer_of(devices, num_nodes))
    connector = _AcceleratorConnector(accelerator="cpu", plugins=find_cluster_environment())

    assert type(connector.cluster_environment) is kind


@pytest.mark.usefixtures("_mpi4py")
@pytest.mark.parametrize(
    ("environment", "devices", "num_nodes", "message"),
    [
        (BATCH, 2, 1, "without srun has started 1 process, .* 2 .*srun .*--ntasks-per-node=2 "),
        (
            SALLOC | {"SLURM_JOB_NAME": "mine"}, 2, 1,
            "a job's shell or batch script without srun has started 1 process",
        ),
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
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 1, 1, "mpirun has started 2"),
        (KUBEFLOW, 1, 1, "Kubeflow .* has started 2 .*trainer.devices=1 trainer.num_nodes=2"),
        (KUBEFLOW, 2, 1, "each on its own node, .*trainer.devices=1 trainer.num_nodes=2"),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, 1, 1, "WORLD_SIZE has started 2"),
        ({}, 2, 2, "has been started alone: .*trainer.num_nodes=1"),
        (
            ONE_TASK | {"SUBMITIT_EXECUTOR": "slurm"}, 2, 1,
            "tasks_per_node=2 hydra.launcher.nodes=1 hydra.launcher.gpus_per_node=2$",
        ),
    ],
)  # fmt: skip
def test_another_world_is_refused_with_what_to_do(
    environment: dict[str, str], devices: int, num_nodes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_world(trainer_of(devices, num_nodes), environment)


def test_submitit_is_asked_for_no_gpus_where_none_are_used() -> None:
    with pytest.raises(ValueError, match=r"hydra.launcher.nodes=1$"):
        check_world(
            trainer_of(2) | {"accelerator": "cpu"}, ONE_TASK | {"SUBMITIT_EXECUTOR": "slurm"}
        )


@pytest.mark.parametrize("environment", [{"OMPI_COMM_WORLD_SIZE": "2"}, BATCH | {"PMI_SIZE": "2"}])
def test_mpirun_is_refused_by_name_where_mpi4py_cannot_be_imported(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)

    with pytest.raises(ValueError, match=r"mpirun .* without mpi4py .*torchrun .*-per-node=2"):
        check_world(trainer_of(2), environment)


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
    launch = find_launch(environment)

    assert (launch is not None and launch.by == "srun") == is_task


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


def test_auto_is_the_cpu_of_a_machine_of_apples() -> None:
    check_gpus(trainer_of(1) | {"accelerator": "auto"}, num_visible=0, has_mps=True)

    assert choose_accelerator("auto", has_mps=True) == "cpu"
    assert choose_accelerator("auto", has_mps=False) == "auto"
    assert choose_accelerator("cuda", has_mps=True) == "cuda"


@pytest.mark.parametrize("accelerator", ["gpu", "mps"])
def test_a_gpu_of_apples_is_refused_by_name(accelerator: str) -> None:
    trainer = trainer_of(1) | {"accelerator": accelerator}

    with pytest.raises(ValueError, match=r"Apple's GPU \(MPS\), .*trainer.accelerator=cpu"):
        check_gpus(trainer, num_visible=0, has_mps=True)
    check_gpus(trainer | {"accelerator": "cpu"}, num_visible=0, has_mps=True)
    with pytest.raises(ValueError, match="no GPU of CUDA's is visible"):
        check_gpus(trainer | {"accelerator": "cuda"}, num_visible=0, has_mps=True)


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
        capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | BATCH | {"SLURM_NTASKS": "1"},
    )  # fmt: skip

    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert "srun --nodes=1 --ntasks-per-node=2 nitrogen-train" in line
    assert not (tmp_path / "run" / "config.yaml").exists()
