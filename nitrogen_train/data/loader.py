"""Join the workers' pieces to micro-batches.

worker 0: piece ─┐
worker 1: piece ─┼─► micro-batch, pinned ─► the training step
worker 2: piece ─┘   reports ─► summed for the log; faults ─► quarantine
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator

from torch.utils.data import DataLoader

from nitrogen_train.batch import PolicyBatch, concatenate_batches
from nitrogen_train.data.clip_reader import LoadReport, Quarantine
from nitrogen_train.data.stream import BatchPart, TrainingStream
from nitrogen_train.runtime.processes import end_with

_LOST_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(is killed by signal: [\w ]+\w|exited unexpectedly)"
)


class TrainingLoader:
    """The endless iterable of a rank's micro-batches."""

    def __init__(
        self,
        stream: TrainingStream,
        *,
        num_workers: int,
        prefetch_factor: int,
        pin_memory: bool,
        quarantine: Quarantine,
    ) -> None:
        """Set up the workers; they start with the iteration.

        Args:
            stream: What each of them runs.
            num_workers: Processes; 0 reads in this one. At most one per sample of a micro-batch.
            prefetch_factor: Micro-batches that are prepared ahead.
            pin_memory: Whether batches go to a GPU.
            quarantine: Watches what cannot be read.
        """
        self._pieces = DataLoader(
            stream,
            batch_size=None,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            worker_init_fn=obey_training_alone,
        )
        self._num_pieces = max(1, num_workers)
        self._pin_memory = pin_memory
        self._quarantine = quarantine
        self.report = LoadReport()
        """Sums since somebody took them."""

    def __iter__(self) -> Iterator[PolicyBatch]:
        pieces = iter(self._pieces)
        try:
            while True:
                batch = concatenate_batches(
                    [self._open(next(pieces)) for _ in range(self._num_pieces)]
                )
                yield batch.pin_memory() if self._pin_memory else batch
        finally:
            # The workers end with this, or, if a traceback keeps the frame, at the process's exit.
            del pieces

    def _open(self, piece: BatchPart | Exception) -> PolicyBatch:
        if isinstance(piece, Exception):
            raise piece
        self.report.add(piece.report)
        self._quarantine.add(piece.report)
        return piece.batch


def obey_training_alone(_worker_id: int) -> None:
    """Let a worker go on when its process group is told to stop; it ends with its training.

    SLURM signals every process of a job, a terminal all of the foreground. A worker that obeyed
    would end the step that the training wants to finish and save. SIGTERM from the training itself
    is how multiprocessing ends its workers at exit, which then waits for them.
    """
    training = os.getppid()
    end_with(training)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # Elsewhere torch's own handler obeys every SIGTERM.
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_the_end, args=(training,), daemon=True).start()


def _wait_for_the_end(training: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
        pass
    # Any other status would be a lost worker's.
    os._exit(0)


def explain_lost_worker(error: RuntimeError) -> str | None:
    """Say in one line what happened if an error of torch's means that a worker's process is gone.

    torch raises it from a signal handler, so anywhere in the training step.
    """
    found = _LOST_WORKER.search(str(error))
    if found is None:
        return None
    pids, end = found.groups()
    if "Bus error" in end:
        cause = "shared memory has run out: enlarge /dev/shm, or lower data.prefetch_factor"
    else:
        cause = (
            "most often because memory has run out: lower data.num_workers, data.prefetch_factor "
            "or data.clip_cache_gib"
        )
    return f"worker process {pids}, which loads data, {end}; {cause}, then start again"
