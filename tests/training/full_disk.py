"""Rank 1's disk is full; loaded by `+callbacks.…`."""

import resource
import signal

import lightning as L  # noqa: N812 - Lightning's own convention


class FullDisk(L.Callback):
    def on_train_start(self, trainer, pl_module) -> None:
        if trainer.global_rank == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
