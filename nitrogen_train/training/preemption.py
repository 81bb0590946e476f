"""Save a run that is told to stop before it ends, and bring it back.

    signal ─► a flag ─► agreed by all ranks ─► step's end: all save ─► rank 0 requeues ─► exit

Nothing is saved inside a signal handler: ranks are interrupted at different places, and a save in
which all take part would hang. SIGUSR1 is SLURM's warning before the time limit (`sbatch
--signal=USR1@120`): the job is requeued. SIGTERM comes from `scancel`, which means it, or with a
preemption or `scontrol requeue`, where SLURM itself starts the job again: the run only saves.
SIGUSR2 is submitit's, whose own handler requeues; it is called once all is saved. SIGINT is Ctrl-C:
before the first step there is nothing to save, and a second one does not wait for anything. Nor
does SIGTERM before the training has begun, or a second one: a rank may sit in a collective that
another, which has failed, does not come to.
"""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.kubeflow import KubeflowEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only

from nitrogen_train.batch import PolicyBatch
from nitrogen_train.runtime.interrupts import end_at_once, is_command
from nitrogen_train.training.checkpoints import CheckpointCallback
from nitrogen_train.training.launch import KUBEFLOW, count_tasks_per_node, find_launch

EXIT_STATUS = 75
"""Status of a run that was told to stop and has saved: EX_TEMPFAIL of sysexits.h, try again."""

_ENVIRONMENTS: dict[str, type[ClusterEnvironment]] = {
    "torchrun": TorchElasticEnvironment,
    "jsrun": LSFEnvironment,
    "mpirun": MPIEnvironment,
    KUBEFLOW: KubeflowEnvironment,
}
_log = logging.getLogger(__name__)


class StopRequest:
    """Remember whether this process has been told to stop, and by what."""

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self.signal_number: int | None = None
        self.has_something_to_save = False
        """True if Ctrl-C waits for the step's end; set by the end of the first one."""
        self.is_training = False
        """True if SIGTERM waits for the step's end; set when all ranks are there."""
        self._pid = os.getpid()
        self._previous: dict[int, Any] = {}
        self._writer = -1
        """Place to which the interpreter writes the numbers of signals, while somebody watches."""

    def listen(self) -> None:
        """Take the signals over, also from a framework that did so in between."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
            before = signal.getsignal(number)
            if number == signal.SIGUSR2 and before is signal.SIG_DFL:
                continue
            # A script has what runs in its background ignore Ctrl-C.
            if number == signal.SIGINT and not callable(before):
                continue
            self._previous.setdefault(number, before)
            signal.signal(number, self._note_interrupt if number == signal.SIGINT else self._note)
        if self._writer < 0 and (self._is_interruptible() or is_command()):
            self._watch()

    def _is_interruptible(self) -> bool:
        return self._previous.get(signal.SIGINT) is end_at_once

    def _watch(self) -> None:
        """End this process also while no handler of Python's runs: at the second Ctrl-C or SIGTERM.

        Amid a collective that another rank does not come to, the main thread never gets to one.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        if (other := signal.set_wakeup_fd(writer, warn_on_full_buffer=False)) >= 0:
            # Somebody else's loop lives by it.
            signal.set_wakeup_fd(other)
            os.close(reader)
            os.close(writer)
            return
        self._writer = writer
        threading.Thread(target=self._end_from_outside, args=(reader,), daemon=True).start()
        _keep_workers_from_writing()

    def _end_from_outside(self, reader: int) -> None:
        num_interrupts = num_terminations = 0
        while numbers := os.read(reader, 64):
            num_interrupts += numbers.count(signal.SIGINT) * self._is_interruptible()
            num_terminations += numbers.count(signal.SIGTERM)
            if num_interrupts > 1:
                os._exit(128 + signal.SIGINT)
            if num_terminations > int(self.is_training):
                os._exit(128 + signal.SIGTERM)
        os.close(reader)

    def stop_listening(self) -> None:
        """Give the signals back to whoever had them."""
        if self._writer >= 0:
            signal.set_wakeup_fd(-1)
            os.close(self._writer)
            self._writer = -1
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def pass_on(self) -> None:
        """Call whoever had the signal before, who may end the process."""
        assert self.signal_number is not None  # noqa: S101 - asked for after a stop
        previous = self._previous.get(self.signal_number)
        if callable(previous):
            previous(self.signal_number, None)

    def _note(self, number: int, _frame: object) -> None:
        # SLURM signals the whole process group: a loader's worker, forked from here, goes on.
        if os.getpid() != self._pid:
            return
        if number == signal.SIGTERM and (not self.is_training or self.signal_number == number):
            os._exit(128 + number)
        self.signal_number = number

    def _note_interrupt(self, number: int, frame: object) -> None:
        if os.getpid() != self._pid:
            return
        before = self._previous[number]
        # In a notebook the second one is the kernel's affair.
        is_command = before is end_at_once
        if self.signal_number == number and is_command:
            os._exit(128 + number)
        if not self.has_something_to_save or self.signal_number == number:
            before(number, frame)
            return
        self.signal_number = number
        if _is_global_zero():
            # The streams themselves may be in use further up.
            os.write(2, b"\nSIGINT: saving at the end of the step; once more ends at once\n")
        if is_command:
            # Also amid a collective or a long computation, where no handler of Python's runs.
            signal.signal(number, signal.SIG_DFL)


@functools.cache
def _keep_workers_from_writing() -> None:
    """Once in a process: a forked worker would write what it gets into this process's pipe."""
    os.register_at_fork(after_in_child=_stop_writing)


