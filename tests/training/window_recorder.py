"""What each rank of a training has trained on; given to `nitrogen-train` as one more callback."""

import json
import time
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention
import numpy as np


class WindowRecorder(L.Callback):
    """Appends a line per micro-batch once the trainer has taken it."""

    def __init__(self, *, folder: str, step_s: float = 0.0) -> None:
        """Write to a folder; `step_s` makes the steps of a tiny policy last."""
        self._folder = Path(folder)
        self._step_s = step_s

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        step, micro_batch = divmod(batch_idx, trainer.accumulate_grad_batches)
        line = {
            "step": step,
            "micro_batch": micro_batch,
            "windows": [str(window) for window in batch.window_ids],
            "seeds": np.asarray(batch.sample_seed).tolist(),
            # The step's loss is the mean over ranks of what each would descend on.
            "loss": float(outputs["loss"]) / trainer.world_size,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"rank-{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        time.sleep(self._step_s)


def read_windows(folder: Path) -> dict[int, list[str]]:
    """What all ranks took, by step, in the order of the global batch, with its seeds."""
    return {
        step: [
            f"{window} {seed}"
            for line in lines
            for window, seed in zip(line["windows"], line["seeds"], strict=True)
        ]
        for step, lines in _read(folder).items()
    }


def read_losses(folder: Path) -> dict[int, float]:
    """The loss of the global batch, by step."""
    return {step: sum(line["loss"] for line in lines) for step, lines in _read(folder).items()}


def _read(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Lines by step, a step's in the order of ranks; what was taken again counts once."""
    taken: dict[tuple[int, int, int], dict[str, Any]] = {}
    for path in folder.glob("rank-*.jsonl"):
        rank = int(path.stem.removeprefix("rank-"))
        for text in path.read_text().splitlines():
            # A kill may have cut the last line short.
            if text.endswith("}"):
                line = json.loads(text)
                taken[line["step"], rank, line["micro_batch"]] = line
    steps: dict[int, list[dict[str, Any]]] = {}
    for (step, _, _), line in sorted(taken.items(), key=lambda item: item[0]):
        steps.setdefault(step, []).append(line)
    return steps
