"""What the tests of strategies write down while a run trains; loaded by `+callbacks.…`."""

import json
from pathlib import Path
from typing import Any

import lightning as L


class Recorder(L.Callback):
    """Appends each micro-batch's window ids and loss to a file per rank."""

    def __init__(self, *, folder: str) -> None:
        self._folder = Path(folder)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        line = {
            "step": (batch_idx // trainer.accumulate_grad_batches) + 1,
            "micro_batch": batch_idx % trainer.accumulate_grad_batches,
            "windows": [list(window) for window in batch.window_ids],
            # The rank's part of the mean over the global batch.
            "loss": float(outputs["loss"]) / trainer.world_size,
        }
        path = self._folder / f"rank-{trainer.global_rank}.jsonl"
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
