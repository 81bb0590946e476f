"""Find who has started this process, with how many others: the world must be the config's.

    torchrun, srun, jsrun, mpirun, Kubeflow ─► variables ─► as many as the config has, or refused
    one process by hand ─► Lightning starts the others of its node

Variables of SLURM reach more than the tasks of srun: a batch script has them, the shell of `salloc`
and of `srun --pty bash`, and every job that is submitted from inside of another one.
"""

import contextlib
import importlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nitrogen_train.runtime.interrupts import Interrupted
from nitrogen_train.runtime.processes import name_parent

if TYPE_CHECKING:
    # A command looks here before it imports what takes seconds.
    import lightning as L  # noqa: N812 - Lightning's own convention

_SHELLS = frozenset({"interactive", "bash", "sh", "zsh", "fish", "tcsh", "csh", "ksh"})
"""Names of jobs that are somebody's shell: salloc's own, and those of `srun --pty SHELL`."""
_MPIRUN = frozenset({"OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"})
"""Open MPI's, Intel MPI's and MPICH's own; their daemons on other nodes are tasks of srun."""
_COUNTS = {
    "JSM_NAMESPACE_SIZE": "jsrun", "OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpirun",
}  # fmt: skip
_NODE_RANKS = frozenset({"NODE_RANK", "GROUP_RANK"})
KUBEFLOW = "Kubeflow (RANK, WORLD_SIZE)"
_ALONE = "a job's shell or batch script without srun"
_PATIENCE_S = 60.0
"""Time for the others to end a step later than this process."""
_BRIEF_S = 2.0
"""Time for them to remove what is half-written."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The launcher that has started this process, and its world."""

    by: str
    num_processes: int
    """All that it has started together, this one included."""


def find_launch(environment: Mapping[str, str]) -> Launch | None:
    """Find what has started this process; None if it is alone, and may start the others itself."""
    names = environment.keys()
    # Set by torchrun, by hand, and by Lightning for the processes that it starts.
    if {"LOCAL_RANK", "WORLD_SIZE"} <= names:
        by = "torchrun" if "TORCHELASTIC_RUN_ID" in names else "WORLD_SIZE"
        return Launch(by=by, num_processes=int(environment["WORLD_SIZE"]))
    if _is_slurm_task(environment):
        return Launch(by="srun", num_processes=int(environment["SLURM_NTASKS"]))
    # One of one is alone: srun's plugin for PMI tells as much to the shell of `srun --pty bash`.
    for name, by in _COUNTS.items():
        if environment.get(name, "1") != "1":
            return Launch(by=by, num_processes=int(environment[name]))
    world_size = environment.get("WORLD_SIZE", "1")
    if world_size != "1" and "RANK" in names and not names & _NODE_RANKS:
        return Launch(by=KUBEFLOW, num_processes=int(world_size))
    if "SLURM_JOB_ID" in names and not _is_shell(environment):
        return Launch(by=_ALONE, num_processes=1)
    return None


