"""A callback that says where the training is, to `sitecustomize.py`."""

import sys

import lightning as L  # noqa: N812 - Lightning's own convention


class Places(L.Callback):
    def setup(self, trainer, pl_module, stage) -> None:
        sys.audit("place", "setup")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        sys.audit("place", f"step-{trainer.global_step} rank-{trainer.global_rank}")

    def on_validation_batch_start(
        self, trainer, pl_module, batch, batch_idx, dataloader_idx=0
    ) -> None:
        sys.audit("place", "validation")
