"""The callbacks of every run."""

from pathlib import Path

import lightning as L  # noqa: N812 - Lightning's own convention
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar

from nitrogen_train.training.throughput import ThroughputCallback


class FinalCheckpointCallback(L.Callback):
    """Saves the end of a run, whose last step need not be one at which a checkpoint is due."""

    def __init__(self, *, folder: Path, every_n_steps: int) -> None:
        """Write to `folder`, unless a checkpoint was due at this step, every `every_n_steps`."""
        self._folder = folder
        self._every_n_steps = every_n_steps

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, on every rank, what has not been saved."""
        if trainer.global_step % self._every_n_steps:
            trainer.save_checkpoint(self._folder / f"step-{trainer.global_step}.ckpt")


def build_callbacks(
    *,
    output_dir: Path,
    checkpoint_every_n_steps: int,
    keep_checkpoints: int,
    log_every_n_steps: int,
    max_wait_share: float,
) -> list[L.Callback]:
    """Save checkpoints, measure the speed, show the progress.

    Args:
        output_dir: The run folder.
        checkpoint_every_n_steps: Optimizer steps between checkpoints.
        keep_checkpoints: How many of the latest to keep.
        log_every_n_steps: Optimizer steps between values of the speed.
        max_wait_share: Of the time; waiting for data longer than this is warned of.
    """
    folder = output_dir / "checkpoints"
    checkpoints = ModelCheckpoint(
        dirpath=folder,
        filename="step-{step}",
        auto_insert_metric_name=False,
        # The latest have the highest step: keep these.
        monitor="step",
        mode="max",
        save_top_k=keep_checkpoints,
        every_n_train_steps=checkpoint_every_n_steps,
        save_on_train_epoch_end=False,
    )
    return [
        checkpoints,
        FinalCheckpointCallback(folder=folder, every_n_steps=checkpoint_every_n_steps),
        ThroughputCallback(every_n_steps=log_every_n_steps, max_wait_share=max_wait_share),
        TQDMProgressBar(refresh_rate=log_every_n_steps),
    ]
