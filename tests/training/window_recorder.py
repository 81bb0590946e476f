"""What each rank of a training has trained on; given to `nitrogen-train` as one more callback."""

import json
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np


class WindowRecorder(L.Callback):
    """Appends a line per micro-batch once the trainer has taken it."""

    def __init__(self, *, folder: str) -> None:
        self._folder = Path(folder)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        micro_batch = batch_idx % trainer.accumulate_grad_batches
        # After the last micro-batch the trainer has counted the step.
        step = trainer.global_step - (micro_batch == trainer.accumulate_grad_batches - 1)
        line = {
            "step": step,
            "micro_batch": micro_batch,
            "windows": [list(window) for window in batch.window_ids],
            "seeds": np.asarray(batch.sample_seed).tolist(),
        }
        with (self._folder / f"rank-{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def read_steps(folder: Path) -> list[list[str]]:
    """Put together what the ranks took, by step, in the order of the global batch.

    A step that a killed run had taken, and its next start takes again, must be the same both times.
    """
    taken: dict[tuple[int, int, int], list[str]] = {}
    for path in sorted(folder.glob("rank-*.jsonl")):
        rank = int(path.stem.removeprefix("rank-"))
        # A kill may have cut the last line short.
        for line in path.read_text().splitlines():
            if line.endswith("}"):
                row = json.loads(line)
                pairs = zip(row["windows"], row["seeds"], strict=True)
                samples = [f"{window} {seed}" for window, seed in pairs]
                place = row["step"], rank, row["micro_batch"]
                assert taken.setdefault(place, samples) == samples
    steps: list[list[str]] = [[] for _ in range(1 + max(step for step, _, _ in taken))]
    for (step, _, _), samples in sorted(taken.items()):
        steps[step] += samples
    return steps
