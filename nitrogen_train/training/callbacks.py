"""The callbacks of every run."""

from pathlib import Path

import lightning as L  # noqa: N812 - Lightning's own convention
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar

from nitrogen_train.training.throughput import ThroughputCallback


def build_callbacks(
    *,
    output_dir: Path,
    checkpoint_every_n_steps: int,
    keep_checkpoints: int,
    log_every_n_steps: int,
) -> list[L.Callback]:
    """Save checkpoints, measure the speed, show the progress.

    Args:
        output_dir: The run folder.
        checkpoint_every_n_steps: Optimizer steps between checkpoints.
        keep_checkpoints: How many of the latest to keep.
        log_every_n_steps: Optimizer steps between values of the speed.
    """
    checkpoints = ModelCheckpoint(
        dirpath=output_dir / "checkpoints",
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
        ThroughputCallback(every_n_steps=log_every_n_steps),
        TQDMProgressBar(refresh_rate=log_every_n_steps),
    ]