def _stop_writing() -> None:
    with contextlib.suppress(ValueError):  # Forked from another thread than the main one.
        signal.set_wakeup_fd(-1)


class Preempted(SystemExit):
    """Ends a run that has saved; every rank raises it at the same step."""

    def __init__(self, signal_number: int, *, is_global_zero: bool) -> None:
        """Choose the exit status.

        Args:
            signal_number: What the ranks agreed on.
            is_global_zero: Others end with 0: whoever watches over processes (srun
                --kill-on-bad-exit, Lightning) would kill rank 0 before it has requeued.
        """
        super().__init__(EXIT_STATUS if is_global_zero else 0)
        self.signal_number = signal_number
        self.is_global_zero = is_global_zero


class PreemptionCallback(L.Callback):
    """Ends the run at the end of a step, saved, when any rank has been told to stop.

    Each step's flags, also those of the checkpoints, are reduced over a group of gloo on the CPU
    while the next step runs, so that no step waits for them; the run ends a step later, after a
    validation if one is due.
    """

    def __init__(self, request: StopRequest, *, checkpoints: CheckpointCallback) -> None:
        """Watch a request.

        Args:
            request: This process's.
            checkpoints: Saves, and is told what it has to know from other ranks.
        """
        self._request = request
        self._checkpoints = checkpoints
        self._group: Any = None
        self._under_way: tuple[torch.Tensor, dist.Work] | None = None
        self._agreed = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals back from Lightning, whose handler communicates."""
        self._request.listen()
        self._request.is_training = True
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ANN401 - as the base class
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Learn whether any rank has been told to stop, on all ranks at the same step."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._request.has_something_to_save = True
            own = [self._request.signal_number or 0, *map(int, self._checkpoints.tell(trainer))]
            self._agreed, *told = self._agree(own)
            self._checkpoints.hear(*map(bool, told))

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: PolicyBatch,
        batch_idx: int,
    ) -> None:
        """Save and end, once the last step's metrics and validation are written.

        Raises:
            Preempted: If any rank has been told to stop.
            OSError: If a rank could not write; on all.
        """
        if not self._agreed:
            return
        path = self._checkpoints.save_whole(trainer)
        if trainer.is_global_zero:
            _log.warning(
                "%s: saved %s, stopping; the same command goes on",
                signal.Signals(self._agreed).name,
                path,
            )
        raise Preempted(self._agreed, is_global_zero=trainer.is_global_zero)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finish what is under way."""
        self._collect()

    def _agree(self, own: list[int]) -> list[int]:
        if self._group is None:
            return own
        agreed = self._collect() or [0] * len(own)
        flags = torch.tensor(own)
        work = dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None  # noqa: S101 - this process is in the group
        self._under_way = flags, work
        return agreed

    def _collect(self) -> list[int]:
        if self._under_way is None:
            return []
        flags, work = self._under_way
        work.wait()
        self._under_way = None
        return flags.tolist()


@contextmanager
def preemptible() -> Iterator[StopRequest]:
    """Run a block that may be told to stop; if it was, requeue it where that is ours to do.

    Raises:
        Preempted: If it was told to stop, and has saved.
    """
    request = StopRequest()
    request.listen()
    try:
        yield request
        if request.signal_number == signal.SIGINT:
            # It came while the last files were written: the next point of a sweep is not wanted.
            raise Preempted(signal.SIGINT, is_global_zero=_is_global_zero())
    except Preempted as stop:
        if stop.signal_number == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ:
            if stop.is_global_zero:
                _requeue(name_own_job(os.environ))
        elif stop.signal_number == signal.SIGUSR2:
            request.pass_on()
        raise
    finally:
        request.stop_listening()


def name_own_job(environment: Mapping[str, str]) -> str:
    """Name this job as `scontrol requeue` takes it, without the other elements of its array.

    One element of an array has the array's own number as its job id, which stands for all of them.
    The others have one that is theirs alone, as has a job that was submitted from inside of an
    element and has inherited its variables.
    """
    job_id = environment["SLURM_JOB_ID"]
    if job_id == environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{job_id}_{environment['SLURM_ARRAY_TASK_ID']}"
    return job_id


def find_cluster_environment(
    environment: MutableMapping[str, str] = os.environ,
) -> list[ClusterEnvironment]:
    """Say to Lightning who has started the others, where it would not know by itself.

    Lightning's own requeue saves inside the signal handler, and is switched off.
    """
    launch = find_launch(environment)
    if launch is None:
        if "SLURM_NTASKS" in environment:
            # Lightning knows the shell of an allocation by this name, and takes zsh for a task.
            environment["SLURM_JOB_NAME"] = "bash"
        return []
    if launch.by == "srun" and launch.num_processes > 1:
        # Lightning refuses by the allocation's number, which a step need not have.
        if (count := count_tasks_per_node(environment)) is not None:
            environment["SLURM_NTASKS_PER_NODE"] = count
        return [SLURMEnvironment(auto_requeue=False)]
    return [_ENVIRONMENTS.get(launch.by, LightningEnvironment)()]


def _is_global_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _requeue(job_id: str) -> None:
    result = subprocess.run(
        ["scontrol", "requeue", job_id], capture_output=True, text=True, check=False
    )
    if result.returncode:
        _log.warning(
            "SLURM does not requeue job %s (%s); start the same command again to continue",
            job_id, result.stderr.strip(),
        )  # fmt: skip
    else:
        _log.warning("SLURM starts job %s again", job_id)
