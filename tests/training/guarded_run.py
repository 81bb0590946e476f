"""Two processes of which one goes wrong, under the guards of every run.

    python guarded_run.py WHAT RESULT_DIR OVERRIDE…

WHAT is `loss`, `gradient`, `weights` or `spike`. Both are started as torchrun
does; each writes what stopped it.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812
import torch

RANK = int(os.environ.get("LOCAL_RANK", 0))
BAD_STEP = {"loss": 2, "gradient": 0, "weights": 2, "spike": 24}


class Breaking(L.Callback):
    """Does to rank 1 what hardware does, and notes the weights around each step."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.sums: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._what == "gradient" and RANK == 1:
            next(p for p in pl_module.parameters() if p.requires_grad).register_hook(
                lambda gradient: gradient * torch.inf
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any, **__: Any
    ) -> None:
        if self._what == "weights" and RANK == 1 and trainer.global_step == BAD_STEP["weights"]:
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] += 1e-3
        self.sums.append(sum(float(p.detach().double().sum()) for p in pl_module.parameters()))


def load(batch: Any, what: str, accumulation: int) -> Iterator[Any]:
    bad = replace(batch, actions=batch.actions * (torch.nan if what == "loss" else 100))
    index = 0
    while True:
        is_bad = what in ("loss", "spike") and RANK == 1
        # The first of the step's micro-batches.
        yield bad if is_bad and index == BAD_STEP[what] * accumulation else batch
        index += 1


def main() -> None:
    what, folder, *overrides = sys.argv[1:]
    from nitrogen_train.config import build, load_defaults
    from nitrogen_train.train import build_module
    from nitrogen_train.training.callbacks import RankCheckCallback, StepGuardCallback
    from nitrogen_train.training.throughput import make_sample

    torch.set_num_threads(1)
    config = load_defaults(overrides)
    module = build_module(config)
    breaking = Breaking(what)
    guard = StepGuardCallback(skip_loss_above=3.0 if what == "spike" else None)
    trainer = L.Trainer(
        strategy=build(config.strategy), accelerator="cpu", devices=2, accumulate_grad_batches=2,
        max_steps=BAD_STEP[what] + 2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
        callbacks=[guard, breaking, RankCheckCallback(every_n_steps=2)],
    )  # fmt: skip
    error = ""
    try:
        trainer.fit(module, load(make_sample(module.policy), what, 2))
    except (FloatingPointError, ValueError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    found = {"error": error, "sums": breaking.sums, "guard": guard.state_dict()}
    (Path(folder) / f"rank-{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