def check_world(trainer: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to train in another world than the config's: half of each batch would be missing.

    Args:
        trainer: The node of `conf/trainer`.
        environment: Variables, which tell of the launcher.

    Raises:
        ValueError: How many processes there are, how many were asked for, and what to do.
    """
    devices, num_nodes = trainer["devices"], trainer["num_nodes"]
    launch = find_launch(environment)
    if launch is None:
        if num_nodes > 1 and not environment.keys() & (_NODE_RANKS | {"LOCAL_RANK"}):
            raise ValueError(
                f"trainer.num_nodes={num_nodes}, and this process has been started alone: start it "
                f"with {_srun(devices, num_nodes)} or torchrun, or give trainer.num_nodes=1"
            )
        return
    asked = f"trainer.devices * trainer.num_nodes is {devices} * {num_nodes}"
    what = f"{launch.num_processes} process{'es' * (launch.num_processes > 1)}"
    remedy = _remedy(launch, trainer, environment)
    if launch.by == "mpirun" and not _has_mpi():
        raise ValueError(
            f"mpirun has started {what}, and without mpi4py each would train alone: pip install "
            f"mpi4py, or start {_torchrun(devices, num_nodes)}"
        )
    if launch.num_processes != devices * num_nodes:
        raise ValueError(f"{launch.by} has started {what}, {asked}: {remedy}")
    if launch.by == KUBEFLOW and devices > 1:
        raise ValueError(f"{launch.by} has started {what}, each on its own node, {asked}: {remedy}")
    # As SLURM writes it; other numbers on each node are "1,2".
    wanted = str(devices) if num_nodes == 1 else f"{devices}(x{num_nodes})"
    layout = environment.get("SLURM_STEP_TASKS_PER_NODE", wanted)
    if launch.by == "srun" and layout != wanted:
        raise ValueError(f"srun has started {layout} processes on its nodes, {asked}: {remedy}")


def check_gpus(trainer: Mapping[str, Any], *, num_visible: int, has_mps: bool = False) -> None:
    """Refuse to share GPUs between processes, and a GPU that cannot train.

    Args:
        trainer: The node of `conf/trainer`.
        num_visible: CUDA's GPUs that this process sees; none trains on the CPU, where that is
            allowed.
        has_mps: Whether this is a machine of Apple's with a GPU, which Lightning would take.

    Raises:
        ValueError: If the node needs more of them, or Apple's is asked for.
    """
    accelerator = trainer["accelerator"]
    if accelerator == "mps" or (has_mps and accelerator == "gpu"):
        raise ValueError(
            f"trainer.accelerator={accelerator} takes Apple's GPU (MPS), which has no float64, in "
            "which losses are summed: give trainer.accelerator=cpu"
        )
    if accelerator in ("gpu", "cuda") and num_visible == 0:
        raise ValueError(
            f"trainer.accelerator={accelerator}, and no GPU of CUDA's is visible here: start it "
            "on a node with GPUs and their driver, or give trainer.accelerator=cpu"
        )
    if accelerator != "cpu" and 0 < num_visible < trainer["devices"]:
        raise ValueError(
            f"trainer.devices={trainer['devices']}, and {num_visible} GPU"
            f"{'s are' if num_visible > 1 else ' is'} visible here: give trainer.devices="
            f"{num_visible}, or let each process see all GPUs of its node (CUDA_VISIBLE_DEVICES; "
            "SLURM: --gpus-per-node, not --gpus-per-task; submitit: hydra.launcher.gpus_per_node)"
        )


def choose_accelerator(accelerator: str, *, has_mps: bool) -> str:
    """Return what Lightning is to train on: by `auto`, it would take a GPU of Apple's."""
    return "cpu" if has_mps and accelerator == "auto" else accelerator


def refuse_another_world(world_size: int, trainer: Mapping[str, Any]) -> None:
    """Refuse what Lightning has made of the config, if it is another number of processes.

    Raises:
        ValueError: How many processes there are, and how many were asked for.
    """
    asked = trainer["devices"] * trainer["num_nodes"]
    if world_size != asked:
        raise ValueError(
            f"{world_size} processes came up, trainer.devices * trainer.num_nodes is "
            f"{trainer['devices']} * {trainer['num_nodes']}: start as many as these say"
        )


@contextmanager
def leading_ranks(trainer: "L.Trainer") -> Iterator[None]:
    """Let the processes that Lightning starts in the block end with this one, as it ends.

    If the block fails they are not waited for: they may hang in a collective that this process does
    not come to, and the kernel ends them with this process.

    Raises:
        SystemExit: If the block does: all ranks have saved, and end.
    """
    variables = name_parent(signal.SIGKILL)
    os.environ |= variables
    try:
        yield
    except SystemExit as stop:
        # Interrupted ranks have agreed on nothing: some may wait for this one.
        _wait_for_ranks(trainer, _BRIEF_S if isinstance(stop, Interrupted) else _PATIENCE_S)
        raise
    finally:
        for name in variables:
            os.environ.pop(name, None)
    _wait_for_ranks(trainer, _PATIENCE_S)


def count_tasks_per_node(environment: Mapping[str, str]) -> str | None:
    """Read how many tasks of this step are on its first node; None if SLURM does not say."""
    match = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return match and match[0]


def _wait_for_ranks(trainer: "L.Trainer", patience_s: float) -> None:
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        # A notebook's are forked, and Lightning joins them.
        if isinstance(process, subprocess.Popen):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)


def _is_slurm_task(environment: Mapping[str, str]) -> bool:
    """Tell whether srun has started this process, as a task that may have others beside it."""
    count = environment.get("SLURM_NTASKS")
    if count is None or "SLURM_STEP_ID" not in environment or environment.keys() & _MPIRUN:
        return False
    # sbatch passes on the variables of a step that it is called in; the number of tasks is its own.
    is_stale = environment.get("SLURM_STEP_NUM_TASKS", count) != count
    return not is_stale and not (count == "1" and _is_shell(environment))


def _is_shell(environment: Mapping[str, str]) -> bool:
    return environment.get("SLURM_JOB_NAME") in _SHELLS


def _has_mpi() -> bool:
    try:
        importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError):  # The second where it finds no library of MPI.
        return False
    return True


def _remedy(launch: Launch, trainer: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    devices, num_nodes, others = trainer["devices"], trainer["num_nodes"], launch.num_processes
    if "SUBMITIT_EXECUTOR" in environment:
        tasks = f"give hydra.launcher.tasks_per_node={devices} hydra.launcher.nodes={num_nodes}"
        gpus = f" hydra.launcher.gpus_per_node={devices}"
        return tasks + gpus * (trainer["accelerator"] != "cpu")
    torchrun = _torchrun(devices, num_nodes)
    if launch.by == KUBEFLOW:
        return (
            f"start {torchrun} on each node, or give trainer.devices=1 trainer.num_nodes={others}"
        )
    start = {
        "torchrun": torchrun,
        "mpirun": f"mpirun -n {devices * num_nodes} …",
        "jsrun": f"jsrun --np {devices * num_nodes} …",
        "WORLD_SIZE": f"as many processes, with WORLD_SIZE={devices * num_nodes}",
    }.get(launch.by, _srun(devices, num_nodes))
    if num_nodes == 1 or others % num_nodes:
        return f"start {start}, or give trainer.devices={others} trainer.num_nodes=1"
    return f"start {start}, or give trainer.devices={others // num_nodes}"


def _torchrun(devices: int, num_nodes: int) -> str:
    return f"torchrun --nnodes={num_nodes} --nproc-per-node={devices} …"


def _srun(devices: int, num_nodes: int) -> str:
    return f"srun --nodes={num_nodes} --ntasks-per-node={devices} nitrogen-train …"
