"""Rank 1's disk is full from step 3; loaded by `+callbacks.…`."""

import resource
import signal

import lightning as L  # noqa: N812 - Lightning's own convention


class FullDisk(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 3:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
