"""A rank that takes its time; given to `nitrogen-train` as one more callback."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L  # noqa: N812 - Lightning's own convention


class SlowRank(L.Callback):
    """Makes a rank sleep for every micro-batch, in its forward pass or in its loader."""

    def __init__(self, *, rank: int, where: str, seconds: float) -> None:
        self._rank = rank
        self._where = where
        self._seconds = seconds

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if trainer.global_rank != self._rank:
            return
        if self._where == "forward":
            pl_module.policy.compute_loss = self._slow(pl_module.policy.compute_loss)
        else:
            build = trainer.datamodule.train_dataloader
            trainer.datamodule.train_dataloader = lambda: self._slow_loader(build())

    def _slow(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **kwargs: Any) -> Any:
            time.sleep(self._seconds)
            return function(*args, **kwargs)

        return slow

    def _slow_loader(self, loader: Any) -> Iterator[Any]:
        for batch in loader:
            time.sleep(self._seconds)
            yield batch
